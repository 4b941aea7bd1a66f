"""Where coordinates live.

A *domain* is the unit cube [0, 1)^D over a regular grid of cells (pixels, samples, voxels). Samplers
work in unit coordinates; distances that people choose (steps, radii) are in *native units*, one unit
per cell, so that a setting means the same at every size.

Cell ``i`` of an axis with ``n`` cells covers [i/n, (i+1)/n) and its center lies at (i + 0.5)/n. Axes come
in array order: (row, column) for a picture.

Not every cell need hold something: a *mask* says which do, and "uniform" then means uniform over those. And not every
axis need have neighbors: along a *discrete* one, such as the number of a photo, samples do not move.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from softmine.errors import SoftmineError
from softmine.masks import Cells, Flags, MaskedGrid

__all__ = ["Box", "Cells", "Coords", "Flags", "MaskedGrid", "PerAxis", "PerSample", "SoftmineError", "Values"]

Coords = Float[Tensor, "n d"]
"""Unit coordinates, shape (N, D)."""
PerSample = Float[Tensor, "n"]
"""One number a sample, shape (N,)."""
PerAxis = Float[Tensor, "d"]
"""One number an axis, shape (D,)."""
Values = Float[Tensor, "n c"]
"""Signal values, shape (N, C)."""

MAX_MASKED_CELLS = 2**31
"""Cells of a mask, at most,"""
MAX_MASKED_AXIS = 2**22
"""and along an axis: between finer ones float32 coordinates have no places, and would fall into neighbors."""


class Box:
    """The unit cube over a grid of ``shape`` cells.

    Args:
        shape: cells along each axis, in array order; 1 to 4 axes, each at least 1.
        mask: True in the cells that hold something, a tensor or array of the box's shape; None is all of them. At most
            2^31 cells, and 2^22 along an axis. It is copied, and takes a byte a cell on each device.
        discrete: axes along which neighbors have nothing to do with each other, such as the number of a photo:
            samples do not move along them.

    Raises:
        SoftmineError: the shape is empty, longer than four axes, or holds a size below 1; the mask has another shape or
            type, is too large or False everywhere; a discrete axis does not exist.

    Example:
        >>> box = Box((4, 8))
        >>> box.dim, box.cells
        (2, 32)
        >>> box.to_native(torch.tensor([[0.5, 0.5]]))
        tensor([[2., 4.]])
        >>> masked = Box((4,), mask=torch.tensor([True, False, False, True]))
        >>> masked.valid, masked.uniform(torch.tensor([[0.25], [0.75]])).flatten().tolist()
        (2, [0.125, 0.875])
    """

    def __init__(
        self,
        shape: Sequence[int],
        mask: Bool[Tensor, "..."] | npt.NDArray[np.bool_] | None = None,
        discrete: Sequence[int] = (),
    ) -> None:
        shape = _whole(shape, "the shape of a Box is {}: give its whole numbers of cells, such as (512, 768)")
        if not 1 <= len(shape) <= 4 or min(shape) < 1:
            raise SoftmineError(
                f"a Box needs 1 to 4 axes of at least one cell each, but its shape is {shape}"
            )
        self.shape = shape
        discrete = _whole(discrete, "discrete is {}: give the numbers of axes, such as (0,), or () for none")
        self.discrete = tuple(sorted(set(discrete)))
        if any(not 0 <= axis < len(shape) for axis in self.discrete):
            raise SoftmineError(
                f"the discrete axes {discrete} are not all there: a Box of shape {shape} has the axes 0 to "
                f"{len(shape) - 1}"
            )
        self._scales: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._mobilities: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._grids: dict[torch.device, MaskedGrid] = {}
        flags = _checked(mask, shape)
        self.valid = self.cells
        """Number of cells that hold something."""
        if flags is not None:
            grid = MaskedGrid(flags, [1] * len(shape))
            self._grids[torch.device("cpu")], self.valid = grid, grid.inner.count

    def __repr__(self) -> str:
        holding = f", valid={self.valid}" if self.masked else ""
        discrete = f", discrete={self.discrete}" if self.discrete else ""
        return f"Box({self.shape}{holding}{discrete})"

    @property
    def dim(self) -> int:
        """Number of axes D."""
        return len(self.shape)

    @property
    def cells(self) -> int:
        """Number of grid cells."""
        return math.prod(self.shape)

    @property
    def masked(self) -> bool:
        """Whether there are cells that hold nothing."""
        return self.valid < self.cells

    @property
    def mask(self) -> Bool[Tensor, "..."] | None:
        """Which cells hold something, a new bool tensor of the box's shape on the CPU; None where all do."""
        return self._grids[torch.device("cpu")].inner.flags.view(self.shape) if self.masked else None

    def scale(self, like: Tensor) -> PerAxis:
        """Cells along each axis, shape (D,), with the device and dtype of ``like``; not to be changed in place."""
        return _kept(self._scales, self.shape, like)

    def mobility(self, like: Tensor) -> PerAxis:
        """1 along the axes that samples may move along, 0 along discrete ones: (D,), with the type of ``like``."""
        moving = tuple(0 if axis in self.discrete else 1 for axis in range(self.dim))
        return _kept(self._mobilities, moving, like)

    def to_native(self, coords: Coords) -> Coords:
        """Unit coordinates (N, D) in native units: pixels, samples, voxels."""
        return coords * self.scale(coords)

    def to_unit(self, native: Coords) -> Coords:
        """Native coordinates (N, D) in unit coordinates."""
        return native / self.scale(native)

    def snap(self, coords: Coords) -> Coords:
        """Moves coordinates (N, D) to the centers of their cells; the gradient passes as if they had not moved.

        A picture is known at its pixels' centers and measured there. To train only there:
        ``points = box.snap(sampler.draw())``. A bilinear look-up has a kink at every center; its gradient there is
        the difference to one neighbor.
        """
        scale = self.scale(coords)
        centers = ((coords.detach() * scale).floor() + 0.5) / scale
        return coords + (centers - coords.detach()) if coords.requires_grad else centers

    def contains(self, coords: Coords) -> Flags:
        """Which coordinates (N, D) lie in [0, 1)^D, in a cell that holds something; shape (N,). NaN does not."""
        inside = ((coords >= 0) & (coords < 1)).all(-1)
        if not self.masked:
            return inside
        return inside & self._grid(coords.device).inner.has(self.cell(coords))

    def uniform(self, numbers: Coords) -> Coords:
        """Coordinates (N, D), uniform over the cells that hold something, that uniform numbers (N, D) in [0, 1) stand for.

        Without a mask the numbers themselves. The cells are exactly as uniform as they are without one.
        """
        if not self.masked:
            return numbers
        pieces = torch.zeros(len(numbers), dtype=torch.int64, device=numbers.device)
        return self.inside(*self._grid(numbers.device).inside(pieces, numbers.unbind(-1)))

    def nth_valid(self, numbers: Cells) -> Cells:
        """The flat cells (N,) of these numbers (N,), from 0 to ``valid`` - 1, among those that hold something."""
        return self._grid(numbers.device).inner.nth(numbers) if self.masked else numbers

    def prepare(self, device: torch.device) -> None:
        """Brings what the box keeps to a device, so that no later call waits for that or does it inside a compiled graph."""
        # Tensors name their device with its number, as in cuda:0.
        like = torch.empty(0, device=device)
        self.scale(like)
        self.mobility(like)
        if self.masked:
            self._grid(like.device)

    def _grid(self, device: torch.device) -> MaskedGrid:
        if device not in self._grids:
            self._grids[device] = copy.deepcopy(self._grids[torch.device("cpu")]).to(device)
        return self._grids[device]

    def cell(self, coords: Coords) -> Cells:
        """Flat (row-major) index of the cell that holds each coordinate, shape (N,)."""
        flat = torch.zeros(coords.shape[0], dtype=torch.int64, device=coords.device)
        for axis, size in enumerate(self.shape):
            flat = flat * size + (coords[:, axis] * size).long().clamp(0, size - 1)
        return flat

    def centers(self, cells: Cells, dtype: torch.dtype = torch.float32) -> Coords:
        """Unit coordinates (N, D) of the centers of flat cell indices (N,)."""
        axes, device = [], cells.device
        if device.type == "mps":
            # Apple's GPUs have no float64.
            cells = cells.cpu()
        for size in reversed(self.shape):
            axes.append(((cells % size).to(torch.float64) + 0.5) / size)
            cells = cells // size
        return torch.stack(axes[::-1], -1).to(dtype).to(device)

    def indices(self, cells: Cells) -> list[Tensor]:
        """Index along each axis, (N,) each, of flat cells (N,)."""
        # A processor takes three times as long to divide whole numbers as float64, which is exact up to here.
        by_float, places = cells.device.type == "cpu" and self.cells <= 2**50, []
        for size in reversed(self.shape[1:]):
            # Half a cell is farther from whole numbers than rounding goes.
            rest = cells.double().add_(0.5).mul_(1 / size).long() if by_float else cells // size
            places.append(cells.sub(rest, alpha=size))
            cells = rest
        return [cells, *reversed(places)]

    def inside(self, cells: Cells, offsets: Sequence[Tensor]) -> Coords:
        """Unit coordinates (N, D), float32, in flat cells (N,), at offsets in [0, 1) along each axis, each (N,) or (1,)."""
        coords = torch.empty(len(cells), self.dim, dtype=torch.float32, device=cells.device)
        # CUDA multiplies by the reciprocal of a number of the host, and so leaves the cell; a tensor's it divides by.
        divisors = self.shape if cells.device.type == "cpu" else self.scale(coords).unbind()
        for axis, (place, size) in enumerate(zip(self.indices(cells), self.shape, strict=True)):
            # Not quite to the cell's borders, which float32 could round across.
            border = min(size * 2.0**-23, 0.5)
            coords[:, axis] = (place + offsets[axis].clamp(border, 1 - border)).div_(divisors[axis])
        return coords.clamp_(max=1.0 - 2.0**-24)


def _whole(numbers: Any, message: str) -> tuple[int, ...]:
    """A sequence of whole numbers as a tuple; raises SoftmineError with ``message`` where it is something else.

    Sets have no order, the items of bytes are whole numbers by accident, and tensors of float32 say that they are, too.
    """
    wrong = not isinstance(numbers, Iterable) or isinstance(numbers, (str, bytes, bytearray, Set, Mapping))
    try:
        items: tuple[Any, ...] = () if wrong else tuple(numbers)
        found = tuple(operator.index(item) for item in items if not _is_truth_value(item))
    except TypeError:
        items, found, wrong = (), (), True
    if wrong or len(found) != len(items):
        raise SoftmineError(message.format(numbers))
    return found


def _is_truth_value(item: Any) -> bool:
    return isinstance(item, (bool, np.bool_)) or (isinstance(item, Tensor) and item.dtype == torch.bool)


def _kept(
    kept: dict[tuple[torch.dtype, torch.device], Tensor], numbers: tuple[int, ...], like: Tensor
) -> PerAxis:
    """The numbers (D,) with the device and dtype of ``like``: made once, because a copy from the host makes it wait for a GPU."""
    if torch.compiler.is_compiling():
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)
    kind = (like.dtype, like.device)
    if kind not in kept:
        # Whoever asks first: a tensor of inference mode could not be trained with later.
        with torch.inference_mode(False):
            kept[kind] = torch.tensor(numbers, dtype=like.dtype, device=like.device)
    return kept[kind]


def _checked(
    mask: Bool[Tensor, "..."] | npt.NDArray[np.bool_] | None, shape: tuple[int, ...]
) -> Bool[Tensor, "..."] | None:
    """The mask on the CPU, or None where nothing is masked; raises SoftmineError where it does not fit the shape."""
    if mask is None:
        return None
    flags = torch.as_tensor(mask)
    if flags.dtype != torch.bool or tuple(flags.shape) != shape:
        raise SoftmineError(
            f"the mask is {flags.dtype} of shape {tuple(flags.shape)}, but a Box of shape {shape} needs one truth value "
            "a cell: give a bool tensor or array of that shape"
        )
    if flags.numel() > MAX_MASKED_CELLS or max(shape) > MAX_MASKED_AXIS:
        raise SoftmineError(
            f"a mask of shape {shape} is too large: at most {MAX_MASKED_CELLS:,} cells, and {MAX_MASKED_AXIS:,} along an "
            "axis, can be masked"
        )
    if not flags.any():
        raise SoftmineError(
            "the mask is False everywhere: a Box needs at least one cell that holds something"
        )
    return None if flags.all() else flags.cpu()
