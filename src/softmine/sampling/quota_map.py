"""A map of the error, and for each of its cells a quota: near exact sampling with less noise, cheaply."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling.edges import check_axes
from softmine.sampling.error_memory import ErrorMemory
from softmine.sampling.full_pass import Schedule
from softmine.sampling.map_cells import MapCells, map_shape
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, check_batch_size, check_importance, check_share
from softmine.sampling.quota import Quota
from softmine.sampling.random import RandomStream
from softmine.sampling.sample_pool import SamplePool
from softmine.sampling.softness import alpha_at, check_count, check_not_negative, check_softness, soft_weights

MAX_POOL = 2**26
"""Samples drawn at once, at most."""
MAX_AXIS = 2**22
"""Cells of the map along an axis, at most: between finer ones float32 coordinates have no places."""
LEAST_PERIOD = 4
"""Steps of a period, at least: runs with a new density at every step or two ended lower (docs/evidence.md, research log, 29)."""
MEMORY = 40
"""Steps that the map remembers, where every batch is a good part of it."""


class QuotaMap(nn.Module):
    """Draws in proportion to a power of the error, as a map remembers it.

    Exact sampling from the error needs the error everywhere, now, and so a pass over the whole signal. A map with a cell for each
    pixel (of a signal of up to ``cells`` pixels; some pixels a cell in a larger one) comes close without any: it remembers the
    importance given to ``weigh``, which is free. Before a cell is seen, it holds ``prior``, softened, and scaled by the errors of
    the first period.

    The map becomes a density every ``period`` steps, and the samples of all these steps are drawn then. They are not drawn
    independently: each cell is owed visits in proportion to its density, and is visited when it is owed one (``Quota``).
    Every step gets each ``period``-th of the samples, so that every batch is spread evenly over the density.

    The density is known, and the loss is weighted by ``(u / q)^alpha`` as in soft mining (arXiv 2312.00075). Its source is
    this project; error maps are those of instant-ngp, and quotas do for a density what shuffling does for a data set.

    A map cell holds what a mask leaves of it, and counts by how much that is. Along a discrete axis the map has all cells
    of the domain, unless these alone are more than ``cells``; then neighbours share one.

    A loop under ``torch.compile`` or in a CUDA graph calls ``refresh()`` itself, before the first step and then every ``period`` steps.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        cells: of the map, about; never finer than the domain, nor more than 2^22 along an axis.
        power: of the error that the density is proportional to.
        uniform_share: share of the density that is uniform whatever the map; more where a map cell is a cell of the domain and
            the map foretells errors badly. It sees to it that no cell is forgotten.
        repeats: times that a cell of the domain is expected in one batch, at most: in a batch that is a good part of a small
            signal, more would be wasted.
        period: steps from one density to the next. None is as many as visit a sixth of the map, from 4 to 32.
        rate: what all that a period sees of a cell changes of what the map remembers of it, from 0 to 1. None is a fortieth of the steps
            from one visit of a cell to the next, or of a period if that is longer, at most 0.7: errors swing from step to step, and
            where batches visit the map often, it should not follow every swing.
        alpha: softness of the weights; 0 is none, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        prior: where the error is expected before it is known; None is everywhere alike. See ``edge_prior``.
        snapped: whether ``Box.snap`` moves the samples to the centres of cells afterwards. Where a map cell is one of the domain,
            they are then drawn there at once.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range, a period holds more than 2^26 samples, or the prior has another number
            of axes than the domain.

    Example:
        >>> sampler = QuotaMap(Box((64, 64)), batch_size=256, seed=0)
        >>> coords = sampler.draw()
        >>> weights = sampler.weigh(coords[:, 0])                    # stands for the error at the coordinates
        >>> sampler.update()
    """

    needs_probe = False
    follows_signal = False

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        cells: int = 2**19,
        power: float = 2.0,
        uniform_share: float = 0.1,
        repeats: float = 1.0,
        period: int | None = None,
        rate: float | None = None,
        alpha: float = 0.6,
        warmup: int = 1000,
        prior: PiecewiseConstant | None = None,
        snapped: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_softness(alpha, warmup)
        self.domain = domain
        self.batch_size = check_batch_size(batch_size)
        shape = map_shape(domain, check_count("cells", cells))
        self.cells = MapCells([min(size, MAX_AXIS) for size in shape], domain)
        self.power = check_not_negative("power", power)
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.coarse = self.map.shape != self.domain.shape
        if not repeats > 0:
            raise SoftmineError(f"repeats is {repeats}, but it must be positive")
        self.repeats, self.snapped = repeats, snapped
        steps_a_visit = self.cells.count / batch_size
        # A sixth of the map, so that what it learned is not old before it is used.
        fitting = min(32, max(int(steps_a_visit / 6), LEAST_PERIOD), max(1, MAX_POOL // batch_size))
        self.period = fitting if period is None else check_count("period", period)
        if self.period * batch_size > MAX_POOL:
            raise SoftmineError(
                f"a period of {self.period} batches of {batch_size} samples is more than {MAX_POOL} drawn at once: "
                "choose a shorter one"
            )
        # What a period sees of a cell is taken up as one.
        seldom = max(steps_a_visit, self.period)
        self.rate = min(0.7, seldom / MEMORY) if rate is None else check_share("rate", rate)
        self.target_alpha, self.warmup = alpha, warmup
        self.random = RandomStream(seed)
        self.schedule = Schedule(lambda _: self.period)
        if prior is not None:
            check_axes(prior, domain)
        self.memory = ErrorMemory(self.cells, prior, power=self.power, rate=self.rate, doubts=not self.coarse)
        self.pool = SamplePool(self.period, batch_size, domain.dim)
        # Where a map cell is one of the domain, there is one place in it.
        self.quota = Quota(self.cells.count, self.random, turns=self.coarse)
        self._density: Tensor | None = None
        self._importance: Tensor | None = None
        self._choose()

    @property
    def map(self) -> Box:
        """The grid of the map."""
        return self.cells.grid

    @property
    def error(self) -> Tensor:
        """The error that the map remembers in each of its cells, (count,)."""
        return self.memory.error

    @property
    def alpha(self) -> Tensor:
        """Alpha now, a scalar tensor: it grows linearly and reaches its target after ``warmup`` updates."""
        return alpha_at(self.schedule.step, self.target_alpha, self.warmup)

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Coords:
        """New coordinates (N, D) in [0, 1)^D, uniform within the map cells drawn unless ``snapped``; ``probe`` is not used."""
        if self.schedule.due:
            self.refresh()
        coords, self._density = self.pool.take(self.schedule.step)
        return coords

    @torch.no_grad()
    def refresh(self, probe: Probe | None = None) -> None:
        """Takes up what the last period saw, and draws the samples of the next ``period`` steps; ``probe`` is not used."""
        self.memory.learn(*self.pool.in_order())
        self.pool.forget()
        # The first samples are there from the start; to draw others would count visits that nobody made.
        if self.schedule.started:
            self._choose()
        self.schedule.passed()

    @torch.no_grad()
    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Loss weights (N,) without gradient.

        Args:
            importance: Q (N,) at the drawn coordinates, non-negative: usually ``residual.abs().mean(-1)``. The map
                takes it up at ``update``.
            loss: not used.

        Raises:
            SoftmineError: nothing was drawn, or there is not one importance for each sample.
        """
        weights = soft_weights(self._density, self.alpha)
        self._importance = check_importance(importance, self.batch_size)
        return weights

    @torch.no_grad()
    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Notes the last importance for the map, which takes it up when the next period begins."""
        self.pool.note(self.schedule.step, self._after_weigh())
        self.schedule.advance()

    def check(self) -> None:
        """Raises SoftmineError unless ``draw`` and ``weigh`` were called; no gradient is needed."""
        self._after_weigh()

    def extra_repr(self) -> str:
        """Domain, batch size and the map's shape, for ``print``."""
        return f"{self.domain}, batch_size={self.batch_size}, map={self.map.shape}"

    def _choose(self) -> None:
        """Turns the map into a density and draws the samples of a period from it."""
        total, dim = self.pool.total, self.map.dim
        limit = max(1.0, self.repeats * self.domain.valid / self.batch_size)
        density = self.memory.density(self.uniform_share, limit, self.cells)
        volume = self.cells.volume(density.dtype)
        shares = density if volume is None else density * volume
        cells = self.quota.draw(shares, total, self.random)
        if self.snapped and not self.coarse:
            places = [density.new_full((1,), 0.5)] * dim
        else:
            places = self.quota.places(cells, dim, self.random)
        coords = self.cells.inside(cells, places)
        self.pool.fill(cells, coords, density.index_select(0, cells), self.random)

    def _after_weigh(self) -> PerSample:
        """Importance of the last draw."""
        if self._importance is None:
            raise SoftmineError("call draw() and weigh() before update(): the map learns from the importance")
        return self._importance

    def _apply(self, fn: Any, recurse: bool = True) -> QuotaMap:
        super()._apply(fn, recurse)
        self._density = self._importance = None
        return self
