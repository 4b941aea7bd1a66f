"""The CPU backend: loops compiled by numba, which is imported when the first of them is called."""
