"""How CPU loops are compiled by numba, and how threads share the parts of one.

Each loop runs in every thread (``thread_pool.py``) on the same arguments; ``queue[0]`` counts the parts that are
taken.

numba's cache looks for changes in the file of the cached function alone, but loops call functions of other files:
those of this one and of the others in its folder. A change in any of them therefore has all loops compiled anew.
Loops elsewhere call no compiled function but their own file's and these.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import extending
from numba.core import types


def checksum(folder: Path) -> int:
    """A number that follows from the text of the files in ``folder`` whose functions loops of other files call."""
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py"))))


SHARED = checksum(Path(__file__).parent)
"""What the cache keeps beside each loop's own date: another one, and the loop is compiled anew."""


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
        loop = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache directory
        return numba.njit(**options)(function)
    # numba has no public place for it. Should a release lack this one, a change in another file goes unseen, which only
    # those who edit these files would meet.
    kept = getattr(getattr(loop, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = (kept._source_stamp, SHARED)
    return loop


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
