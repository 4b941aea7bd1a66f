"""Loss weights between hard mining and importance sampling, for samplers that know their density."""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from softmine.domain import PerSample, SoftmineError

MOST = 1e30
"""Errors above are cut off, so that sums of them stay finite in float32."""


def check_softness(alpha: float, warmup: int) -> None:
    """Raises SoftmineError where alpha or its warm-up is out of range."""
    check_not_negative("alpha", alpha)
    check_count("warmup", warmup, least=0)


def check_not_negative(name: str, value: float) -> float:
    """Returns a finite number that is not negative, or raises SoftmineError."""
    if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise SoftmineError(f"{name} is {value}, but it must be a finite number, not negative")
    return float(value)


def check_count(name: str, value: int, least: int = 1, most: int = 2**31 - 1) -> int:
    """Returns a whole number from ``least`` to ``most``, or raises SoftmineError."""
    if not isinstance(value, numbers.Integral) or not least <= value <= most:
        limit = "2^31 - 1" if most == 2**31 - 1 else f"{most:,}"
        raise SoftmineError(f"{name} is {value}, but it must be a whole number from {least} to {limit}")
    return int(value)


def alpha_at(step: Tensor, alpha: float, warmup: int) -> Tensor:
    """Alpha, a scalar tensor, after ``step`` updates: it grows linearly from 0 to its target in ``warmup`` of them.

    Source: soft mining (arXiv 2312.00075), which warms up over the first 1,000 steps.
    """
    if warmup == 0:
        return torch.full_like(step, alpha, dtype=torch.float32)
    return alpha * (step.float() / warmup).clamp(max=1.0)


def soft_weights(density: PerSample | None, alpha: Tensor) -> PerSample:
    """Loss weights ``(u / q)^alpha`` (N,) at samples of known density q / u (N,).

    Raises:
        SoftmineError: there is no density, because nothing was drawn.
    """
    if density is None:
        raise SoftmineError("call draw() before weigh(): the weights belong to the samples last drawn")
    return density**-alpha


def reachable(importance: Tensor, floor: float) -> Tensor:
    """Importances that can be a density: finite, positive, and at least ``floor`` times their mean.

    What is not finite counts as nothing, so that one overflow does not decide where to sample; where all is
    nothing, all is equal.
    """
    tiny = torch.finfo(torch.float32).tiny
    importance = importance.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(max=MOST)
    return torch.maximum(importance, floor * importance.mean()).clamp_min(tiny)
