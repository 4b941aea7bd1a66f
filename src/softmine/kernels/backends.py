"""Which code encodes: the torch twin, numba on CPUs, Triton on NVIDIA GPUs."""

from __future__ import annotations

import functools
import os

import torch
from torch import Tensor

from softmine.errors import SoftmineError, warn_once

VARIABLE = "SOFTMINE_KERNELS"
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS = ("torch", "numba", "triton")


def backend_for(coords: Tensor, table: Tensor, features: int = 1) -> str:
    """The backend that encodes ``coords`` with ``table``, which has ``features`` a row: ``torch``, ``numba`` or ``triton``.

    The fastest that can, or the one that the environment variable ``SOFTMINE_KERNELS`` names. Where Triton is installed for a
    GPU but cannot launch anything, a warning says once why plain torch does its work.

    Raises:
        SoftmineError: the variable names no backend, or one that is impossible here.
    """
    # A tracer looks through a cache, and warns that it does; a graph chooses once anyhow.
    choose = _choose if torch.compiler.is_compiling() else _chosen
    return choose(os.environ.get(VARIABLE, ""), table.device.type, coords.dtype, table.dtype, features)


def bookkeeping_on_device(like: Tensor) -> bool:
    """Whether Triton's kernels do the small work beside a field on the device of ``like``, not traced.

    Asked at every step: on a CPU it costs nothing, unless Triton's interpreter is to run there.
    """
    if not (like.is_cuda or _INTERPRETED) or torch.compiler.is_compiling():
        return False
    return (
        _chosen(os.environ.get(VARIABLE, ""), like.device.type, torch.float32, torch.float32, 1) == "triton"
    )


def _choose(forced: str, device: str, coords: torch.dtype, table: torch.dtype, features: int) -> str:
    if forced and forced not in BACKENDS:
        raise SoftmineError(f"{VARIABLE}={forced} is no backend: set it to one of {', '.join(BACKENDS)}")
    if forced == "torch":
        return "torch"
    obstacles = {
        "numba": _no_numba(device, coords, table),
        "triton": _no_triton(device, coords, table, features),
    }
    if forced:
        reason = obstacles[forced] or (_no_launch() if forced == "triton" else "")
        if reason:
            raise SoftmineError(f"{VARIABLE}={forced} is impossible here: {reason}")
        return forced
    # On a CPU, Triton only runs in its interpreter, which is for tests.
    fastest = "numba" if device == "cpu" else "triton"
    if device == "cuda" and not obstacles[fastest] and (reason := _no_launch()):
        warn_once(f"plain torch encodes on the GPU, which is slower: {reason}")
        return "torch"
    return "torch" if obstacles[fastest] else fastest


_chosen = functools.cache(_choose)


def _no_launch() -> str:
    """What stands against a launch of Triton's, or nothing."""
    from softmine.kernels.triton.trial import obstacle

    return obstacle()


# A tracer does not look into it, but takes what it returns; ``torch.compiler.assume_constant_result`` would import the tracer.
_no_launch._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def _no_numba(device: str, coords: torch.dtype, table: torch.dtype) -> str:
    """What stands against numba, or nothing."""
    if device != "cpu":
        return f"numba's loops run on the CPU, but the table is on '{device}'"
    if coords != table or table not in (torch.float32, torch.float64):
        return f"coordinates and table must both be float32 or float64, not {coords} and {table}"
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return ""


def _no_triton(device: str, coords: torch.dtype, table: torch.dtype, features: int) -> str:
    """What stands against Triton, or nothing."""
    if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"Triton needs an NVIDIA GPU, but the table is on '{device}'"
    if coords != torch.float32 or table not in (torch.float32, torch.float16):
        return f"coordinates must be float32 and the table float32 or float16, not {coords} and {table}"
    if features & (features - 1):
        return f"the features of a level must be a power of two, not {features}"
    try:
        import triton  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        return f"triton cannot be imported ({error})"
    return ""
