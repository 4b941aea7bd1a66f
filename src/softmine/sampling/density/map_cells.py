"""The cells of a coarse map over a domain: blocks of its cells, some of which a mask may leave empty or partly so."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, Flags, MaskedGrid, PerSample
from softmine.sampling.density.blocks import Blocks

MAX_AXIS = 2**22
"""Cells of a map along an axis, at most: between finer ones float32 coordinates have no places."""

AT_A_TIME = 2**15
"""Cells whose mean is taken at a time."""


class MapCells(nn.Module):
    """The cells of a map that hold anything, numbered in row-major order.

    No cell of the domain is cut: it belongs as a whole to the map cell that its center lies in, if all of these were equally
    large (``Blocks``). So a map cell is as large as what it holds. Where a mask leaves nothing in it, it has no number.

    Args:
        shape: cells of the map along each axis. More than the domain has cut these, and need a domain without a mask.
        domain: where coordinates live; None is a domain of this shape.
    """

    volume: PerSample | None
    """The share of the domain in each map cell, in units of the mean share, (count,), float32; None where all are alike."""

    def __init__(self, shape: Sequence[int], domain: Box | None = None) -> None:
        super().__init__()
        self.grid = Box(shape)
        self.domain = self.grid if domain is None else domain
        mask = self.domain.mask
        self.masked = None if mask is None else MaskedGrid(mask, self.grid.shape)
        self.count = self.grid.cells if self.masked is None else self.masked.count
        self.blocks: Blocks | None = None
        volume = None
        if self.masked is not None:
            # Nothing to weigh where a map cell is a cell of the domain.
            if not self.masked.same:
                volume = (self.masked.counts * (self.count / self.domain.valid)).float()
        elif _uneven(self.domain.shape, self.grid.shape):
            self.blocks = Blocks(self.domain.shape, self.grid.shape)
            volume = self.blocks.volume()
        self.register_buffer("volume", volume, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> MapCells:
        super()._apply(fn, recurse)
        self.grid.prepare(fn(torch.empty(0)).device)
        return self

    def volume_of(self, cells: Cells) -> PerSample | None:
        """The share of the domain in map cells (N,), in units of the mean share: (N,), or None where all are alike."""
        return None if self.volume is None else self.volume.index_select(0, cells)

    def mean(self, values: PerSample) -> Tensor:
        """The mean over the domain of values (count,) of the map cells, a scalar tensor."""
        if self.volume is None:
            return values.mean()
        if values.device.type != "cpu" or torch.compiler.is_compiling():
            return (values * self.volume).mean()
        # Few at a time: all the products together would leave the processor's cache.
        parts = zip(values.split(AT_A_TIME), self.volume.split(AT_A_TIME), strict=True)
        return torch.stack([torch.dot(part, size.to(part.dtype)) for part, size in parts]).sum() / self.count

    def inside(self, cells: Cells, offsets: Sequence[Tensor]) -> Coords:
        """Coordinates (N, D), float32, in map cells (N,), where something is, at offsets in [0, 1), each (N,) or (1,).

        Uniform offsets give coordinates uniform over what the cell holds.
        """
        if self.masked is not None:
            return self.domain.inside(*self.masked.inside(cells, offsets))
        return (self.grid if self.blocks is None else self.blocks).inside(cells, offsets)

    def find(self, coords: Coords) -> tuple[Cells, Flags | None]:
        """The map cells (N,) of coordinates (N, D), and which of these lie where something is; None if all do."""
        if self.masked is not None:
            return self.masked.find(self.domain.cell(coords))
        return self.grid.cell(coords) if self.blocks is None else self.blocks.find(coords), None

    def centers(self) -> Coords:
        """Centers (count, D) of the map cells if all were equally large, whether or not anything is there."""
        numbers = torch.arange(self.count)
        if self.masked is not None:
            device = self.masked.first.device
            numbers = torch.cat([self.masked.outer.nth(part) for part in numbers.to(device).split(2**16)])
        return self.grid.centers(numbers)


def map_shape(domain: Box, cells: int) -> tuple[int, ...]:
    """Cells along each axis of a map of at most ``cells`` cells, each a nearly cubic block of whole cells of the domain.

    The blocks are the smallest: in two dimensions of 1, 1 x 2, 2 x 2, 2 x 3, ... cells, longer ones along longer axes. What
    a short axis cannot take is left to the others. Along no axis are there more than 2^22.

    Discrete axes come first and keep all their cells, because an error there says nothing of its neighbors; only where they
    alone have more than ``cells`` do neighbors share a map cell, and the other axes are then not divided at all.
    """
    shape = list(domain.shape)
    for axis in sorted(domain.discrete, key=lambda axis: domain.shape[axis]):
        shape[axis] = min(shape[axis], cells, MAX_AXIS)
        cells = max(1, cells // shape[axis])
    # The longest axis is the first along which blocks are longer than along others.
    others = [axis for axis in range(domain.dim) if axis not in domain.discrete]
    others.sort(key=lambda axis: (domain.shape[axis], axis), reverse=True)
    if others:
        parts = _cubic_parts([domain.shape[axis] for axis in others], cells)
        for axis, many in zip(others, parts, strict=True):
            shape[axis] = many
    return tuple(shape)


def _cubic_parts(sizes: Sequence[int], cells: int) -> list[int]:
    """Blocks along axes of these sizes, at most ``cells`` together, with nearly equal sides, of which the first may be longer."""
    longest = max(sizes)
    # Equal sides that suffice, and then as few of them as do.
    side = 1 + bisect.bisect_left(
        range(1, longest), True, key=lambda side: math.prod(_parts(size, side) for size in sizes) <= cells
    )
    parts = [_parts(size, max(1, side - 1)) for size in sizes]
    for axis, size in enumerate(sizes):
        if math.prod(parts) > cells:
            parts[axis] = _parts(size, side)
    return parts


def _parts(size: int, side: int) -> int:
    """Blocks along an axis of this size, of at most ``side`` cells, or more where there would be too many blocks."""
    return -(-size // max(side, -(-size // MAX_AXIS)))


def _uneven(fine: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether blocks of whole cells, where there are not more blocks than cells, must have different sizes."""
    axes = list(zip(fine, shape, strict=True))
    return all(many <= size for size, many in axes) and any(size % many for size, many in axes)
