"""Fused hash encoding, perceptron and row-wise Adam: plain torch, numba on CPUs, Triton on NVIDIA GPUs; knows tensors only."""

from __future__ import annotations

from softmine.kernels.backends import backend_for
from softmine.kernels.operators import hash_encode
from softmine.kernels.perceptron import fits_perceptron, perceptron
from softmine.kernels.team import set_threads
from softmine.kernels.warming import warm_up

__all__ = [
    "backend_for",
    "fits_perceptron",
    "hash_encode",
    "perceptron",
    "set_threads",
    "warm_up",
]
