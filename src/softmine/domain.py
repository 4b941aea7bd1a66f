"""Where coordinates live.

A *domain* is the unit cube [0, 1)^D over a regular grid of cells (pixels, samples, voxels). Samplers
work in unit coordinates; distances that people choose (steps, radii) are in *native units*, one unit
per cell, so that a setting means the same at every size.

Cell ``i`` of an axis with ``n`` cells covers [i/n, (i+1)/n) and its centre lies at (i + 0.5)/n. Axes come
in array order: (row, column) for a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softmine.errors import SoftmineError

__all__ = ["Box", "Cells", "Coords", "Flags", "PerAxis", "PerSample", "SoftmineError", "Values"]

Coords = Float[Tensor, "n d"]
"""Unit coordinates, shape (N, D)."""
PerSample = Float[Tensor, "n"]
"""One number a sample, shape (N,)."""
PerAxis = Float[Tensor, "d"]
"""One number an axis, shape (D,)."""
Flags = Bool[Tensor, "n"]
"""One truth value a sample, shape (N,)."""
Cells = Int[Tensor, "n"]
"""Flat (row-major) cell indices, shape (N,)."""
Values = Float[Tensor, "n c"]
"""Signal values, shape (N, C)."""


class Box:
    """The unit cube over a grid of ``shape`` cells.

    Args:
        shape: cells along each axis, in array order; 1 to 4 axes, each at least 1.

    Raises:
        SoftmineError: the shape is empty, longer than four axes, or holds a size below 1.

    Example:
        >>> box = Box((4, 8))
        >>> box.dim, box.cells
        (2, 32)
        >>> box.to_native(torch.tensor([[0.5, 0.5]]))
        tensor([[2., 4.]])
    """

    def __init__(self, shape: Sequence[int]) -> None:
        shape = tuple(int(size) for size in shape)
        if not 1 <= len(shape) <= 4 or min(shape) < 1:
            raise SoftmineError(
                f"a Box needs 1 to 4 axes of at least one cell each, but its shape is {shape}"
            )
        self.shape = shape
        self._scales: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def __repr__(self) -> str:
        return f"Box({self.shape})"

    @property
    def dim(self) -> int:
        """Number of axes D."""
        return len(self.shape)

    @property
    def cells(self) -> int:
        """Number of grid cells."""
        return math.prod(self.shape)

    def scale(self, like: Tensor) -> PerAxis:
        """Cells along each axis, shape (D,), with the device and dtype of ``like``; not to be changed in place."""
        if torch.compiler.is_compiling():
            return torch.tensor(self.shape, dtype=like.dtype, device=like.device)
        kind = (like.dtype, like.device)
        if kind not in self._scales:
            # Kept, because a copy from the host makes it wait for a GPU.
            self._scales[kind] = torch.tensor(self.shape, dtype=like.dtype, device=like.device)
        return self._scales[kind]

    def to_native(self, coords: Coords) -> Coords:
        """Unit coordinates (N, D) in native units: pixels, samples, voxels."""
        return coords * self.scale(coords)

    def to_unit(self, native: Coords) -> Coords:
        """Native coordinates (N, D) in unit coordinates."""
        return native / self.scale(native)

    def snap(self, coords: Coords) -> Coords:
        """Moves coordinates (N, D) to the centres of their cells; the gradient passes as if they had not moved.

        A picture is known at its pixels' centres and measured there. To train only there:
        ``points = box.snap(sampler.draw())``. A bilinear look-up has a kink at every centre; its gradient there is
        the difference to one neighbour.
        """
        scale = self.scale(coords)
        centres = ((coords.detach() * scale).floor() + 0.5) / scale
        return coords + (centres - coords.detach()) if coords.requires_grad else centres

    def contains(self, coords: Coords) -> Flags:
        """Which coordinates (N, D) lie in [0, 1)^D; shape (N,). NaN does not."""
        return ((coords >= 0) & (coords < 1)).all(-1)

    def cell(self, coords: Coords) -> Cells:
        """Flat (row-major) index of the cell that holds each coordinate, shape (N,)."""
        flat = torch.zeros(coords.shape[0], dtype=torch.int64, device=coords.device)
        for axis, size in enumerate(self.shape):
            flat = flat * size + (coords[:, axis] * size).long().clamp(0, size - 1)
        return flat

    def centres(self, cells: Cells, dtype: torch.dtype = torch.float32) -> Coords:
        """Unit coordinates (N, D) of the centres of flat cell indices (N,)."""
        axes = []
        for size in reversed(self.shape):
            axes.append(((cells % size).to(torch.float64) + 0.5) / size)
            cells = cells // size
        return torch.stack(axes[::-1], -1).to(dtype)

    def inside(self, cells: Cells, offsets: Sequence[Tensor]) -> Coords:
        """Unit coordinates (N, D), float32, in flat cells (N,), at offsets in [0, 1) along each axis, each (N,) or (1,)."""
        axes = []
        for size, offset in zip(reversed(self.shape), reversed(offsets), strict=True):
            # Not quite to the cell's borders, which float32 could round across.
            border = min(size * 2.0**-23, 0.5)
            axes.append((cells % size + offset.clamp(border, 1 - border)) / size)
            cells = cells // size
        return torch.stack(axes[::-1], -1).float().clamp(max=1.0 - 2.0**-24)
