"""Arrays that stay in their file and are read where they are needed."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.files import check_length

LOAD_BYTES = 512 * 2**20
"""Uncompressed files up to this size are loaded into memory, larger ones are memory-mapped."""


class MappedArray:
    """An array that stays in an uncompressed file; copies and pickles name the file only.

    Args:
        path: the file.
        dtype: type of the stored values, in any byte order.
        shape: shape of the stored array.
        offset: where it starts in the file, in bytes.
        order: ``C`` or ``F``, the order of the stored array.
        axes: the stored axes in the order of those of ``array``; by default as they are stored.

    Attributes:
        path: the file.
        bytes: all of the file, read-only.
        array: the array in it, read-only.

    Raises:
        SoftmineError: the file ends before the array does.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype,
        shape: tuple[int, ...],
        offset: int,
        order: str = "C",
        axes: Sequence[int] | None = None,
    ) -> None:
        self._arguments: tuple = (path, dtype, shape, offset, order, axes)
        check_length(path, offset + math.prod(shape) * dtype.itemsize, f"cannot read {path}")
        self.path, self.bytes = path, np.memmap(path, np.uint8, "r")
        stored = np.ndarray(shape, dtype, self.bytes, offset, order="F" if order == "F" else "C")
        self.array = stored if axes is None else stored.transpose(axes)

    def __reduce__(self) -> tuple:
        return type(self), self._arguments

    def release(self) -> None:
        """Give the pages that were read back to the system."""
        advise(self.bytes, "MADV_DONTNEED")


def stays_in_file(path: Path, mapped: MappedArray | None, in_memory: bool | None, formats: str) -> bool:
    """Whether what was read from ``path`` is left there.

    Args:
        path: the file.
        mapped: what was read, if it can stay in its file.
        in_memory: whether it is to be loaded; None loads up to ``LOAD_BYTES``.
        formats: what can stay in its file, for the error.

    Raises:
        SoftmineError: it is to stay in its file, but cannot.
    """
    if mapped is None and in_memory is False:
        raise SoftmineError(
            f"cannot read {path} from where it lies: only {formats} can be memory-mapped; leave in_memory out"
        )
    return mapped is not None and (mapped.array.nbytes > LOAD_BYTES if in_memory is None else not in_memory)


def advise(array: np.ndarray, advice: str) -> None:
    """Tell the system how the memory map that ``array`` lies in is used; ``MADV_DONTNEED``: not for now, take its pages back.

    Nothing happens to an array that lies in none, or where the system does not know the advice.
    """
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, advice):
        base.madvise(getattr(mmap, advice))
