"""How CPU loops are compiled by numba, and how the threads of a team share the parts of one.

Each loop runs in every thread of a team (``team.py``) on the same arguments; ``queue[0]`` counts the parts that are
taken.

numba's cache looks for changes in the file of the cached function alone: after a change here, delete what it kept in
``__pycache__`` (``*.nbi``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import extending
from numba.core import types


def compiled(function: Callable) -> Any:
    """``function`` compiled when first called, kept on disk where a cache directory can be written."""
    return _compile(function, {"contract", "nsz"})


def compiled_sum(function: Callable) -> Any:
    """As ``compiled``, but a sum may be added up several terms at a time, which one the compiler decides for good."""
    return _compile(function, {"contract", "nsz", "reassoc"})


def compiled_plainly(function: Callable) -> Any:
    """As ``compiled``, but each operation is rounded by itself, as torch's are."""
    return _compile(function, {"nsz"})


def _compile(function: Callable, freedoms: set[str]) -> Any:
    function = inspect.unwrap(function)  # from a type checker's import hook
    options = {"nogil": True, "error_model": "numpy", "fastmath": freedoms}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache directory
        return numba.njit(**options)(function)


def intrinsic(function: Callable) -> Any:
    """What compiled loops may call and ``function`` says the machine's instructions of; see numba's ``intrinsic``."""
    return extending.intrinsic(inspect.unwrap(function))


@intrinsic
def take(typing, queue):
    """The next part of a loop's work: an atomic ``queue[0]++``."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(queue), generate
