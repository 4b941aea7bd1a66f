"""Arrays that stay in their file and are read where they are needed."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError


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
        array: the array over the file, read-only.

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
        end, size = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
        if size < end:
            raise SoftmineError(
                f"cannot read {path}: it is truncated, {size:,} bytes long where its header promises {end:,}; "
                "get a complete copy"
            )
        self._bytes = np.memmap(path, np.uint8, "r")
        stored = np.ndarray(shape, dtype, self._bytes, offset, order="F" if order == "F" else "C")
        self.array = stored if axes is None else stored.transpose(axes)

    def __reduce__(self) -> tuple:
        return type(self), self._arguments

    def release(self) -> None:
        """Give the pages that were read back to the system."""
        advise(self._bytes, "MADV_DONTNEED")


def advise(array: np.ndarray, advice: str) -> None:
    """Tell the system how the memory map that ``array`` lies in is used; ``MADV_DONTNEED``: not for now, take its pages back.

    Nothing happens to an array that lies in none, or where the system does not know the advice.
    """
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, advice):
        base.madvise(getattr(mmap, advice))
