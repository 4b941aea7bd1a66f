"""The samples of many steps, drawn at once, and what was seen at them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Cells, Coords, PerSample
from softmine.sampling.random import RandomStream

UNSEEN = -1.0


class SamplePool(nn.Module):
    """Batches for ``period`` steps, each spread evenly over all samples that were drawn for them.

    Args:
        period: batches.
        batch_size: samples of a batch, N.
        dim: axes of a coordinate, D.
    """

    coords: Tensor
    cells: Tensor
    density: Tensor
    seen: Tensor
    first: Tensor

    def __init__(self, period: int, batch_size: int, dim: int) -> None:
        super().__init__()
        self.period, self.batch_size = period, batch_size
        self.register_buffer("coords", torch.zeros(period, batch_size, dim, dtype=torch.float32))
        # In the order of the samples, which no batch asks for; of all else each batch lies together.
        self.register_buffer("cells", torch.zeros(period * batch_size, dtype=torch.int64))
        self.register_buffer("density", torch.ones(period, batch_size, dtype=torch.float32))
        self.register_buffer("seen", torch.full((period, batch_size), UNSEEN, dtype=torch.float32))
        self.register_buffer("first", torch.zeros(1, dtype=torch.int64))

    @property
    def total(self) -> int:
        """Samples in all batches."""
        return self.period * self.batch_size

    def forget(self) -> None:
        """Notes that nothing was seen yet."""
        self.seen.fill_(UNSEEN)

    def fill(self, cells: Cells, coords: Coords, density: PerSample, random: RandomStream) -> None:
        """Takes ``total`` samples in order: every ``period``-th is of one batch, and chance says whose turn comes first.

        What was seen at the samples before should have been taken up, and forgotten.
        """
        self.cells.copy_(cells)
        for pool, values in ((self.coords, coords), (self.density, density)):
            pool.copy_(values.view(self.batch_size, self.period, *values.shape[1:]).transpose(0, 1))
        # The batches lie side by side in every stretch of the samples.
        self.first.copy_((random.uniform(1, 1).view(1) * self.period).long())

    def take(self, step: Tensor) -> tuple[Coords, PerSample]:
        """Coordinates (N, D) and density over uniform (N,) of the batch of a step, which is a scalar tensor."""
        turn = self._turn(step)
        return self.coords.index_select(0, turn)[0], self.density.index_select(0, turn)[0]

    def note(self, step: Tensor, seen: PerSample) -> None:
        """Keeps what was seen (N,) at the batch of a step."""
        self.seen.index_copy_(0, self._turn(step), seen.unsqueeze(0))

    def in_order(self) -> tuple[Cells, PerSample, PerSample]:
        """Cells, their density and what was seen in them, (total,) each, samples of one cell side by side.

        What was seen is negative where nothing was.
        """
        return self.cells, self.density.T.reshape(-1), self.seen.T.reshape(-1)

    def _turn(self, step: Tensor) -> Tensor:
        """Which batch is the one of a step, (1,)."""
        return (step + self.first) % self.period

    def _apply(self, fn: Any, recurse: bool = True) -> SamplePool:
        kept = {name: getattr(self, name) for name in ("coords", "density", "seen")}
        super()._apply(fn, recurse)
        # Only the device may change: half precision is too coarse.
        for name, values in kept.items():
            setattr(self, name, values.to(self.cells.device))
        return self
