"""The arithmetic of the authors' release, step by step, so that the two can be compared.

Facts of ubc-vision/nf-soft-mining at its latest commit (``examples/datasets/lmc.py`` and
``examples/train_ngp_nerf_prop.py``), re-implemented from a description. Where it differs from the paper:

- samples are rounded to whole pixels, and hidden positions lie in [0, 1] with ``pixel = position * (size - 1)``;
- the drift is the gradient of the *mean* weighted loss per *pixel*, divided by the weighted loss and added to a
  *normalized* position, so the step depends on the batch size and on the picture's size;
- squared error is differentiated, so the score is twice that of Q, and the target is held constant;
- alpha warms up as min(step / 1000, alpha), so it reaches its target at step 1000 * alpha;
- weights are Q^-alpha, clamped to [0.2, mean + standard deviation of the batch];
- samples of low *weighted* loss are drawn anew, ties included, after the uniform share was placed.

That code knows no masks and no discrete axes; these are kept as by the other preset.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softmine.domain import Box, Coords, PerSample
from softmine.sampling.base import Batch
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.langevin.sampler import Langevin, Stock


class PublishedLangevin(Langevin):
    """``Langevin`` with the arithmetic of the authors' release.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        alpha: greatest softness; it grows by 1 / ``warmup`` an update.
        warmup: updates in which it would reach 1.
        drift: step along the score, which is the gradient per pixel, in normalized positions.
        noise: standard deviation of the random step, in normalized positions.
        uniform_share: share of the batch drawn uniformly at every step.
        reinit_share: share of the batch, the lowest in weighted loss, drawn anew at every step.
        importance_floor: least error, absolute.
        weight_min: least loss weight.
        weight_max: greatest loss weight.
        loss_power: the loss grows as this power of the error.
        prior: where to draw samples anew; None is uniform. See ``edge_prior``.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range.

    Example:
        >>> PublishedLangevin(Box((64, 64)), batch_size=256, seed=0).draw().coords.shape
        torch.Size([256, 2])
    """

    recordable = True
    follows_signal = False  # the released code holds the target constant

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        alpha: float = 0.6,
        warmup: int = 1000,
        drift: float = 20.0,
        noise: float = 0.02,
        uniform_share: float = 0.1,
        reinit_share: float = 0.1,
        importance_floor: float = 2.0**-10,
        weight_min: float = 0.2,
        weight_max: float = math.inf,
        loss_power: float = 2.0,
        prior: PiecewiseConstant | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            domain,
            batch_size,
            alpha=alpha,
            warmup=warmup,
            drift=drift,
            noise=noise,
            uniform_share=uniform_share,
            reinit_share=reinit_share,
            importance_floor=importance_floor,
            weight_min=weight_min,
            weight_max=weight_max,
            loss_power=loss_power,
            prior=prior,
            seed=seed,
        )

    def alpha_at(self, step: Tensor) -> Tensor:
        """Alpha after ``step`` updates, a scalar tensor."""
        if self.warmup == 0:
            return torch.full_like(step, self.target_alpha, dtype=torch.float32)
        return (step / self.warmup).clamp(max=self.target_alpha)

    def _weights(self, batch: Batch, error: PerSample) -> PerSample:
        """Loss weights (N,), not normalized."""
        raw = error.clamp_min(self.importance_floor) ** -self.alpha_at(batch.step)
        upper = (raw.mean() + raw.std(correction=min(1, len(raw) - 1))).clamp(max=self.weight_max)
        return torch.minimum(raw.clamp_min(self.weight_min), upper)

    def _check_drift(self) -> None:
        """Nothing: the released code steps as far as it steps."""

    def _move(
        self,
        particles: Coords,
        batch: Batch,
        error: PerSample,
        gradient: Coords,
        loss: PerSample | None,
        loss_scale: float | Tensor,
    ) -> None:
        """Drift and noise, then the uniform share and the redrawn samples."""
        draws = self.draws.take()
        weighted = self._weights(batch, error) * (error**self.loss_power if loss is None else loss)
        eps = torch.finfo(torch.float32).eps
        slope = gradient / self._published_size
        score = slope / ((loss_scale * weighted).unsqueeze(-1) + eps)
        moved = particles + self.drift * score + draws.noise
        anew = draws.anew if len(draws.anew) else draws.fresh
        particles.copy_(self._replaced(moved, weighted, draws.fresh, anew))

    def _replaced(self, moved: Coords, weighted: PerSample, fresh: Coords, anew: Coords) -> Coords:
        """Positions (N, D) after the uniform share and the redrawn samples were put in, clamped to [0, 1].

        ``fresh`` are uniform positions; ``anew`` unit coordinates from the prior, of which the pixel is taken. With a mask
        ``fresh`` are uniform coordinates, and positions in pixels that it leaves out are redrawn too.
        """
        count, size = len(moved), self._size
        if self.domain.masked:
            fresh = hide(fresh, size)
            moved = moved.masked_fill(~self.domain.contains(snap(moved, size)).unsqueeze(-1), torch.nan)
        anew = hide(anew, size)
        threshold = torch.topk(weighted, min(self._reinit_count + 1, count), largest=False).values.max()
        outside = ((moved < 0) | (moved > 1) | moved.isnan()).any(-1)
        redraw = outside | (weighted <= threshold)
        is_fresh = torch.arange(count, device=moved.device) >= count - self._fresh_count
        moved = torch.where(is_fresh.unsqueeze(-1), fresh, moved)
        return torch.where(redraw.unsqueeze(-1), anew, moved).clamp(0.0, 1.0)

    def _start(self) -> Coords:
        """Hidden positions (N, D) at which a chain starts."""
        start = super()._start()
        return hide(start, self.domain.scale(start)) if self.domain.masked else start

    def _visible(self, particles: Coords) -> Coords:
        return snap(particles, self._size)

    def _lay_out(self) -> None:
        super()._lay_out()
        self._reinit_count = min(int(self.reinit_share * self.batch_size), self.batch_size)
        self._published_size = self._size / self._mobility  # a slope over infinity is none

    def _stock(self) -> Stock:
        anew = 0 if self.prior is None else self.batch_size
        scale = self.noise * self._mobility
        count = self.batch_size
        return Stock(
            self.random, self.domain, noise=count, scale=scale, anew=anew, fresh=count, prior=self.prior
        )


def snap(positions: Coords, size: Tensor) -> Coords:
    """Centers (N, D), in unit coordinates, of the pixels nearest to hidden positions (N, D) in [0, 1]."""
    return ((positions * (size - 1)).round() + 0.5) / size


def hide(coords: Coords, size: Tensor) -> Coords:
    """Hidden positions (N, D) in [0, 1] of the pixels that hold unit coordinates (N, D)."""
    return (coords * size).floor() / (size - 1).clamp_min(1)
