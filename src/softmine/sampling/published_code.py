"""The arithmetic of the authors' release, step by step, so that the two can be compared.

Facts of ubc-vision/nf-soft-mining at its latest commit (``examples/datasets/lmc.py`` and
``examples/train_ngp_nerf_prop.py``), re-implemented from a description. Where it differs from the paper:

- samples are rounded to whole pixels, and hidden positions lie in [0, 1] with ``pixel = position * (size - 1)``;
- the drift is the gradient of the *mean* weighted loss per *pixel*, divided by the weighted loss and added to a
  *normalised* position, so the step depends on the batch size and on the picture's size;
- squared error is differentiated, so the score is twice that of Q, and the target is held constant;
- alpha warms up as min(step / 1000, alpha), so it reaches its target at step 1000 * alpha;
- weights are Q^-alpha, clamped to [0.2, mean + standard deviation of the batch];
- samples of low *weighted* loss are drawn anew, ties included, after the uniform share was placed.

That code knows no masks and no discrete axes; these are kept as by the other preset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.domain import Box, Coords, PerSample
from softmine.sampling.langevin_draws import Draws, LangevinDraws
from softmine.sampling.langevin_settings import LangevinSettings
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.random import RandomStream


def snap(positions: Coords, size: Tensor) -> Coords:
    """Centres (N, D), in unit coordinates, of the pixels nearest to hidden positions (N, D) in [0, 1]."""
    return ((positions * (size - 1)).round() + 0.5) / size


def hide(coords: Coords, size: Tensor) -> Coords:
    """Hidden positions (N, D) in [0, 1] of the pixels that hold unit coordinates (N, D)."""
    return (coords * size).floor() / (size - 1).clamp_min(1)


def alpha(step: Tensor, settings: LangevinSettings) -> Tensor:
    """Alpha after ``step`` updates, a scalar tensor."""
    if settings.warmup == 0:
        return torch.full_like(step, settings.alpha, dtype=torch.float32)
    return (step / settings.warmup).clamp(max=settings.alpha)


def weights(importance: PerSample, step: Tensor, settings: LangevinSettings) -> PerSample:
    """Loss weights (N,), not normalised."""
    raw = importance.clamp_min(settings.importance_floor) ** -alpha(step, settings)
    upper = (raw.mean() + raw.std(correction=min(1, len(raw) - 1))).clamp(max=settings.weight_max)
    return torch.minimum(raw.clamp_min(settings.weight_min), upper)


def draws(
    random: RandomStream, domain: Box, count: int, scale: Tensor, prior: PiecewiseConstant | None
) -> LangevinDraws:
    """The numbers of ``count`` samples, all of which may be fresh; ``scale`` (D,) is the noise's, in positions."""
    anew = 0 if prior is None else count
    return LangevinDraws(random, domain, noise=count, scale=scale, anew=anew, fresh=count, prior=prior)


def step(
    positions: Coords,
    gradient_per_pixel: Coords,
    loss_scale: float | Tensor,
    weighted_loss: PerSample,
    draws: Draws,
    domain: Box,
    settings: LangevinSettings,
    fresh_count: int,
    reinit_count: int,
) -> Coords:
    """Hidden positions (N, D) after a step: drift and noise, then the uniform share and the redrawn samples."""
    moved = _move(positions, gradient_per_pixel, loss_scale, weighted_loss, draws.noise, settings)
    anew = draws.anew if len(draws.anew) else draws.fresh
    return _replace(moved, weighted_loss, draws.fresh, anew, domain, fresh_count, reinit_count)


def _move(
    positions: Coords,
    gradient_per_pixel: Coords,
    loss_scale: float | Tensor,
    weighted_loss: PerSample,
    noise: Coords,
    settings: LangevinSettings,
) -> Coords:
    """Hidden positions (N, D) after drift and noise, before leavers are replaced."""
    eps = torch.finfo(torch.float32).eps
    score = gradient_per_pixel / ((loss_scale * weighted_loss).unsqueeze(-1) + eps)
    return positions + settings.drift * score + noise


def _replace(
    moved: Coords,
    weighted_loss: PerSample,
    fresh: Coords,
    anew: Coords,
    domain: Box,
    fresh_count: int,
    reinit_count: int,
) -> Coords:
    """Positions (N, D) after the uniform share and the redrawn samples were put in, clamped to [0, 1].

    ``fresh`` are uniform positions; ``anew`` unit coordinates from the prior, of which the pixel is taken. With a mask
    ``fresh`` are uniform coordinates, and positions in pixels that it leaves out are redrawn too.
    """
    count, size = len(moved), domain.scale(moved)
    if domain.masked:
        fresh = hide(fresh, size)
        moved = moved.masked_fill(~domain.contains(snap(moved, size)).unsqueeze(-1), torch.nan)
    anew = hide(anew, size)
    threshold = torch.topk(weighted_loss, min(reinit_count + 1, count), largest=False).values.max()
    outside = ((moved < 0) | (moved > 1) | moved.isnan()).any(-1)
    redraw = outside | (weighted_loss <= threshold)
    is_fresh = torch.arange(count, device=moved.device) >= count - fresh_count
    moved = torch.where(is_fresh.unsqueeze(-1), fresh, moved)
    return torch.where(redraw.unsqueeze(-1), anew, moved).clamp(0.0, 1.0)
