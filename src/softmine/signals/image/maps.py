"""What small maps of big images are made with: means over cells, luma and its gradient."""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Float

_LUMA = np.array([0.2125, 0.7154, 0.0721], np.float32)


class Pool:
    """Area-weighted means of an image (height, width, C) over ``h`` x ``w`` equal cells.

    Rows are added as they are read; ``total`` (h, w, C) holds the means once all of them were.
    numpy does it: torch's threads stall for seconds over work this small on a busy machine.
    """

    def __init__(self, height: int, width: int, h: int, w: int, channels: int) -> None:
        self.down, self.across = _cells(height, h), _cells(width, w)
        self.total = np.zeros((h, w, channels), np.float32)

    def add(self, start: int, rows: Float[np.ndarray, "rows width c"]) -> None:
        """Add ``rows`` of the image, which begin at row ``start``."""
        cell, rest = (each[start : start + len(rows)] for each in self.down)
        low, high = cell[0], cell[-1] + 1
        begin = np.searchsorted(cell, np.arange(low, high + 1))
        total = np.stack([rows[i:j].sum(0) for i, j in itertools.pairwise(begin)])
        total = self._narrow(total * np.float32(len(self.total) / len(self.down[0])))
        cut = rest.nonzero()[0]  # rows that reach into the cell below
        over = self._narrow(rows[cut] * rest[cut, None, None])
        self.total[low:high] += total
        self.total[cell[cut]] -= over
        self.total[cell[cut] + 1] += over

    def _narrow(self, rows: Float[np.ndarray, "rows width c"]) -> Float[np.ndarray, "rows w c"]:
        cell, rest = self.across
        w = self.total.shape[1]
        total = np.add.reduceat(rows, np.searchsorted(cell, np.arange(w)), axis=1)
        total *= np.float32(w / len(cell))
        cut = rest.nonzero()[0]
        over = rows[:, cut] * rest[cut, None]
        total[:, cell[cut]] -= over
        total[:, cell[cut] + 1] += over
        return total


def _cells(size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The cell each pixel of an axis begins in, and its share of the next one, which at most one
    pixel a cell has; ``size`` >= ``cells``.
    """
    start = np.arange(size) * cells  # a pixel is `cells` long where a cell is `size` long
    cell = start // size
    rest = (start + cells - (cell + 1) * size).clip(min=0)
    return cell, (rest / size).astype(np.float32)


def gray(values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w"]:
    """Luma of an image with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels."""
    channels = values.shape[-1]
    luma = values[..., :3] @ _LUMA if channels >= 3 else values[..., 0]
    return luma * values[..., -1] if channels in (2, 4) else luma


def sobel(gray: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h-2 w-2"]:
    """Gradient magnitude at the inner pixels."""
    across = gray[:-2] + 2 * gray[1:-1] + gray[2:]
    down = gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]
    across, down = across[:, 2:] - across[:, :-2], down[2:] - down[:-2]
    return np.sqrt(across * across + down * down) * np.float32(math.sqrt(1 / 32))


def fill_gaps(gray: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """An image whose NaN pixels are the mean of their neighbors, or 0 where they have none but NaN."""
    known = ~np.isnan(gray)
    around = np.pad(np.stack((np.where(known, gray, 0), known.astype(gray.dtype))), ((0, 0), (1, 1), (1, 1)))
    total, count = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(1, 2)).sum((-1, -2))
    return np.where(known, gray, total / np.maximum(count, 1))
