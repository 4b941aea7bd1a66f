"""Small maps of a big volume, made in one pass over it: edges."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from softmine.domain import SoftmineError
from softmine.signals.volume.data import along, block_ranges


@runtime_checkable
class Slabs(Protocol):
    """A volume that can be read slab by slab."""

    shape: tuple[int, ...]

    @property
    def slow_axis(self) -> int:
        """The axis that slabs are cut from."""
        ...

    def slab(self, start: int, stop: int) -> np.ndarray:
        """Layers [start, stop), values in [0, 1], channels last; NaN where there is no data."""
        ...


def edges(volume: Slabs, max_cells: int) -> Tensor:
    """Change from voxel to voxel, averaged onto at most ``max_cells`` cells; zero where there is no data.

    At a voxel, the square of the change along an axis is the mean of the squares to its two neighbours (to one, at
    the border of the volume or of its data), so that a line one voxel thin counts in its middle too; these are
    summed over axes and averaged over channels, and the root is taken. Native units: a step from 0 to 1 between two
    voxels along one axis gives 1 over the square root of 2 at both.

    Raises:
        SoftmineError: ``max_cells`` is below 1.
    """
    if max_cells < 1:
        raise SoftmineError(f"an edge map needs max_cells of at least 1, not {max_cells}")
    spatial, slow = volume.shape[:-1], volume.slow_axis
    grid = coarse_shape(spatial, max_cells)
    total, count = np.zeros(grid), np.zeros(grid)
    for start, stop in block_ranges(volume.shape, slow):
        above, below = max(0, start - 1), min(spatial[slow], stop + 1)
        block = volume.slab(above, below)
        inner = along(slow, start - above, stop - above)
        magnitude = changes(block)[inner]
        known = ~np.isnan(block[inner]).any(-1)
        _pool(total, np.where(known, magnitude, 0.0), spatial, slow, start)
        _pool(count, known.astype(np.float64), spatial, slow, start)
    return torch.from_numpy((total / np.maximum(count, 1)).astype(np.float32))


def changes(block: np.ndarray) -> np.ndarray:
    """Magnitude of change, (...), of values (..., C); NaN neighbours are left out."""
    squares = np.zeros(block.shape[:-1], np.float32)
    for axis in range(block.ndim - 1):
        step = np.square(np.diff(block, axis=axis)).mean(-1)
        known = ~np.isnan(step)
        step[~known] = 0
        sums, counts = np.zeros_like(squares), np.zeros(squares.shape, np.int8)
        last = block.shape[axis]
        for cut in (along(axis, 1, last), along(axis, 0, last - 1)):
            sums[cut] += step
            counts[cut] += known
        squares += sums / np.maximum(counts, 1)
    return np.sqrt(squares)


def coarse_shape(shape: tuple[int, ...], max_cells: int) -> tuple[int, ...]:
    """The finest grid of at most ``max_cells`` cells with the proportions of ``shape``, no finer than it."""
    few, many = 0.0, 1.0
    best = (1,) * len(shape)
    for scale in (1.0, *([None] * 50)):
        middle = (few + many) / 2 if scale is None else scale
        grid = tuple(max(1, math.floor(size * middle)) for size in shape)
        if math.prod(grid) <= max_cells:
            few, best = middle, grid
        else:
            many = middle
    return best


def _pool(total: np.ndarray, block: Any, spatial: tuple[int, ...], slow: int, start: int) -> None:
    """Adds layers of a volume, from ``start`` on its slow axis, to the sums over coarse cells."""
    for axis, (size, cells) in enumerate(zip(spatial, total.shape, strict=True)):
        if axis != slow:
            # A voxel belongs to the cell that holds its centre.
            cell = (2 * np.arange(size) + 1) * cells // (2 * size)
            block = np.add.reduceat(block, np.searchsorted(cell, np.arange(cells)), axis=axis)
    layers = np.arange(start, start + block.shape[slow])
    cell = (2 * layers + 1) * total.shape[slow] // (2 * spatial[slow])
    np.add.at(np.moveaxis(total, slow, 0), cell, np.moveaxis(block, slow, 0))
