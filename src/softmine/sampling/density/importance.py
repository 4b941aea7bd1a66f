"""Which errors count, and how far."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softmine.domain import PerSample

MOST = 1e30
"""Errors above are cut off, so that sums of them stay finite in float32."""


def reachable(importance: Tensor, floor: float) -> Tensor:
    """Importances that can be a density: finite, positive, and at least ``floor`` times their mean.

    What is not finite counts as nothing, so that one overflow does not decide where to sample; where all is
    nothing, all is equal.
    """
    tiny = torch.finfo(torch.float32).tiny
    importance = importance.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(max=MOST)
    return torch.maximum(importance, floor * importance.mean()).clamp_min(tiny)


def known_errors(seen: PerSample) -> tuple[PerSample, PerSample]:
    """Errors (N,) in a range that adds up, and which of them (N,) tell anything, 1 or 0; the others are 0."""
    known = (seen >= 0) & (seen < math.inf)
    return torch.where(known, seen, 0.0).clamp_(max=MOST), known.float()
