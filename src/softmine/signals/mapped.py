"""Pixels that stay in their file."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.pixels import orient, value_range

RESIDENT = 512 * 2**20
"""Bytes of a file that look-ups leave mapped, at most."""
EXTENT = 2**21
"""Bytes that one look-up may map: systems map what surrounds it too, up to a huge page."""


class Mapped:
    """Pixels that stay in an uncompressed file and are read where they are needed.

    Nothing is kept but the system's own file cache. What look-ups touched of it counts as resident memory; where the
    system takes advice, that is given back before it is more than ``RESIDENT``, whatever the size of the file.

    Args:
        path: the file.
        dtype: type of the stored values, in any byte order.
        shape: shape of the stored array, three axes.
        offset: where the array starts in the file, in bytes.
        order: ``C`` or ``F``, the order of the stored array.
        axes: which stored axes are (row, column, channel).
        orientation: EXIF/TIFF orientation, 1 to 8.

    Attributes:
        view: the upright picture (H, W, C) as an array over the file.

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
        axes: tuple[int, ...] = (0, 1, 2),
        orientation: int = 1,
    ) -> None:
        self._arguments = (path, dtype, shape, offset, order, axes, orientation)
        end, size = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
        if size < end:
            raise SoftmineError(
                f"cannot read {path}: it is truncated, {size:,} bytes long where its header "
                f"promises {end:,}; get a complete copy"
            )
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        stored = np.ndarray(shape, dtype, self._map, offset, order="F" if order == "F" else "C")
        self.view = orient(stored.transpose(axes), orientation)
        # Picking whole pixels takes a third of the time of picking their channels.
        self._picked = self.view
        if self.view.strides[2] == dtype.itemsize:
            self._picked = self.view.view(f"V{dtype.itemsize * self.view.shape[2]}")[..., 0]
        self._advice = ""
        self._start = self.view.__array_interface__["data"][0]
        self._bounded = size > RESIDENT and hasattr(mmap, "MADV_DONTNEED")
        self._touched = 0
        # Reading ahead warms the cache for look-ups to come, unless it cannot hold the file.
        self._scattered = "MADV_RANDOM" if size > _memory() // 2 else "MADV_NORMAL"

    def __reduce__(self) -> tuple:
        return Mapped, self._arguments

    def load(self) -> np.ndarray:
        """The whole picture (H, W, C) in memory, in the machine's byte order."""
        self._advise("MADV_SEQUENTIAL")
        return np.array(self.view, dtype=self.view.dtype.newbyteorder("="), order="C")

    def rows(self, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        """Rows (stop - start, W, C) as ``dtype``; their pages are given back."""
        self._advise("MADV_SEQUENTIAL")
        block = self.view[start:stop].astype(dtype, order="C")
        self.release()
        return block

    def sample(self, rows: np.ndarray, columns: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The grid of pixels (len(rows), len(columns), C) as ``dtype``, in file order."""
        self._advise("MADV_SEQUENTIAL")
        turned = abs(self.view.strides[0]) < abs(self.view.strides[1])
        view = self.view.swapaxes(0, 1) if turned else self.view
        lines = []
        for line in columns if turned else rows:
            lines.append(view[line][rows if turned else columns])
            self.release()
        return np.stack(lines, axis=1 if turned else 0).astype(dtype)

    def gather(self, flat: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Pixels (M, C) as ``dtype`` at flat (row-major) indices (M,); reads only their pages."""
        self._advise(self._scattered)
        rows, columns = np.divmod(flat, self.view.shape[1])
        if self._bounded and len(flat) > 0:
            pixels = np.empty((len(flat), *self._picked.shape[2:]), self._picked.dtype)
            for part in self._parts(rows, columns):
                pixels[part] = self._picked[rows[part], columns[part]]
        else:
            pixels = self._picked[rows, columns]
        return pixels.view(self.view.dtype).reshape(-1, self.view.shape[2]).astype(dtype)

    def _parts(self, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
        """Indices of the pixels in the order of the file, a part at a time, each small enough to be mapped at once.

        In that order a large batch needs each extent once, instead of mapping the file again and again.
        """
        down, across = self.view.strides[:2]
        places = self._start + rows * down + columns * across
        order = np.argsort(places, kind="stable")
        extents = places[order] // EXTENT
        count = np.cumsum(np.diff(extents, prepend=-1) != 0)
        most = RESIDENT // EXTENT
        borders = np.searchsorted(count, np.arange(most + 1, count[-1] + 1, most))
        for part in np.split(order, borders):
            self._touched += min(most, len(part))
            if self._touched > most:
                self.release()
                self._touched = min(most, len(part))
            yield part

    def value_range(self, where: str) -> tuple[float, float]:
        """``value_range`` of the picture, block by block."""
        self._advise("MADV_SEQUENTIAL")
        return value_range(self.view, where, self.release)

    def release(self) -> None:
        """Give the pages that were read back to the system."""
        self._touched = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _advise(self, advice: str) -> None:
        if advice != self._advice and hasattr(mmap, advice):
            self._map.madvise(getattr(mmap, advice))
            self._advice = advice


def _memory() -> int:
    """Bytes of memory the machine has; without a way to tell, more than any file."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**62
