"""Soft mining by Langevin Monte Carlo (Kheradmand et al., CVPR 2024, arXiv 2312.00075)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, Flags, PerSample, SoftmineError
from softmine.sampling import published_code
from softmine.sampling.langevin_settings import resolve
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, check_batch_size
from softmine.sampling.random import RandomStream


class Langevin(nn.Module):
    """Samples that walk towards the error: ``x <- x + a * grad log Q(x) + b * eta``, one step per training step.

    Q is the importance given to ``weigh``, usually the mean absolute error. Its score ``grad log Q`` costs
    nothing: it is recovered from the gradient that the training backward pass leaves in the drawn coordinates.
    The loss is weighted by ``(u / q)^alpha``. A chain does not know its normaliser, so its ``q / u`` is estimated as
    ``Q(x_n) * mean_m(1 / Q(x_m))``, which does not change when Q is scaled, and mixed with the uniform share. At
    alpha = 1 the loss is unbiased as far as the chain has reached Q; samples drawn anew have not.

    At every update the samples that left the domain, and the share of lowest importance, are drawn anew from
    ``prior``; the last ``uniform_share`` of the batch is always a fresh uniform draw from the whole domain.

    The preset ``paper`` takes steps in native units (pixels, samples, voxels), whatever the batch and signal
    size. The preset ``published-code`` does the arithmetic of the authors' release instead, described in
    ``sampling/published_code.py``, for comparison.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        preset: ``paper`` or ``published-code``.
        prior: where to draw samples anew; None is uniform. See ``edge_prior``.
        seed: of the sampler's own random stream; None takes one from torch's global generator.
        **settings: fields of ``LangevinSettings`` that replace the preset's.

    Raises:
        SoftmineError: a setting is unknown or out of range.

    Example:
        >>> sampler = Langevin(Box((64, 64)), batch_size=256, alpha=0.6, seed=0)
        >>> coords = sampler.draw()
        >>> error = coords.square().sum(-1, keepdim=True)         # stands for field(coords) - signal(coords)
        >>> weights = sampler.weigh(error.abs().mean(-1))
        >>> (weights * error.square().mean(-1)).mean().backward()
        >>> sampler.update()
    """

    needs_probe = False
    particles: Tensor
    step: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        preset: str = "paper",
        prior: PiecewiseConstant | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.domain = domain
        self.batch_size = check_batch_size(batch_size)
        self.preset = preset
        self.settings = resolve(preset, settings)
        self.prior = prior
        self.random = RandomStream(seed)
        self.register_buffer("particles", self.random.uniform(batch_size, domain.dim))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._lay_out()
        self._importance: Tensor | None = None
        self._loss: Tensor | None = None
        self._weights: Tensor | None = None

    @property
    def follows_signal(self) -> bool:
        """Whether the signal's own gradient belongs in the score; the released code holds the target constant."""
        return self.preset != "published-code"

    def draw(self, probe: Probe | None = None) -> Coords:
        """The samples, (N, D) in [0, 1)^D, ready to receive a gradient; the sampler's own until the next draw."""
        with torch.no_grad():
            if self.preset == "published-code":
                self._coords.copy_(published_code.snap(self.particles, self._size))
            else:
                self._coords.copy_(self.particles)
            if self._coords.grad is not None:
                self._coords.grad.zero_()
        return self._coords

    @torch.no_grad()
    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Loss weights (N,) without gradient.

        Args:
            importance: Q (N,) at the drawn coordinates, non-negative: usually ``residual.abs().mean(-1)``.
            loss: the per-sample loss (N,) that the weights will multiply, where it is not
                ``importance ** loss_power`` (a mean over several channels is not). It makes the score exact.
        """
        if importance.shape != (self.batch_size,):
            raise SoftmineError(
                f"weigh() needs one importance for each of the {self.batch_size} samples, but got the shape "
                f"{tuple(importance.shape)}; reduce channels first: residual.abs().mean(-1)"
            )
        power = self.settings.loss_power
        importance = importance.detach().float()
        loss = importance**power if loss is None else loss.detach().float()
        if self.preset == "published-code":
            weights = published_code.weights(importance, self.step, self.settings)
        else:
            floor = self.settings.importance_floor * importance.mean()
            smooth = (importance**power + floor**power) ** (1.0 / power)
            smooth = smooth.clamp_min(torch.finfo(torch.float32).tiny)
            weights = self._density(smooth) ** -self.alpha
            weights = weights.clamp(self.settings.weight_min, self.settings.weight_max)
        self._importance, self._loss, self._weights = importance, loss, weights
        return weights

    def _density(self, importance: PerSample) -> PerSample:
        """Estimated density q / u (N,) of the batch: a mixture of the chain and the uniform share.

        For samples of the chain, x ~ Q, the mean of 1/Q is 1 / mean(Q), which normalises Q.
        """
        count = self.batch_size - self._fresh_count
        if count == 0:
            return torch.ones_like(importance)
        share = self._fresh_count / self.batch_size
        chain = importance * importance[:count].reciprocal().mean()
        return (1 - share) * chain + share

    @property
    def alpha(self) -> Tensor:
        """Alpha now, a scalar tensor: it grows linearly and reaches its target after ``warmup`` updates."""
        if self.settings.warmup == 0:
            return torch.full_like(self.step, self.settings.alpha, dtype=torch.float32)
        return self.settings.alpha * (self.step.float() / self.settings.warmup).clamp(max=1.0)

    def score(self, loss_scale: float | Tensor = 1.0) -> Coords:
        """``grad log Q`` (N, D) per native unit, from the gradient that backward left in the coordinates.

        With the weights w and per-sample loss l of the last ``weigh``, the gradient of ``mean(w * l)`` is
        ``w_n / N * grad l(x_n)``, and log Q is log l divided by ``loss_power``. For several channels this is
        the gradient of the log of the root-mean-square error.
        """
        gradient, weights, loss, importance = self._after_backward()
        power = self.settings.loss_power
        floor = (self.settings.importance_floor * importance.mean()) ** power
        size = (loss + floor).clamp_min(torch.finfo(torch.float32).tiny)
        per_sample = gradient * (self.batch_size / (weights * size * power * loss_scale)).unsqueeze(-1)
        return per_sample / self._size

    @torch.no_grad()
    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Moves the samples.

        Args:
            loss_scale: what the mean weighted loss was multiplied by before backward, e.g.
                ``GradScaler.get_scale()``; N if the loss was summed instead of averaged.
        """
        gradient, weights, loss, importance = self._after_backward()
        noise = self.random.normal(self.batch_size, self.domain.dim) * self.settings.noise
        fresh = self.random.uniform(self.batch_size, self.domain.dim)
        if self.preset == "published-code":
            moved = published_code.move(
                self.particles, gradient / self._size, loss_scale, weights * loss, noise, self.settings
            )
            anew = fresh if self.prior is None else self.prior.draw(self.batch_size, self.random)
            moved = published_code.replace(
                moved, weights * loss, fresh, anew, self._size, self._fresh_count, self._reinit_count
            )
        else:
            step = self.settings.drift * self.score(loss_scale) + noise
            moved = self.particles + step / self._size
            redraw = ~self.domain.contains(moved) | self._lowest(importance)
            moved = torch.where(redraw.unsqueeze(-1), self._anew(redraw, fresh), moved)
            moved = torch.where(self._is_fresh.unsqueeze(-1), fresh, moved)
        self.particles.copy_(moved)
        self.step.add_(1)

    def check(self) -> None:
        """Call once after backward and before update: raises if the samples cannot move.

        Raises:
            SoftmineError: the coordinates received no gradient, a gradient that is zero everywhere, or one that
                is not finite. Waits for the device, so it does not belong in every step.
        """
        gradient = self._after_backward()[0]
        if not torch.isfinite(gradient).all():
            raise SoftmineError(
                "the gradient of the drawn coordinates is not finite: the loss or the field has overflowed"
            )
        if not gradient.any():
            raise SoftmineError(
                "the gradient of the drawn coordinates is zero for every sample, so the samples would only "
                "diffuse: the field's encoding does not differentiate with respect to its input"
            )

    def extra_repr(self) -> str:
        """Domain, batch size and preset, for ``print``."""
        return f"{self.domain}, batch_size={self.batch_size}, preset={self.preset!r}"

    def _after_backward(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradient, weights, loss and importance of the last draw."""
        if self._weights is None or self._loss is None or self._importance is None:
            raise SoftmineError("call weigh() and backward() between draw() and update()")
        if self._coords.grad is None:
            raise SoftmineError(
                "no gradient reached the drawn coordinates: call backward() before update(), do not detach or "
                "round the coordinates, and use a field whose encoding is differentiable in its input"
            )
        return self._coords.grad, self._weights, self._loss, self._importance

    def _anew(self, redraw: Flags, fresh: Coords) -> Coords:
        """Coordinates (N, D) for the flagged samples: from the prior, or uniform where there is none.

        Drawing from a prior costs a search, so only as many are drawn as are usually flagged; the leavers of a tiny
        signal can be more, and those beyond are uniform.
        """
        if self.prior is None:
            return fresh
        count = min(self.batch_size, self._reinit_count + self.batch_size // 16 + 1)
        pool = self.prior.draw(count, self.random)
        place = redraw.cumsum(0) - 1
        drawn = pool[place.clamp(0, count - 1)]
        return torch.where((place < count).unsqueeze(-1), drawn, fresh)

    def _lowest(self, importance: PerSample) -> Flags:
        """Flags (N,) of the chain's ``reinit_share`` of lowest importance."""
        flags = torch.zeros_like(self._is_fresh)
        if self._reinit_count:
            chain = torch.where(self._is_fresh, torch.inf, importance)
            lowest = torch.topk(chain, self._reinit_count, largest=False, sorted=False).indices
            flags = flags.scatter(0, lowest, True)
        return flags

    def _lay_out(self) -> None:
        """Everything that follows from the settings and the device; run again when the module moves."""
        device, count = self.particles.device, self.batch_size
        self._fresh_count = int(self.settings.uniform_share * count)
        chain = count if self.preset == "published-code" else count - self._fresh_count
        self._reinit_count = min(int(self.settings.reinit_share * count), chain)
        self._is_fresh = torch.arange(count, device=device) >= count - self._fresh_count
        self._size = self.domain.scale(self.particles)
        self._coords = torch.zeros_like(self.particles).requires_grad_()

    def _apply(self, fn: Any, recurse: bool = True) -> Langevin:
        particles = self.particles
        super()._apply(fn, recurse)
        # Only the device may change: in half precision positions would merge.
        self.particles = particles.to(self.particles.device)
        self._lay_out()
        self._importance = self._loss = self._weights = None
        return self
