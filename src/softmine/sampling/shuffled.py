"""Uniform sampling without replacement: the shuffled data set of other trainings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling.full_pass import Schedule
from softmine.sampling.order import passes, shuffled
from softmine.sampling.piecewise import sum_type
from softmine.sampling.protocol import Probe, check_batch_size
from softmine.sampling.random import RandomStream

PERIOD = 16
"""Batches drawn at once, at most: many small operations cost more than a few larger ones."""
MAX_AHEAD = 2**18
"""Samples drawn at once, at most, unless a batch has more."""
MAX_CELLS = 2**60
"""Cells of a domain, at most: places in the order are int64."""


class Shuffled(nn.Module):
    """Draws every cell of the domain once before any of them again, in an order that chance renews; all weights are one.

    With independent uniform draws, as many as there are cells, a third of the cells are left out and a quarter come twice or
    more. Random reshuffling is what stochastic gradient descent is usually run with, and converges faster (Mishchenko,
    Khaled and Richtárik, NeurIPS 2020); here it is a second baseline. Within a cell coordinates are uniform.

    Where the number of cells has no two factors that are not too far from each other, a few samples of a pass, at most its
    root, are drawn freely; and along an axis of more than 2^22 cells float32 coordinates may lie in a neighbour of the cell
    whose turn it is.

    A loop under ``torch.compile`` or in a CUDA graph calls ``refresh()`` itself, before the first step and then every ``period`` steps.

    Args:
        domain: where coordinates live; a mask's empty cells are left out.
        batch_size: coordinates a draw, N.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: the domain has more than 2^60 cells.

    Example:
        >>> sampler = Shuffled(Box((4, 4)), batch_size=16, seed=0)
        >>> sampler.domain.cell(sampler.draw()).unique().numel()
        16
    """

    needs_probe = False
    follows_signal = False
    ahead: Tensor
    place: Tensor
    ones: Tensor

    def __init__(self, domain: Box, batch_size: int, *, seed: int | None = None) -> None:
        super().__init__()
        self.domain = domain
        self.batch_size = check_batch_size(batch_size)
        if domain.valid > MAX_CELLS:
            raise SoftmineError(
                f"{domain} has more than 2^60 cells to shuffle: choose uniform, which needs no order"
            )
        self.random = RandomStream(seed)
        self.period = max(1, min(PERIOD, MAX_AHEAD // batch_size))
        self.schedule = Schedule(lambda _: self.period)
        self.register_buffer("ahead", torch.zeros(self.period, batch_size, domain.dim, dtype=torch.float32))
        # How far the shuffled order is through.
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ones", torch.ones(batch_size, dtype=torch.float32), persistent=False)

    def draw(self, probe: Probe | None = None) -> Coords:
        """New coordinates (N, D) in [0, 1)^D."""
        if self.schedule.due:
            self.refresh()
        return self.ahead.index_select(0, (self.schedule.step % self.period).view(1))[0]

    @torch.no_grad()
    def refresh(self, probe: Probe | None = None) -> None:
        """Draws the samples of the next ``period`` steps; no probe is asked."""
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
        self.schedule.passed()

    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Ones (N,), whatever the importance (N,)."""
        return self.ones.clone()

    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Goes on to the next batch."""
        self.schedule.advance()

    def check(self) -> None:
        """Nothing can go wrong: uniform sampling needs no gradient."""

    def _apply(self, fn: Any, recurse: bool = True) -> Shuffled:
        ahead = self.ahead
        super()._apply(fn, recurse)
        # Only the device may change: half precision is too coarse.
        self.ahead = ahead.to(self.place.device)
        self.domain.prepare(self.place.device)
        return self
