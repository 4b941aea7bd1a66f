"""The GPU backend: kernels in Triton, which is imported when the first of them is called."""
