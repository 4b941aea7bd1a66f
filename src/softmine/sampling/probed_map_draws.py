"""From a map of the error to a density: the arithmetic of ``ProbedMap``."""

from __future__ import annotations

import torch

from softmine.domain import Flags, PerSample
from softmine.sampling.map_cells import MapCells
from softmine.sampling.piecewise import PiecewiseConstant

LEAST, MOST = 1e-30, 1e30
"""Errors below the one are alike, above the other cut off, so that sums and ratios of them stay finite in float32."""
PRIOR_SOFTNESS = 2 / 3
"""Power of the prior's density that the first draws follow: the very first errors are everywhere."""
BINDING = 32
"""Densities over uniform from which a limit is so rarely reached that keeping it is not worth its passes over the map."""


def expected(prior: PiecewiseConstant | None, cells: MapCells, power: float) -> PerSample:
    """What the prior expects in each cell of a map, (count,), positive, so that draws first follow its softened density."""
    if prior is None or power == 0:
        return torch.ones(cells.count)
    return prior.density(cells.centres().to(prior.cumulative.device)).clamp_min(1e-6) ** (
        PRIOR_SOFTNESS / power
    )


def known_errors(seen: PerSample) -> tuple[PerSample, Flags]:
    """Errors (N,) in a range that adds up, and which of them (N,) tell anything; the others are 0."""
    known = (seen >= 0) & seen.isfinite()
    return torch.where(known, seen, 0.0).clamp(max=MOST), known


def map_density(
    error: PerSample, power: float, uniform_share: float, limit: float, cells: MapCells
) -> PerSample:
    """Density over uniform (count,) of the map cells, in proportion to a power of their errors (count,).

    Args:
        error: not negative, but for rounding.
        power: of the error.
        uniform_share: share of the density that is uniform.
        limit: of the density, nearly kept where it is below ``BINDING``.
        cells: the map's.
    """
    # Relative to the largest, so that no power leaves the range of float32; where there is no error, all are alike.
    # Rounding may take an error that fell to nothing below it.
    wanted = error.clamp_min(LEAST)
    wanted.div_(wanted.max()).pow_(power)
    density = wanted.mul_((1 - uniform_share) / cells.mean(wanted)).add_(uniform_share)
    if limit < BINDING:
        # What is cut off goes to the other cells, some of which may then reach the limit too.
        for _ in range(4):
            density = density.clamp_(max=limit)
            density.div_(cells.mean(density))
    return density
