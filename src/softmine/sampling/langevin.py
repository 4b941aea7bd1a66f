"""Soft mining by Langevin Monte Carlo (Kheradmand et al., CVPR 2024, arXiv 2312.00075)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling import langevin_weights, published_code
from softmine.sampling.edges import check_axes
from softmine.sampling.langevin_draws import draws_of_chain
from softmine.sampling.langevin_settings import resolve
from softmine.sampling.langevin_weights import Weighed
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, check_batch_size, check_importance
from softmine.sampling.random import RandomStream


class Langevin(nn.Module):
    """Samples that walk towards the error: ``x <- x + a * grad log Q(x) + b * eta``, one step per training step.

    Q is the importance given to ``weigh``, usually the mean absolute error. Its score ``grad log Q`` costs
    nothing: it is recovered from the gradient that the training backward pass leaves in the drawn coordinates.
    The loss is weighted by ``(u / q)^alpha``. A chain does not know its normaliser, so its ``q / u`` is estimated as
    ``Q(x_n) * mean_m(1 / Q(x_m))``, which does not change when Q is scaled, and mixed with the uniform share. At
    alpha = 1 the loss is unbiased as far as the chain has reached Q; samples drawn anew have not.

    At every update the samples that left the domain or entered cells that its mask leaves out, and the share of lowest
    importance, are drawn anew from ``prior``, or uniformly where more have left than the steps' noise makes likely; the last
    ``uniform_share`` of the batch is always a fresh uniform draw from the whole domain. Along discrete axes samples keep
    their place.

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
        if prior is not None:
            check_axes(prior, domain)
        # A copy, because this moves with the sampler, and others may have the same prior.
        self.prior = None if prior is None else copy.deepcopy(prior).over(domain)
        self.random = RandomStream(seed)
        particles = domain.uniform(self.random.uniform(batch_size, domain.dim))
        if domain.masked and preset == "published-code":
            particles = published_code.hide(particles, domain.scale(particles))
        self.register_buffer("particles", particles)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._lay_out()

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
        # What is not finite tells nothing, and would take the others along.
        importance = check_importance(importance, self.batch_size).nan_to_num(0.0, 0.0, 0.0)
        floor = langevin_weights.floor(importance, self.batch_size, self.settings, self._tiny)
        if self.preset == "published-code":
            weights = published_code.weights(importance, self.step, self.settings)
        else:
            inverse = langevin_weights.inverse(importance, floor, self.settings)
            density = langevin_weights.density(inverse, self._chain, self.batch_size, self._fresh_share)
            weights = langevin_weights.weights(density, self.step, self.settings)
        if loss is None:
            loss = importance**self.settings.loss_power
        else:
            loss = check_importance(loss, self.batch_size, "loss")
        self._weighed = Weighed(weights, loss, importance, floor)
        return weights

    @property
    def alpha(self) -> Tensor:
        """Alpha now, a scalar tensor: it grows linearly and reaches its target after ``warmup`` updates, with
        ``published-code`` after that share of them.
        """
        if self.preset == "published-code":
            return published_code.alpha(self.step, self.settings)
        return langevin_weights.alpha(self.step, self.settings)

    def score(self, loss_scale: float | Tensor = 1.0) -> Coords:
        """``grad log Q`` (N, D) per native unit, from the gradient that backward left in the coordinates.

        With the weights w and per-sample loss l of the last ``weigh``, the gradient of ``mean(w * l)`` is
        ``w_n / N * grad l(x_n)``, and log Q is log l divided by ``loss_power``. For several channels this is
        the gradient of the log of the root-mean-square error.
        """
        gradient, weighed = self._after_backward()
        weighted = (weighed.loss + weighed.floor).mul_(weighed.weights)
        factor = self.batch_size / self.settings.loss_power / loss_scale / self._size
        return gradient / weighted.unsqueeze(-1) * factor

    @torch.no_grad()
    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Moves the samples.

        Args:
            loss_scale: what the mean weighted loss was multiplied by before backward, e.g.
                ``GradScaler.get_scale()``; N if the loss was summed instead of averaged.
        """
        if self.preset == "published-code":
            self._move_as_published(loss_scale)
        else:
            self._move(loss_scale)
        self.step.add_(1)

    def _move(self, loss_scale: float | Tensor) -> None:
        # In place and few operations: at a small batch each costs more than its work.
        (gradient, weighed), draws = self._after_backward(), self.draws.take()
        moved = self.particles[: self._chain]
        weighted = (weighed.loss + weighed.floor).mul_(weighed.weights)
        if isinstance(loss_scale, Tensor):
            weighted, loss_scale = weighted.mul_(loss_scale), 1.0
        gradient, weighted = gradient[: self._chain], weighted[: self._chain].unsqueeze(-1)
        steps = torch.addcdiv(draws.noise, gradient, weighted, value=self._drift / loss_scale)
        moved.addcmul_(steps, self._stride)
        # Zero is the floor of all that lies in [0, 1), and of nothing else, NaN included.
        redraw = ~self.domain.contains(moved) if self.domain.masked else moved.floor().any(-1)
        if self._reinit_count:
            importance = weighed.importance[: self._chain]
            lowest = torch.topk(importance, self._reinit_count, largest=False, sorted=False).indices
            redraw.index_fill_(0, lowest, True)
        # The flagged take the new coordinates in turn, so that few need be drawn from the prior, which is a search.
        moved.masked_scatter_(redraw.unsqueeze(-1), draws.anew)
        self.particles[self._chain :] = draws.fresh

    def _move_as_published(self, loss_scale: float | Tensor) -> None:
        (gradient, weighed), draws = self._after_backward(), self.draws.take()
        slope, loss = gradient / self._published_size, weighed.weights * weighed.loss
        counts = (self._fresh_count, self._reinit_count)
        moved = published_code.step(
            self.particles, slope, loss_scale, loss, draws, self.domain, self.settings, *counts
        )
        self.particles.copy_(moved)

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
        if not (gradient * self._mobility).any():
            raise SoftmineError(
                "the gradient of the drawn coordinates is zero for every sample, so the samples would only "
                "diffuse: the field's encoding does not differentiate with respect to its input"
            )

    def extra_repr(self) -> str:
        """Domain, batch size and preset, for ``print``."""
        return f"{self.domain}, batch_size={self.batch_size}, preset={self.preset!r}"

    def _after_backward(self) -> tuple[Coords, Weighed]:
        """The gradient of the drawn coordinates, and what was weighed."""
        if self._weighed is None:
            raise SoftmineError("call weigh() and backward() between draw() and update()")
        if self._coords.grad is None:
            raise SoftmineError(
                "no gradient reached the drawn coordinates: call backward() before update(), do not detach or "
                "round the coordinates, and use a field whose encoding is differentiable in its input"
            )
        return self._coords.grad, self._weighed

    def _lay_out(self) -> None:
        """Everything that follows from the settings and the device; run again when the module moves."""
        count, settings = self.batch_size, self.settings
        as_published = self.preset == "published-code"
        self._fresh_count = int(settings.uniform_share * count)
        self._chain = count - self._fresh_count
        self._reinit_count = min(int(settings.reinit_share * count), count if as_published else self._chain)
        self.domain.prepare(self.particles.device)
        self._size = self.domain.scale(self.particles)
        self._mobility = self.domain.mobility(self.particles)
        self._published_size = self._size / self._mobility  # a slope over infinity is none
        # A step is the noise and the slope times this, and both count in the unit that makes unit coordinates of scores.
        self._drift = settings.drift * count / settings.loss_power
        self._stride = self._mobility / self._size.square()
        # Keeps log Q finite where all errors are zero.
        self._tiny = torch.full_like(self._size[0], torch.finfo(torch.float32).tiny)
        self._fresh_share = torch.full_like(self._size[0], self._fresh_count / count)
        self._coords = torch.zeros_like(self.particles).requires_grad_()
        self._weighed: Weighed | None = None
        if as_published:
            scale = settings.noise * self._mobility
            self.draws = published_code.draws(self.random, self.domain, count, scale, self.prior)
        else:
            counts = (self._chain, self._reinit_count, self._fresh_count)
            self.draws = draws_of_chain(self.random, self.domain, *counts, settings, self._size, self.prior)

    def _apply(self, fn: Any, recurse: bool = True) -> Langevin:
        particles = self.particles
        super()._apply(fn, recurse)
        # Only the device may change: in half precision positions would merge.
        self.particles = particles.to(self.particles.device)
        self._lay_out()
        return self
