"""Where errors are expected before any is known: at the signal's edges."""

from __future__ import annotations

from torch import Tensor

from softmine.domain import Box, SoftmineError
from softmine.sampling.density.piecewise import PiecewiseConstant


def edge_prior(magnitude: Tensor, floor: float = 1e-5) -> PiecewiseConstant:
    """A density proportional to the magnitude of the signal's gradient.

    Args:
        magnitude: non-negative gradient magnitude a grid cell, e.g. ``softmine.Image.edges()``.
        floor: least density, as a share of the greatest, so that flat regions stay reachable.

    Raises:
        SoftmineError: a magnitude is negative or not a number.

    Source: the re-initialization prior of soft mining (arXiv 2312.00075); floor from its released code.
    """
    if not bool((magnitude >= 0).all()):
        raise SoftmineError("edge_prior needs magnitudes of 0 or more, but some are negative or not a number")
    peak = magnitude.max()
    relative = magnitude / peak if peak > 0 else magnitude
    return PiecewiseConstant(relative.clamp(floor, 1.0))


def check_axes(prior: PiecewiseConstant, domain: Box) -> None:
    """Raises SoftmineError where a prior is none, or has another number of axes than the domain."""
    if not isinstance(prior, PiecewiseConstant):
        raise SoftmineError(
            f"the prior is a {type(prior).__name__}, but it must be a density, such as edge_prior(image.edges())"
        )
    if prior.grid.dim != domain.dim:
        raise SoftmineError(f"the prior has {prior.grid.dim} axes, but the domain {domain} has {domain.dim}")
