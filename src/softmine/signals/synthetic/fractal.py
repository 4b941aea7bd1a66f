"""An image of any size that is computed where it is evaluated: the Julia set of one number.

It has detail at every scale, in some places and not in others, so it shows what becomes of a fit when an image is far
larger than memory.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np

from softmine.domain import SoftmineError
from softmine.kernels import thread_pool

NAME = "fractal"
SIDE = 4096
"""Pixels along each side, if no size is given."""
MAX_SIDE = 2**20
"""Most pixels along a side: float32 coordinates tell no finer ones apart."""
VERSION = 1
"""Counts up whenever the image changes, because run folders remember it."""

_WIDTH = 3.2
"""Of the longer side, in the plane of complex numbers."""


@dataclass(frozen=True)
class Fractal:
    """Pixels (H, W, 3), uint8, that are computed anew whenever they are needed.

    The color of a pixel tells after how many steps z <- z^2 - 0.8 + 0.156i, from the center of the pixel on, leaves a circle
    of radius 256; it changes smoothly, after the renormalized iteration count of Peitgen and Saupe (The Science of Fractal
    Images, 1988).
    What stays for 400 iterations is nearly black. A million pixels take a quarter of a second on one core. Processors
    round differently, so single pixels on the border of the set may differ from one machine to another.

    Args:
        height: rows.
        width: columns.

    Raises:
        SoftmineError: a side is not from 1 to 2^20 pixels long.

    Example:
        >>> Fractal(32768, 32768).gather(np.array([0, 2**29]), np.dtype(np.uint8)).shape
        (2, 3)
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise SoftmineError(
                f"a fractal of {self.width} x {self.height} pixels cannot be made: give 1 to {MAX_SIDE:,} a side"
            )

    @classmethod
    def named(cls, name: str) -> Fractal | None:
        """The image called ``fractal`` or ``fractal-WIDTHxHEIGHT``; None for any other name.

        Raises:
            SoftmineError: the size is not one.
        """
        if name == NAME:
            return cls(SIDE, SIDE)
        if not name.startswith(f"{NAME}-"):
            return None
        size = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", name[len(NAME) + 1 :])
        if size is None:
            raise SoftmineError(
                f"the built-in image {name!r} has no size that can be read: write {NAME}-WIDTHxHEIGHT, such as "
                f"{NAME}-32768x32768"
            )
        return cls(int(size[2]), int(size[1]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.height, self.width, 3

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def fingerprint(self) -> str:
        """A hash of what the pixels are computed from."""
        return hashlib.sha256(f"{NAME} {VERSION} {self.shape}".encode()).hexdigest()

    def gather(self, flat: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Pixels (M, 3) as ``dtype`` at flat (row-major) indices (M,)."""
        from softmine.signals.synthetic import fractal_kernels as loops

        shades = np.empty(len(flat), np.int64)
        scale = _WIDTH / max(self.height, self.width)
        arguments = np.ascontiguousarray(flat), self.height, self.width, scale, shades
        thread_pool.run(loops.escape, *arguments, parts=-(-len(flat) // loops.PIXELS))
        return _colors(loops.SHADES)[shades].astype(dtype)

    def rows(self, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        """Rows (stop - start, W, 3) as ``dtype``."""
        flat = np.arange(start * self.width, stop * self.width)
        return self.gather(flat, dtype).reshape(-1, self.width, 3)

    def sample(self, rows: np.ndarray, columns: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The grid of pixels (len(rows), len(columns), 3) as ``dtype``."""
        flat = rows[:, None] * self.width + columns
        return self.gather(flat.ravel(), dtype).reshape(len(rows), len(columns), 3)


def _colors(shades: int) -> np.ndarray:
    """Colors (shades + 1, 3), uint8: waves of different length, the last one nearly black."""
    place = np.linspace(0, 1, shades)[:, None]
    waves = 0.5 - 0.5 * np.cos(2 * np.pi * (place * np.array([1.6, 2.0, 2.4]) + np.array([0.04, 0.0, 0.96])))
    return np.concatenate([np.rint(255 * waves), [[8, 6, 10]]]).astype(np.uint8)
