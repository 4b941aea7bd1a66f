"""How Langevin weighs the loss: the importance with its floor, the chain's density, and alpha.

Squared error, which is usual, takes few calls of torch: at a small batch each costs more than its work.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from softmine.domain import PerSample
from softmine.sampling.langevin_settings import LangevinSettings


class Weighed(NamedTuple):
    """What ``weigh`` leaves for ``update``: three of shape (N,), and the floor, a scalar, to the power of the loss."""

    weights: PerSample
    loss: PerSample
    importance: PerSample
    floor: Tensor


def floor(importance: PerSample, count: int, settings: LangevinSettings, tiny: Tensor) -> Tensor:
    """The floor of the importance, a share of its mean, to the power of the loss: a scalar tensor.

    Args:
        importance: Q (N,) as it was measured.
        count: N.
        settings: ``importance_floor`` and ``loss_power`` of them.
        tiny: a scalar tensor, added, that keeps log Q finite where all errors are zero.
    """
    total, power = importance.sum(), settings.loss_power
    factor = (settings.importance_floor / count) ** power
    if power == 2:
        return torch.addcmul(tiny, total, total, value=factor)
    return torch.add(tiny, total.pow_(power), alpha=factor)


def inverse(importance: PerSample, floor: Tensor, settings: LangevinSettings) -> PerSample:
    """One over Q (N,), which is the importance with its floor."""
    power = settings.loss_power
    if power == 2:
        return torch.addcmul(floor, importance, importance).rsqrt_()
    return importance.pow(power).add_(floor).pow_(-1 / power)


def density(inverse: PerSample, chain: int, count: int, fresh_share: Tensor) -> PerSample:
    """Estimated density q / u (N,) of the batch: a mixture of the chain and the uniform share.

    For samples of the chain, x ~ Q, the mean of 1/Q is 1 / mean(Q), which normalises Q.

    Args:
        inverse: 1/Q (N,).
        chain: how many samples, the first ones, are of the chain.
        count: N.
        fresh_share: the share of the others, a scalar tensor.
    """
    if chain == 0:
        return torch.ones_like(inverse)
    normaliser = inverse[:chain].sum()
    # The chain's share over its count, which makes the sum a mean, is one over the batch size.
    return torch.addcdiv(fresh_share, normaliser, inverse, value=1 / count)


def alpha(step: Tensor, settings: LangevinSettings) -> Tensor:
    """Alpha after ``step`` updates, a scalar tensor: linear until it reaches its target after ``warmup`` of them."""
    if settings.warmup == 0:
        return torch.full_like(step, settings.alpha, dtype=torch.float32)
    return (step * (settings.alpha / settings.warmup)).clamp_(max=settings.alpha)


def weights(density: PerSample, step: Tensor, settings: LangevinSettings) -> PerSample:
    """Loss weights ``(u / q)^alpha`` (N,), in the memory of the density q / u (N,)."""
    weights = density.pow_(_exponent(step, settings))
    if settings.weight_min > 0 or settings.weight_max < math.inf:
        weights.clamp_(settings.weight_min, settings.weight_max)
    return weights


def _exponent(step: Tensor, settings: LangevinSettings) -> float | Tensor:
    """Minus alpha: a plain number where asking for the step waits for no device and ends no compiled graph."""
    if torch.compiler.is_compiling() or step.device.type != "cpu":
        return -alpha(step, settings)
    warm = 1.0 if settings.warmup == 0 else min(1.0, int(step) / settings.warmup)
    return -settings.alpha * warm
