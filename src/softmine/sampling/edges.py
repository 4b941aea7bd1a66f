"""Where the signal itself changes fast: a prior that needs no training error."""

from __future__ import annotations

from torch import Tensor

from softmine.sampling.piecewise import PiecewiseConstant


def edge_prior(magnitude: Tensor, floor: float = 1e-5) -> PiecewiseConstant:
    """A density proportional to the magnitude of the signal's gradient.

    Args:
        magnitude: non-negative gradient magnitude a grid cell, e.g. ``softmine.Image.edges()``.
        floor: least density, as a share of the greatest, so that flat regions stay reachable.

    Source: the re-initialisation prior of soft mining (arXiv 2312.00075); floor from its released code.
    """
    peak = magnitude.max()
    relative = magnitude / peak if peak > 0 else magnitude
    return PiecewiseConstant(relative.clamp(floor, 1.0))
