"""A map of the error, drawn by error diffusion: near exact sampling with less noise, cheaply."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from softmine.checks import check_count, check_not_negative, check_positive, check_share, check_truth
from softmine.domain import Box, PerSample, SoftmineError
from softmine.kernels import bookkeeping_on_device
from softmine.sampling.base import Batch, Probe, Sampler, check_size
from softmine.sampling.density.map_cells import MapCells, map_shape
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.density.prior import check_axes
from softmine.sampling.drawing.error_diffusion import MAX_SAMPLES, ErrorDiffusion, default_period
from softmine.sampling.drawing.supply import row
from softmine.sampling.quota_map.error_memory import ErrorMemory
from softmine.sampling.quota_map.outliers import KEPT

MEMORY = 40
"""Steps that the map remembers, where every batch is a good part of it."""
UNSEEN = -1.0
DOUBTED = 0.5
"""Doubt from which on what stands alone is wholly left to itself."""
NAMED = 8
"""Views that a remark names, at most."""


@dataclass(eq=False)
class LimitedBatch(Batch):
    """A batch of ``QuotaMap``.

    Attributes:
        limit: errors up to which samples have their full weight, (N,); None is any.
    """

    limit: PerSample | None = None


class QuotaMap(Sampler):
    """Draws in proportion to a power of the error, as a map remembers it.

    Exact sampling from the error needs the error everywhere, now, and so a pass over the whole signal. A map with a cell for each
    pixel (of a signal of up to ``cells`` pixels; a block of pixels a cell in a larger one) comes close without any: it remembers the
    errors given to ``update``, which are free. Before a cell is seen, it holds ``prior``, softened, and scaled by the errors of
    the first period.

    The map becomes a density every ``period`` batches, and the samples of all of them are drawn then, by error diffusion: each
    cell accumulates its expected number of samples and is drawn when the sum reaches one (``Allocation``). Every batch gets each
    ``period``-th of the samples, so that it is spread evenly over the density.

    With ``robust``, errors that stand alone are doubted, and left to themselves where they hold most of all error: those of noise
    and defects, which would draw most samples and teach nothing (``Outliers``). Along a discrete axis, views that hold far more error
    than the others are drawn evenly (``Views``).

    The density is known, and the loss is weighted by ``(u / q)^alpha`` as in soft mining (arXiv 2312.00075). Its source is
    this project; error maps are those of instant-ngp, and error diffusion does for a density what shuffling does for a data set.

    A map cell holds what a mask leaves of it, and counts by how much that is. Along a discrete axis the map has all cells
    of the domain, unless these alone are more than ``cells``; then neighbors share one.

    A compiled or recorded ``draw`` cannot make a new density: call ``refresh()`` outside of it, before the first step and then every
    ``period`` draws; one too many is an error. (``CapturedStep`` does it.)

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        cells: of the map, at most; each is a block of whole cells of the domain, and along an axis there are at most 2^22.
        power: of the error that the density is proportional to.
        uniform_share: share of the density that is uniform whatever the map; more where a map cell is a cell of the domain and
            the map predicts errors badly. It sees to it that no cell is forgotten.
        robust: leave errors that stand alone to themselves, as far as they are doubted (``Outliers``), as ``softmine.auto`` does. False takes
            every error as it is: for signals whose single cells matter, such as stars of one pixel.
        repeats: times that a cell of the domain is expected in one batch, at most: in a batch that is a good part of a small
            signal, more would be wasted.
        period: batches from one density to the next. None is as many as visit a sixth of the map, from 4 to 32.
        rate: what all that a period sees of a cell changes of what the map remembers of it, from 0 to 1. None is a fortieth of the steps
            from one visit of a cell of the domain to the next, or of a period if that is longer, at most 0.7: errors oscillate from step to
            step, and where batches visit the domain often, the map should not follow every one.
        alpha: softness of the weights; 0 is none, 1 importance sampling of the uniform loss: exactly so where a map cell is a cell of the
            domain, and too much of what is large within a block of several (``Allocation.offsets``).
        warmup: updates over which alpha grows from 0 to its target.
        prior: where the error is expected before it is known; None is everywhere alike. See ``edge_prior``.
        snapped: whether samples lie at the centers of the domain's cells, for signals that are known there.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range, a period holds more than 2^26 samples, or the prior has another number
            of axes than the domain.

    Example:
        >>> sampler = QuotaMap(Box((64, 64)), batch_size=256, seed=0)
        >>> batch = sampler.draw()
        >>> error = batch.coords[:, 0]                               # stands for the error at the coordinates
        >>> weights = sampler.weigh(batch, error)
        >>> sampler.update(batch, error)
    """

    recordable = True
    seen: Tensor
    limit: Tensor | None

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        cells: int = 2**19,
        power: float = 2.0,
        uniform_share: float = 0.1,
        robust: bool = False,
        repeats: float = 1.0,
        period: int | None = None,
        rate: float | None = None,
        alpha: float = 0.6,
        warmup: int = 1000,
        prior: PiecewiseConstant | None = None,
        snapped: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, batch_size, alpha=alpha, warmup=warmup, seed=seed)
        self.cells = MapCells(map_shape(domain, check_count("cells", cells)), domain)
        self.power = check_not_negative("power", power)
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.repeats = check_positive("repeats", repeats, finite=False)
        check_truth("robust", robust)
        fitting = default_period(self.cells.count, batch_size)
        self.period = fitting if period is None else check_count("period", period)
        if self.period * batch_size > MAX_SAMPLES:
            raise SoftmineError(
                f"a period of {self.period} batches of {batch_size} samples is more than {MAX_SAMPLES} drawn at once: "
                "choose a shorter one"
            )
        # What a period sees of a cell is taken up as one.
        seldom = max(domain.valid / batch_size, self.period)
        self.rate = min(0.7, seldom / MEMORY) if rate is None else check_share("rate", rate)
        if prior is not None:
            check_axes(prior, domain)
        coarse = self.map.shape != domain.shape
        self.memory = ErrorMemory(
            self.cells, prior, power=self.power, rate=self.rate, shrinks=not coarse, robust=robust
        )
        self.diffusion = ErrorDiffusion(self.cells, domain, batch_size, self.period, self.random, snapped)
        self.register_buffer("seen", torch.full((self.period, batch_size), UNSEEN, dtype=torch.float32))
        limit = torch.zeros(self.period, batch_size, dtype=torch.float32) if robust else None
        self.register_buffer("limit", limit)
        self._draw_ahead()

    def recording_key(self) -> tuple[object, ...]:
        """Numbers that a CUDA graph of a step, or of ``refresh()``, freezes."""
        own = (self.power, self.uniform_share, self.repeats, self.period, self.memory.power, self.memory.rate)
        return (*super().recording_key(), *own)

    @property
    def map(self) -> Box:
        """The grid of the map."""
        return self.cells.grid

    @property
    def error(self) -> Tensor:
        """The error that the map remembers in each of its cells, (count,)."""
        return self.memory.error

    def draw(self, probe: Probe | None = None) -> Batch:
        """New samples, uniform within the map cells drawn unless ``snapped``; ``probe`` is not used."""
        if self.diffusion.supply.used_up:
            self._renew()
        if bookkeeping_on_device(self.seen):
            return self._take_in_one_launch()
        coords, density, number = self.diffusion.take()
        limit = None if self.limit is None else row(self.limit, self.diffusion.turn(number))
        return LimitedBatch(coords, self.step.clone(), density, number=number, limit=limit)

    def _take_in_one_launch(self) -> LimitedBatch:
        from softmine.kernels.triton.sampling import take_batch

        ahead = self.diffusion
        number = ahead.supply.take()
        taken = take_batch(ahead.coords, ahead.density, self.limit, ahead.first, number, self.step)
        coords, density, limit, step = taken
        return LimitedBatch(coords, step, density, number=number, limit=limit)

    @torch.no_grad()
    def weigh(self, batch: Batch, error: PerSample) -> PerSample:
        """Loss weights ``(u / q)^alpha`` (N,), a fiftieth of them where the error stands alone and is doubted; changes nothing.

        Args:
            batch: of this sampler.
            error: importance Q (N,) at its coordinates, not negative: usually ``residual.abs().mean(-1)``.

        Raises:
            SoftmineError: there is not one error for each sample.
        """
        weights = super().weigh(batch, error)
        if isinstance(batch, LimitedBatch) and batch.limit is not None:
            weights.mul_(torch.where(error > batch.limit, KEPT, 1.0))
        return weights

    @torch.no_grad()
    def refresh(self, probe: Probe | None = None) -> None:
        """Takes up what was seen and draws the next ``period`` batches, for compiled and recorded loops.

        Nothing happens where none of the last batches was taken. ``probe`` is not used.
        """
        if not self.diffusion.supply.untouched(self.period):
            self._renew()

    def _renew(self) -> None:
        cells, density = self.diffusion.density_in_order()
        self.memory.learn(cells, density, self.seen.T.reshape(-1))
        self.seen.fill_(UNSEEN)
        self._draw_ahead()

    def _draw_ahead(self) -> None:
        """Turns the map into a density and draws the samples of a period from it."""
        limit = max(1.0, self.repeats * self.domain.valid / self.batch_size)
        density = self.memory.density(self.uniform_share, limit, self.cells)
        cells = self.diffusion.refill(density, self.random)
        if self.limit is not None and self.memory.outliers is not None:
            self.limit.copy_(self.diffusion.dealt(self.memory.outliers.limit(cells)))

    def _learn(
        self, batch: Batch, error: PerSample, loss: PerSample | None, loss_scale: float | Tensor
    ) -> None:
        """Notes the error for the map, which takes it up when the next batches are drawn."""
        check_size(batch, self.batch_size)
        if bookkeeping_on_device(self.seen) and self.diffusion.supply.may_have(batch.number, self.period):
            from softmine.kernels.triton.sampling import note_errors

            note_errors(error, self.seen, self.diffusion.first, batch.number, self.diffusion.supply.drawn)
            return
        # What is no number tells that nothing can be learned there.
        error = torch.where((error >= 0) & (error < math.inf), error, 0.0)
        current = self.diffusion.supply.has(batch.number, self.period)
        turn = self.diffusion.turn(batch.number)
        if isinstance(current, Tensor):
            error = torch.where(current, error, self.seen.index_select(0, turn)[0])
        if current is False:
            # It was in flight while newer ones were drawn: what it saw is taken up at once.
            if batch.density is not None:
                self.memory.learn(self.cells.find(batch.coords)[0], batch.density, error)
        else:
            self.seen.index_copy_(0, turn, error.unsqueeze(0))

    def remark(self) -> str:
        """Says so where errors that stand alone are left to themselves, or views are drawn evenly."""
        found = []
        if self.memory.outliers is not None and float(self.memory.outliers.doubt) >= DOUBTED:
            found.append(
                "samples whose error stands alone were hardly drawn and weighed a fiftieth: defects or noise, as a rule; where single cells "
                "matter, train with robust=False"
            )
        views = self.memory.views
        if views is not None and (named := views.named()):
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            found.append(
                f"of {len(views.sizes)} views {'; '.join(named[:NAMED])}{more} (counted from 0) had far more error than the others and were "
                "drawn evenly: something that only they show, or another exposure"
            )
        return "; and ".join(found)

    def extra_repr(self) -> str:
        """Domain, batch size and the map's shape, for ``print``."""
        return f"{super().extra_repr()}, map={self.map.shape}"
