"""Pixels that stay in their file."""

from __future__ import annotations

import math
import os
import weakref
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.kernels import thread_pool
from softmine.signals.files import physical_memory
from softmine.signals.grid import Number, Survey
from softmine.signals.image.pixels import orient, survey_pixels
from softmine.signals.memmap import MappedArray, advise

RESIDENT = 512 * 2**20
"""Bytes of a file that look-ups leave mapped, at most."""
EXTENT = 2**21
"""Bytes that one look-up may map: systems map what surrounds it too, up to a huge page."""
READ_AHEAD = 2**26
"""Bytes that the system reads ahead at each batch of look-ups, until it has read the whole file."""


class MappedImage:
    """Pixels that stay in an uncompressed file and are read where they are needed.

    Nothing is kept but the system's own file cache. What is mapped of it counts as resident memory, so look-ups in a
    larger file than ``RESIDENT`` map no more than that, evenly spread over the file, and copy pixels of the rest out of
    the cache with a system call each. To map a page for one pixel and to unmap it again costs several times as much.
    Windows has no such call: there, all that was touched stays mapped until the system needs the memory.

    A plain ``numpy.memmap`` does not do. At 16,384 random pixels of 3 GiB in the file cache it takes 4 ms of processor time,
    but all 3 GiB become resident; with its pages given back after each batch still within one, and that takes 8 ms where the
    cache holds large pages and 120 to 150 where it holds single ones. This takes 20 to 35 ms in both.

    Args:
        mapped: the stored image, (H, W, C).
        orientation: its EXIF/TIFF orientation, 1 to 8.

    Attributes:
        view: the upright image (H, W, C) as an array over the file.
    """

    def __init__(self, mapped: MappedArray, orientation: int = 1) -> None:
        self.mapped, self.orientation = mapped, orientation
        self.view = orient(mapped.array, orientation)
        dtype = self.view.dtype
        # Picking whole pixels takes a third of the time of picking their channels.
        self._picked = self.view
        if self.view.strides[2] == dtype.itemsize:
            self._picked = self.view.view(f"V{dtype.itemsize * self.view.shape[2]}")[..., 0]
        self._advice = ""
        # Reading ahead warms the cache for look-ups to come, unless it cannot hold the file.
        size = len(self.mapped.bytes)
        fits = size <= physical_memory() // 2
        self._scattered = "MADV_NORMAL" if fits else "MADV_RANDOM"
        self._ahead = 0 if fits and hasattr(os, "posix_fadvise") else size
        self._file = None
        if size > RESIDENT and hasattr(os, "pread"):
            self._file = _open(mapped.path)
            weakref.finalize(self, os.close, self._file)

    def __reduce__(self) -> tuple:
        return type(self), (self.mapped, self.orientation)

    def load(self) -> np.ndarray:
        """The whole image (H, W, C) in memory, in the machine's byte order."""
        self._advise("MADV_SEQUENTIAL")
        return np.array(self.view, dtype=self.view.dtype.newbyteorder("="), order="C")

    def rows(self, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        """Rows (stop - start, W, C) as ``dtype``; their pages are given back."""
        self._advise("MADV_SEQUENTIAL")
        block = self.view[start:stop].astype(dtype, order="C")
        self.mapped.release()
        return block

    def sample(self, rows: np.ndarray, columns: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The grid of pixels (len(rows), len(columns), C) as ``dtype``, in file order."""
        self._advise("MADV_SEQUENTIAL")
        turned = abs(self.view.strides[0]) < abs(self.view.strides[1])
        view = self.view.swapaxes(0, 1) if turned else self.view
        lines = []
        for line in columns if turned else rows:
            lines.append(view[line][rows if turned else columns])
            self.mapped.release()
        return np.stack(lines, axis=1 if turned else 0).astype(dtype)

    def gather(self, flat: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Pixels (M, C) as ``dtype`` at flat (row-major) indices (M,); reads only their pages.

        Raises:
            SoftmineError: the file cannot be read any more.
        """
        self._advise(self._scattered)
        if self._file is None:
            pixels = self._picked[np.divmod(flat, self.view.shape[1])]
        else:
            pixels = self._read(flat, self._file)
        return pixels.view(self.view.dtype).reshape(-1, self.view.shape[2]).astype(dtype)

    def _read(self, flat: np.ndarray, file: int) -> np.ndarray:
        """The bytes of the pixels ``flat`` (M,), one pixel after the other."""
        from softmine.signals.image import memmap_kernels as loops

        if self._ahead < len(self.mapped.bytes):
            os.posix_fadvise(file, self._ahead, READ_AHEAD, os.POSIX_FADV_WILLNEED)
            self._ahead += READ_AHEAD
        memory = self.mapped.bytes.view(np.ndarray)
        base = memory.__array_interface__["data"][0]
        down, across, deep = self.view.strides
        rows = flat // self.view.shape[1]
        places = self.view.__array_interface__["data"][0] - base + rows * down
        places += (flat - rows * self.view.shape[1]) * across
        # In the order of the file, neighbors share what the system must look up, and disks that spin read ahead.
        order = np.argsort(places)
        runs, size = math.prod(self._picked.shape[2:]), self._picked.dtype.itemsize
        found, failed = np.empty(len(flat) * runs * size, np.uint8), np.full(1, -1)
        kept, lead = _spread(base % EXTENT, len(self.mapped.bytes)), base % EXTENT
        arguments = places, order, (deep, runs, size), memory, kept, EXTENT, lead, file, found, failed
        thread_pool.run(loops.look_up, *arguments, parts=-(-len(flat) // loops.PIXELS))
        if failed[0] >= 0:
            raise SoftmineError(
                f"cannot read {self.mapped.path} any more: {_reason(file, size, int(failed[0]))}; it must stay as it is "
                "while it is fitted"
            )
        return found

    def survey(self, where: str, nodata: Number | None, mask: np.ndarray | None) -> Survey:
        """``survey_pixels`` of the image, block by block."""
        self._advise("MADV_SEQUENTIAL")
        return survey_pixels(self.view, where, nodata, mask, self.mapped.release)

    def _advise(self, advice: str) -> None:
        if advice != self._advice:
            advise(self.mapped.bytes, advice)
            self._advice = advice


def _open(path: Path) -> int:
    """A descriptor to read ``path`` by; noting each time when that was takes a tenth of a look-up's time."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # only the file's owner may leave it out
        return os.open(path, flags)


def _spread(lead: int, size: int) -> np.ndarray:
    """Which extents of memory stay mapped, of a file of ``size`` bytes that starts ``lead`` bytes after an extent does.

    As many as ``RESIDENT`` allows, as far apart as they can be, so that look-ups in any part of the image profit alike.
    """
    count = -(-(lead + size) // EXTENT)
    most = min(count, RESIDENT // EXTENT)
    return np.arange(count) * most % count < most


def _reason(file: int, size: int, place: int) -> str:
    """Why ``size`` bytes at ``place`` could not be read."""
    try:
        os.pread(file, size, place)
    except OSError as error:
        return error.strerror or "the system refuses to"
    return "it was cut short since it was opened"
