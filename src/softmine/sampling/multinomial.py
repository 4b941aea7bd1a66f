"""Exact sampling in proportion to the error of every cell: the best that choosing by error can do, and its price."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample
from softmine.sampling.full_pass import Schedule, check_passable, errors, pass_if_due
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, check_batch_size, check_share
from softmine.sampling.random import RandomStream
from softmine.sampling.softness import (
    alpha_at,
    check_count,
    check_not_negative,
    check_softness,
    reachable,
    soft_weights,
)


class Multinomial(nn.Module):
    """Draws cells in proportion to their error, which a full pass of the field over all cells has measured.

    Every ``interval`` steps the probe is asked for the error at the centre of every cell. Samples fall uniformly
    within the cells drawn. The loss is weighted by ``(u / q)^alpha``; q is exact, relative to the last pass, so at
    alpha = 1 the loss is unbiased however old the pass is. A pass costs a forward evaluation of the whole signal: this
    is a yardstick for cheaper samplers more than a way to save time.

    Source: the multinomial sampling of soft mining's ablation (arXiv 2312.00075), without the limit of 2^24 cells
    that ``torch.multinomial`` has. Here a share of the density is uniform, as in our ``Langevin``; the paper does
    not mention one for this sampler (``uniform_share=0``).

    Args:
        domain: where coordinates live; at most 2^28 cells, because each holds 8 bytes.
        batch_size: coordinates a draw, N.
        alpha: softness: 0 is hard mining, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        interval: steps from one full pass to the next.
        uniform_share: share of the density that is uniform whatever the error; q/u is never less.
        importance_floor: least error of a cell, in units of the mean error, so that every cell stays reachable.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range, or the domain has too many cells.

    Example:
        >>> sampler = Multinomial(Box((4, 8)), batch_size=256, seed=0)
        >>> coords = sampler.draw(lambda coords: coords[:, 0])   # the error at coordinates (N, D)
        >>> sampler.density.density(torch.tensor([[0.1, 0.1], [0.9, 0.1]]))
        tensor([0.3250, 1.6750])
    """

    needs_probe = True
    follows_signal = False

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        alpha: float = 0.6,
        warmup: int = 1000,
        interval: int = 1,
        uniform_share: float = 0.1,
        importance_floor: float = 0.01,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_passable(domain)
        check_softness(alpha, warmup)
        self.domain = domain
        self.batch_size = check_batch_size(batch_size)
        self.target_alpha, self.warmup = alpha, warmup
        self.interval = check_count("interval", interval)
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.importance_floor = check_not_negative("importance_floor", importance_floor)
        self.random = RandomStream(seed)
        self.schedule = Schedule(lambda step: interval)
        self.density = PiecewiseConstant(torch.ones(domain.shape), state=True, domain=domain)
        self._relative: Tensor | None = None

    @property
    def alpha(self) -> Tensor:
        """Alpha now, a scalar tensor."""
        return alpha_at(self.schedule.step, self.target_alpha, self.warmup)

    @torch.no_grad()
    def refresh(self, probe: Probe) -> None:
        """Measures the error of every cell; ``draw`` does so when it is due, except in a compiled graph.

        Raises:
            SoftmineError: the probe does not answer one number a coordinate.
        """
        importance = errors(self.domain, probe, self.schedule.step.device)
        self.density.refill(reachable(importance, self.importance_floor), self.uniform_share)
        self.schedule.passed()

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Coords:
        """New coordinates (N, D) in [0, 1)^D; ``probe`` is used when a full pass is due.

        Without a probe the last pass serves on, for loops that call ``refresh`` themselves.

        Raises:
            SoftmineError: there was no pass yet, and no probe is given.
        """
        pass_if_due(self.schedule, self.refresh, probe, "multinomial")
        coords, cells = self.density.draw_in_cells(self.batch_size, self.random)
        self._relative = self.density.density_in(cells)
        return coords

    @torch.no_grad()
    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Loss weights (N,) without gradient; the importance (N,) adds nothing to what the pass measured."""
        return soft_weights(self._relative, self.alpha)

    @torch.no_grad()
    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Counts the step."""
        self.schedule.advance()

    def check(self) -> None:
        """Nothing can go wrong: no gradient is needed."""

    def extra_repr(self) -> str:
        """Domain, batch size and interval, for ``print``."""
        return f"{self.domain}, batch_size={self.batch_size}, interval={self.interval}"
