"""Batches drawn from a density by error diffusion, several at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, PerSample
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.drawing.allocation import Allocation
from softmine.sampling.drawing.supply import Supply, row
from softmine.sampling.random import RandomStream

MAX_SAMPLES = 2**26
"""Samples drawn at once, at most."""
LEAST_PERIOD = 4
"""Batches drawn at once, at least: runs with a new density at every step or two ended lower (docs/evidence.md, research log, 29)."""
MOST_PERIOD = 32
LEAST_DENSITY = 1e-6
"""Density over uniform of any sample, at least, so that its weight is finite."""


class ErrorDiffusion(nn.Module):
    """Draws ``period`` batches at once, so that each cell is visited as often as its density says, give or take one.

    Every batch gets each ``period``-th of the samples, and so is spread evenly over the density.

    Args:
        cells: of the density.
        domain: where coordinates live.
        batch_size: samples of a batch, N.
        period: batches.
        random: where the allocation starts.
        snapped: samples lie at the centers of the domain's cells.
    """

    coords: Tensor
    drawn: Tensor
    density: Tensor
    first: Tensor

    def __init__(
        self,
        cells: MapCells,
        domain: Box,
        batch_size: int,
        period: int,
        random: RandomStream,
        snapped: bool = False,
    ) -> None:
        super().__init__()
        self.cells, self.domain, self.snapped = cells, domain, snapped
        self.period, self.batch_size = period, batch_size
        # Where a map cell is one of the domain, there is one place in it.
        self.coarse = cells.grid.shape != domain.shape
        self.register_buffer("coords", torch.zeros(period, batch_size, domain.dim, dtype=torch.float32))
        # In the order of the samples, which no batch asks for; of all else each batch lies together.
        self.register_buffer("drawn", torch.zeros(period * batch_size, dtype=torch.int64))
        self.register_buffer("density", torch.ones(period, batch_size, dtype=torch.float32))
        self.register_buffer("first", torch.zeros(1, dtype=torch.int64))
        self.allocation = Allocation(cells.count, random, turns=self.coarse)
        self.supply = Supply()

    def refill(self, density: PerSample, random: RandomStream) -> Tensor:
        """Draws ``period`` batches for a density over uniform (count,) of all cells, and returns the cells of all their samples (period * N,).

        Any that were left are dropped.
        """
        drawn = self.allocation.draw(density, self.period * self.batch_size, random, self.cells.volume)
        if self.snapped and not self.coarse:
            offsets = [density.new_full((1,), 0.5)] * self.domain.dim
        else:
            offsets = self.allocation.offsets(drawn, self.domain.dim, random)
        coords = self.cells.inside(drawn, offsets)
        if self.snapped and self.coarse:
            coords = self.domain.snap(coords)
        self.drawn.copy_(drawn)
        # What a cell has accumulated, it keeps: it may be drawn where its density is zero by now, and has a weight all the same.
        of_drawn = density.index_select(0, drawn).clamp_min_(LEAST_DENSITY)
        self.coords.copy_(self.dealt(coords))
        self.density.copy_(self.dealt(of_drawn))
        # Every period-th sample is of one batch, and chance says whose turn comes first.
        self.first.copy_((random.uniform(1, 1).view(1) * self.period).long())
        self.supply.add(self.period)
        return drawn

    def dealt(self, values: Tensor) -> Tensor:
        """Values (period * N, ...) of all samples in their order, as those of each batch (period, N, ...)."""
        return values.view(self.batch_size, self.period, *values.shape[1:]).transpose(0, 1)

    def take(self) -> tuple[Coords, PerSample, int | Tensor]:
        """Coordinates (N, D) and density over uniform (N,) of the next batch, and its number."""
        number = self.supply.take()
        turn = self.turn(number)
        return row(self.coords, turn), row(self.density, turn), number

    def turn(self, number: int | Tensor) -> Tensor:
        """Which of the ``period`` batches has this number, (1,)."""
        return (self.first + number) % self.period

    def density_in_order(self) -> tuple[Cells, PerSample]:
        """Cells and densities of all samples, (period * N,) each, those of one cell side by side."""
        return self.drawn, self.density.T.reshape(-1)


def default_period(cells: int, batch_size: int) -> int:
    """As many batches as visit a sixth of the cells, from 4 to 32: what a map learned should not be old before it is used."""
    visiting = max(int(cells / batch_size / 6), LEAST_PERIOD)
    return min(MOST_PERIOD, visiting, max(1, MAX_SAMPLES // batch_size))
