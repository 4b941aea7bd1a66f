"""Fused hash encoding, perceptron and row-wise Adam: plain torch, numba on CPUs, Triton on NVIDIA GPUs; knows tensors only."""

from __future__ import annotations

from softmine.kernels.backends import backend_for
from softmine.kernels.compile_ahead import warm_up
from softmine.kernels.encoding import hash_encode
from softmine.kernels.mlp import fits_perceptron, perceptron
from softmine.kernels.thread_pool import set_threads

__all__ = [
    "backend_for",
    "fits_perceptron",
    "hash_encode",
    "perceptron",
    "set_threads",
    "warm_up",
]
