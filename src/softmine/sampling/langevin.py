"""Soft mining by Langevin Monte Carlo (Kheradmand et al., CVPR 2024, arXiv 2312.00075)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling import published_code
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, check_batch_size, check_share
from softmine.sampling.random import RandomStream


@dataclass(frozen=True)
class LangevinSettings:
    """Every number of the method; ``PRESETS`` holds two sets of them."""

    alpha: float = 0.6
    """Softness of the mining: 0 is hard mining, 1 unbiased importance sampling."""
    warmup: int = 1000
    """Updates over which alpha grows from 0 to its target."""
    drift: float = 2.0
    """Step a along the score, in native units squared (pixels^2). a = b^2 / 2 samples Q itself."""
    noise: float = 2.0
    """Standard deviation b of the random step, in native units (pixels)."""
    uniform_share: float = 0.1
    """Share of the batch drawn uniformly at every step."""
    reinit_share: float = 0.1
    """Share of the chain, that of lowest importance, drawn anew at every step."""
    importance_floor: float = 0.01
    """Q is sqrt(Q^2 + floor^2), the floor in units of the batch's mean Q: keeps log Q smooth where Q touches 0."""
    weight_bounds: tuple[float, float] = (0.0, float("inf"))
    """Least and greatest loss weight."""
    loss_power: float = 2.0
    """The loss grows as this power of the importance: 2 for squared error, 1 for absolute error."""


PRESETS: dict[str, LangevinSettings] = {
    "paper": LangevinSettings(),
    "published-code": LangevinSettings(
        drift=20.0, noise=0.02, importance_floor=2.0**-10, weight_bounds=(0.2, float("inf"))
    ),
}


class Langevin(nn.Module):
    """Samples that walk towards the error: ``x <- x + a * grad log Q(x) + b * eta``, one step per training step.

    Q is the importance given to ``weigh``, usually the mean absolute error. Its score ``grad log Q`` costs
    nothing: it is recovered from the gradient that the training backward pass leaves in the drawn coordinates.
    The loss is weighted by ``(u / q)^alpha``, where ``q / u`` is estimated as ``Q(x_n) * mean_m(1 / Q(x_m))``
    because a chain does not know its normaliser; the estimate does not change when Q is scaled.

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
        self.settings = _resolve(preset, settings)
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
            relative = smooth * smooth.reciprocal().mean()
            weights = relative**-self.alpha
            weights = weights.clamp(*self.settings.weight_bounds)
        self._importance, self._loss, self._weights = importance, loss, weights
        return weights

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
        anew = fresh if self.prior is None else self.prior.draw(self.batch_size, self.random)
        if self.preset == "published-code":
            moved = published_code.move(
                self.particles, gradient / self._size, loss_scale, weights * loss, noise, self.settings
            )
            moved = published_code.replace(
                moved, weights * loss, fresh, anew, self._size, self._fresh_count, self._reinit_count
            )
        else:
            step = self.settings.drift * self.score(loss_scale) + noise
            moved = self.particles + step / self._size
            redraw = ~self.domain.contains(moved) | self._lowest(importance)
            moved = torch.where(redraw.unsqueeze(-1), anew, moved)
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

    def _lowest(self, importance: PerSample) -> Tensor:
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
        super()._apply(fn, recurse)
        self._lay_out()
        self._importance = self._loss = self._weights = None
        return self


def _resolve(preset: str, changes: dict[str, Any]) -> LangevinSettings:
    if preset not in PRESETS:
        raise SoftmineError(f"unknown preset '{preset}': choose one of {', '.join(PRESETS)}")
    try:
        settings = replace(PRESETS[preset], **changes)
    except TypeError:
        known = LangevinSettings.__dataclass_fields__
        unknown = ", ".join(sorted(set(changes) - set(known)))
        raise SoftmineError(f"Langevin has no setting '{unknown}': choose from {', '.join(known)}") from None
    check_share("uniform_share", settings.uniform_share)
    check_share("reinit_share", settings.reinit_share)
    for name in ("alpha", "warmup", "drift", "noise", "importance_floor"):
        if not getattr(settings, name) >= 0:
            raise SoftmineError(f"{name} is {getattr(settings, name)}, but it must not be negative")
    return settings
