"""What a map remembers of the error, and the density that becomes of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Cells, PerSample
from softmine.sampling.density.importance import known_errors
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.quota_map.outliers import Outliers
from softmine.sampling.quota_map.views import Views

LEAST = 1e-30
"""Errors below are alike, so that ratios of them stay finite in float32."""
LEAST_SHARE = 1e-6
"""Uniform share of any density, at least."""
PRIOR_SOFTNESS = 2 / 3
"""Power of the prior's density that the first draws follow: the very first errors are everywhere."""
RELIABILITY_RATE = 0.2
"""What a period changes of the memory's reliability."""
ENOUGH = 0.8
"""Slope from which the memory is wholly reliable (docs/evidence.md, research log, 31)."""
SPREAD = 1e-8
"""Variance of remembered errors, over their squared mean, below which they count as all alike: less is rounding."""
NEARLY = 0.995
"""How nearly a limit is kept."""
BINDING = 256
"""Densities over uniform from which a limit is so rarely reached that keeping it is not worth its passes over the map."""


class ErrorMemory(nn.Module):
    """The error in each cell of a map, an average over what was seen there, in which the last counts most.

    Before a cell is seen, it holds what the prior expects, scaled by the first errors that are seen anywhere.

    Where a signal is fitted nearly exactly and the learning rate is still high, errors oscillate with the steps of the optimizer, and what
    was seen says little of what comes. So the memory keeps its reliability: the slope of the line that predicts errors best from those
    remembered. Where that is below ``ENOUGH``, densities shrink towards uniform.

    Args:
        cells: the map's.
        prior: where the error is expected; None is everywhere alike.
        power: of the error that densities are proportional to.
        rate: what an error that is seen changes of what is remembered, from 0 to 1.
        robust: whether errors that stand alone are doubted, and views that are unlike the others.
        shrinks: whether densities shrink with the reliability; not where one cell holds many places, whose errors differ anyway.
    """

    error: Tensor
    scaled: Tensor
    reliability: Tensor
    _room: Tensor

    def __init__(
        self,
        cells: MapCells,
        prior: PiecewiseConstant | None,
        *,
        power: float,
        rate: float,
        shrinks: bool = True,
        robust: bool = False,
    ) -> None:
        super().__init__()
        self.power, self.rate, self.shrinks = power, rate, shrinks
        self.register_buffer("error", expected(prior, cells, power))
        self.outliers = Outliers(cells, self.error) if robust else None
        self.views = Views(cells) if robust and cells.domain.discrete else None
        self.register_buffer("scaled", torch.tensor(False))
        self.register_buffer("reliability", torch.ones((), dtype=torch.float32))
        # To allocate it again and again takes longer than what is then done in it.
        self.register_buffer("_room", torch.empty_like(self.error), persistent=False)

    def learn(self, cells: Cells, density: PerSample, seen: PerSample) -> None:
        """Takes up errors seen (N,) in cells (N,) drawn with a density (N,) over uniform.

        Those of one cell count as their mean.
        """
        seen, known = known_errors(seen)
        share = known / density.clamp_min(LEAST_SHARE)
        before = self.error.index_select(0, cells)
        if self.outliers is not None:
            self.outliers.learn(cells, before, seen, share)
        if self.shrinks:
            slope = predicted_slope(before, seen, share)
            # A slope that is not a number tells nothing, and errors that are all zero or alike do not either.
            slope = torch.where(
                self.scaled & slope.isfinite(), (slope / ENOUGH).clamp(max=1), self.reliability
            )
            self.reliability.lerp_(slope, RELIABILITY_RATE)
        # The prior knows where, but not how much.
        total = seen.sum()
        first = (total > 0) & ~self.scaled
        scale = torch.where(first, total / (known * before).sum().clamp_min(LEAST), 1.0)
        self.error.mul_(scale)
        self.scaled.logical_or_(first)
        # What was seen of a cell, once or more often, counts as its mean.
        times = self._room.zero_().index_add_(0, cells, known).index_select(0, cells)
        kept = times.clamp(max=1).mul_(-self.rate).add_(1)
        self.error.scatter_(0, cells, before.mul_(scale).mul_(kept))
        self.error.index_add_(0, cells, seen.div_(times.clamp_(min=1)), alpha=self.rate)

    def density(self, uniform_share: float, limit: float, cells: MapCells) -> PerSample:
        """Density over uniform (count,) of the cells, in proportion to the power of their errors, until the next call of either.

        Args:
            uniform_share: share of the density that is uniform, at least.
            limit: of the density, nearly kept where it is below ``BINDING``.
            cells: the map's.
        """
        # Relative to the largest, so that no power leaves the range of float32; where there is no error, all are alike.
        if self.outliers is None:
            self._room.copy_(self.error)
        else:
            self.outliers.importance(self.error, self._room)
        wanted = self._room.clamp_min_(LEAST)
        wanted.div_(wanted.max()).pow_(self.power)
        if self.views is not None:
            self.views.even_out(wanted)
        # However little error it has, a cell that is owed a visit has a weight.
        share = (1 - max(uniform_share, LEAST_SHARE)) * self.reliability
        density = wanted.mul_(share / cells.mean(wanted)).add_(1 - share)
        if limit < BINDING:
            # What is cut off goes to the other cells, some of which may then reach the limit too.
            on_host = density.device.type == "cpu" and not torch.compiler.is_compiling()
            for _ in range(4):
                mean = cells.mean(density.clamp_(max=limit))
                density.div_(mean)
                # The largest is now the limit over the mean. A device would have to be waited for.
                if on_host and mean > NEARLY:
                    break
        return density


def expected(prior: PiecewiseConstant | None, cells: MapCells, power: float) -> PerSample:
    """What the prior expects in each cell of a map, (count,), positive, so that draws first follow its softened density."""
    if prior is None or power == 0:
        return torch.ones(cells.count, dtype=torch.float32)
    prior = prior.at_most(cells.grid.shape)
    density = prior.density(cells.centers().to(prior.cumulative.device)).cpu().clamp_min(1e-6)
    # At most one, so that no power leaves the range of float32: how large the errors are, the first that are seen say.
    return (density / density.max()) ** (PRIOR_SOFTNESS / power)


def predicted_slope(predicted: PerSample, seen: PerSample, share: PerSample) -> Tensor:
    """Slope of the line that predicts ``seen`` (N,) best from ``predicted`` (N,), both over their means, from 0 to 1.

    Samples count by their share (N,). NaN where all predictions are alike, or all that was seen is 0.
    """
    share = share / share.sum()
    predicted = predicted / (share * predicted).sum() - 1
    seen = seen / (share * seen).sum() - 1
    weighted = share * predicted
    spread = (weighted * predicted).sum()
    slope = ((weighted * seen).sum() / spread).clamp(0, 1)
    return torch.where(spread > SPREAD, slope, torch.nan)
