"""Small maps of a big picture, made from one pass over its rows: previews and edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import SoftmineError
from softmine.signals.image.pixels import BLOCK_VALUES

_LUMA = np.array([0.2125, 0.7154, 0.0721], np.float32)


@runtime_checkable
class Rows(Protocol):
    """A picture that can be read row by row."""

    shape: tuple[int, int, int]

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "rows width channels"]:
        """Rows [start, stop) in [0, 1]."""
        ...


class Pool:
    """Area-weighted means of a picture (height, width, C) over ``h`` x ``w`` equal cells.

    Rows are added as they are read; ``total`` (h, w, C) holds the means once all of them were.
    numpy does it: torch's threads stall for seconds over work this small on a busy machine.
    """

    def __init__(self, height: int, width: int, h: int, w: int, channels: int) -> None:
        self.down, self.across = _cells(height, h), _cells(width, w)
        self.total = np.zeros((h, w, channels), np.float32)

    def add(self, start: int, rows: Float[np.ndarray, "rows width c"]) -> None:
        """Add ``rows`` of the picture, which begin at row ``start``."""
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


def preview(picture: Rows, max_side: int) -> Float[np.ndarray, "h w c"]:
    """The picture with its longer side averaged down to at most ``max_side`` pixels.

    Raises:
        SoftmineError: ``max_side`` is below 1.
    """
    height, width, channels = picture.shape
    small = preview_shape(height, width, max_side)
    if small == (height, width):
        return picture.rows(0, height)
    pool = Pool(height, width, *small, channels)
    for start, stop in row_blocks(picture):
        pool.add(start, picture.rows(start, stop))
    return pool.total


def preview_shape(height: int, width: int, max_side: int) -> tuple[int, int]:
    """Size (h, w) of a preview, with the picture's aspect."""
    if max_side < 1:
        raise SoftmineError(f"a preview needs max_side of at least 1, not {max_side}")
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def edges(picture: Rows, max_cells: int) -> Float[Tensor, "h w"]:
    """Sobel magnitude of the grey picture, averaged onto at most ``max_cells`` cells.

    The operator is that of ``skimage.filters.sobel``: a step from black to
    white along an axis gives 1 over the square root of 2. Transparent pixels are laid over black.

    Raises:
        SoftmineError: ``max_cells`` is below 1.
    """
    if max_cells < 1:
        raise SoftmineError(f"an edge map needs max_cells of at least 1, not {max_cells}")
    height, width, _ = picture.shape
    h, w = edges_shape((height, width), max_cells)
    pool = Pool(height, width, h, w, 1)
    for start, stop in row_blocks(picture):
        above, below = max(0, start - 1), min(height, stop + 1)
        block = grey(picture.rows(above, below))
        block = np.pad(block, ((int(above == start), int(below == stop)), (1, 1)), mode="edge")
        pool.add(start, sobel(block)[..., None])
    return torch.from_numpy(pool.total[..., 0])


def edges_shape(size: tuple[int, ...], max_cells: int) -> tuple[int, int]:
    """Size (h, w) of a map of edges of a picture of ``size`` (H, W), with its aspect."""
    height, width = size
    scale = min(1.0, math.sqrt(max_cells / (height * width)))
    h, w = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
    return min(h, max_cells // w) or 1, min(w, max_cells // h) or 1


def grey(values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w"]:
    """Luma of a picture with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels."""
    channels = values.shape[-1]
    luma = values[..., :3] @ _LUMA if channels >= 3 else values[..., 0]
    return luma * values[..., -1] if channels in (2, 4) else luma


def sobel(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h-2 w-2"]:
    """Gradient magnitude at the inner pixels."""
    across = grey[:-2] + 2 * grey[1:-1] + grey[2:]
    down = grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]
    across, down = across[:, 2:] - across[:, :-2], down[2:] - down[:-2]
    return np.sqrt(across * across + down * down) * np.float32(math.sqrt(1 / 32))


def row_blocks(picture: Rows) -> Iterator[tuple[int, int]]:
    """Row ranges [start, stop) of at most ``BLOCK_VALUES`` values, or of one row."""
    height, width, channels = picture.shape
    step = max(1, BLOCK_VALUES // (width * channels))
    for start in range(0, height, step):
        yield start, min(height, start + step)
