"""The cells of a coarse map over a domain, of which a mask may leave some empty and others partly so."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, Flags, MaskedGrid, PerSample


class MapCells(nn.Module):
    """The cells of a map that hold anything, numbered in row-major order.

    Without a mask these are all cells of ``grid``, and a coordinate belongs to the cell that it lies in. With one, a
    cell of the domain belongs as a whole to the map cell that its center lies in; a map cell without any that holds
    something has no number, and of the others each is as large as what it holds.

    Args:
        shape: cells of the map along each axis, with a mask at most as many as the domain has.
        domain: where coordinates live; None is a domain without a mask.
    """

    def __init__(self, shape: Sequence[int], domain: Box | None = None) -> None:
        super().__init__()
        self.grid = Box(shape)
        self.domain = self.grid if domain is None else domain
        mask = self.domain.mask
        self.masked = None if mask is None else MaskedGrid(mask, self.grid.shape)
        self.count = self.grid.cells if self.masked is None else self.masked.count
        # Nothing to weigh where a map cell is a cell of the domain.
        self.alike = self.masked is None or self.masked.same

    def volume(self, dtype: torch.dtype) -> PerSample | None:
        """The share of the domain in each map cell, in units of the mean share, (count,); None where all are alike."""
        if self.alike or self.masked is None:
            return None
        return self.masked.counts.to(dtype) * (self.count / self.domain.valid)

    def volume_of(self, cells: Cells, dtype: torch.dtype) -> PerSample | None:
        """The same of map cells (N,): (N,), or None where all are alike."""
        if self.alike or self.masked is None:
            return None
        first = self.masked.first
        return (first[cells + 1] - first[cells]).to(dtype) * (self.count / self.domain.valid)

    def mean(self, values: PerSample) -> Tensor:
        """The mean over the domain of values (count,) of the map cells, a scalar tensor."""
        volume = self.volume(values.dtype)
        return values.mean() if volume is None else (values * volume).mean()

    def inside(self, cells: Cells, offsets: Sequence[Tensor]) -> Coords:
        """Coordinates (N, D), float32, in map cells (N,), where something is, at offsets in [0, 1), each (N,) or (1,).

        Uniform offsets give coordinates uniform over what the cell holds.
        """
        if self.masked is None:
            return self.grid.inside(cells, offsets)
        return self.domain.inside(*self.masked.inside(cells, offsets))

    def find(self, coords: Coords) -> tuple[Cells, Flags | None]:
        """The map cells (N,) of coordinates (N, D), and which of these lie where something is; None if all do."""
        if self.masked is None:
            return self.grid.cell(coords), None
        return self.masked.find(self.domain.cell(coords))

    def centers(self) -> Coords:
        """Centers (count, D) of the map cells, whether or not anything is there."""
        numbers = torch.arange(self.count)
        if self.masked is not None:
            device = self.masked.first.device
            numbers = torch.cat([self.masked.outer.nth(part) for part in numbers.to(device).split(2**16)])
        return self.grid.centers(numbers)


def map_shape(domain: Box, cells: int) -> tuple[int, ...]:
    """Cells along each axis of a map of about ``cells`` cells, nearly cubic in native units.

    Never finer than the domain. What a short axis cannot take is left to the longer ones. Discrete axes come first and
    keep all their cells, because an error there says nothing of its neighbors; only where they alone have more than
    ``cells`` do neighbors share a map cell, and the other axes are then not divided at all.
    """
    shape = [1] * domain.dim
    order = sorted(range(domain.dim), key=lambda axis: (axis not in domain.discrete, domain.shape[axis]))
    for rank, axis in enumerate(order):
        if axis in domain.discrete:
            shape[axis] = min(domain.shape[axis], cells)
        else:
            left = [domain.shape[other] for other in order[rank:]]
            side = (math.prod(left) / cells) ** (1 / len(left))
            shape[axis] = min(domain.shape[axis], max(1, round(domain.shape[axis] / side)))
        cells = max(1, round(cells / shape[axis]))
    return tuple(shape)
