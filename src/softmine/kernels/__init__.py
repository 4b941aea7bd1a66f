"""Fused hash encoding, MLP and row-wise Adam: plain torch, numba on CPUs, Triton on NVIDIA GPUs; knows tensors only."""

from __future__ import annotations

from softmine.kernels.backends import backend_for, bookkeeping_on_device
from softmine.kernels.encoding import hash_encode
from softmine.kernels.mlp import fits_fused_mlp, fused_mlp
from softmine.kernels.thread_pool import set_threads

__all__ = [
    "backend_for",
    "bookkeeping_on_device",
    "fits_fused_mlp",
    "fused_mlp",
    "hash_encode",
    "set_threads",
]
