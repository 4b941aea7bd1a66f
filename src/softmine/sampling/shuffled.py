"""Uniform sampling without replacement: the shuffled data set of other trainings."""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.domain import Box, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.density.piecewise import sum_type
from softmine.sampling.drawing.permutation import passes, shuffled
from softmine.sampling.drawing.supply import Supply, row

PERIOD = 16
"""Batches drawn at once, at most: many small operations cost more than a few larger ones."""
MAX_AHEAD = 2**18
"""Samples drawn at once, at most, unless a batch has more."""
MAX_CELLS = 2**60
"""Cells of a domain, at most: places in the order are int64."""


class Shuffled(Sampler):
    """Draws every cell of the domain once before any of them again, in an order that chance renews; all weights are one.

    With independent uniform draws, as many as there are cells, a third of the cells are left out and a quarter come twice or
    more. Random reshuffling is what stochastic gradient descent is usually run with, and converges faster (Mishchenko,
    Khaled and Richtárik, NeurIPS 2020); here it is a second baseline. Within a cell coordinates are uniform.

    Where the number of cells has no two factors that are not too far from each other, a few samples of a pass, at most its
    root, are drawn freely; and along an axis of more than 2^22 cells float32 coordinates may lie in a neighbor of the cell
    whose turn it is.

    Batches are drawn ``period`` at a time. A compiled or recorded ``draw`` cannot do that: call ``refresh()`` outside of it, before the
    first step and then every ``period`` draws; one too many is an error. (``CapturedStep`` does it.)

    Args:
        domain: where coordinates live; a mask's empty cells are left out.
        batch_size: coordinates a draw, N.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: the domain has more than 2^60 cells.

    Example:
        >>> sampler = Shuffled(Box((4, 4)), batch_size=16, seed=0)
        >>> sampler.domain.cell(sampler.draw().coords).unique().numel()
        16
    """

    recordable = True
    ahead: Tensor
    place: Tensor

    def __init__(self, domain: Box, batch_size: int, *, seed: int | None = None) -> None:
        super().__init__(domain, batch_size, seed=seed)
        if domain.valid > MAX_CELLS:
            raise SoftmineError(
                f"{domain} has more than 2^60 cells to shuffle: choose uniform, which needs no order"
            )
        self.period = max(1, min(PERIOD, MAX_AHEAD // batch_size))
        self.supply = Supply()
        self.register_buffer("ahead", torch.zeros(self.period, batch_size, domain.dim, dtype=torch.float32))
        # How far the shuffled order is through.
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def draw(self, probe: Probe | None = None) -> Batch:
        """New samples."""
        if self.supply.used_up:
            self._draw_ahead()
        number = self.supply.take()
        turn = (number - self.supply.drawn + self.period).view(1)
        return Batch(row(self.ahead, turn), self.step.clone(), number=number)

    @torch.no_grad()
    def refresh(self, probe: Probe | None = None) -> None:
        """Draws the next ``period`` batches, for compiled and recorded loops; nothing if none of the last was taken."""
        if not self.supply.untouched(self.period):
            self._draw_ahead()

    def _draw_ahead(self) -> None:
        domain, count = self.domain, self.period * self.batch_size
        places = self.place + torch.arange(count, device=self.place.device)
        cells = shuffled(places, domain.valid, self.random.key)
        if passes(domain.valid) > domain.valid:
            # The few that the order has too many are drawn freely.
            free = self.random.uniform(count, 1, sum_type(cells.device)).view(-1) * domain.valid
            cells = torch.where(cells < domain.valid, cells, free.long())
        offsets = self.random.uniform(count, domain.dim).unbind(-1)
        self.ahead.copy_(domain.inside(domain.nth_valid(cells), offsets).view_as(self.ahead))
        self.place.add_(count)
        self.supply.add(self.period)
