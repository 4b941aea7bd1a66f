"""Exact sampling in proportion to the error of every cell: the best that choosing by error can do, and its price."""

from __future__ import annotations

import torch

from softmine.baselines.full_pass import PassTimes, check_passable, errors, pass_if_due
from softmine.checks import check_count, check_not_negative, check_share
from softmine.domain import Box
from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.density.importance import reachable
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.drawing.from_density import INDEPENDENT, Drawing


class Multinomial(Sampler):
    """Draws cells in proportion to a power of their error, which a full pass of the field over all cells has measured.

    Every ``interval`` updates the probe gives the error at the center of every cell. Samples fall uniformly
    within the cells drawn. The loss is weighted by ``(u / q)^alpha``; q is exact, relative to the last pass, so at
    alpha = 1 the loss is unbiased however old the pass is. A pass costs a forward evaluation of the whole signal: this
    is a yardstick for cheaper samplers more than a way to save time.

    Source: the multinomial sampling of soft mining's ablation (arXiv 2312.00075), without the limit of 2^24 cells
    that ``torch.multinomial`` has. Here a share of the density is uniform, as in our ``Langevin``; the paper does
    not mention one for this sampler (``uniform_share=0``).

    Args:
        domain: where coordinates live; at most 2^28 cells, because each holds 8 bytes.
        batch_size: coordinates a draw, N.
        power: of the error that the density is proportional to.
        alpha: softness: 0 is hard mining, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        interval: updates from one full pass to the next.
        uniform_share: share of the density that is uniform whatever the error; q/u is never less.
        importance_floor: least error of a cell, in units of the mean error, so that every cell stays reachable.
        drawing: ``independent``, ``stratified`` or ``error-diffusion``, which draws without replacement.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range, or the domain has too many cells.

    Example:
        >>> sampler = Multinomial(Box((4, 8)), batch_size=256, seed=0)
        >>> batch = sampler.draw(lambda coords: coords[:, 0])   # the error at coordinates (N, D)
        >>> sampler.density.density(torch.tensor([[0.1, 0.1], [0.9, 0.1]]))
        tensor([0.3250, 1.6750])
    """

    needs_probe = True

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        power: float = 1.0,
        alpha: float = 0.6,
        warmup: int = 1000,
        interval: int = 1,
        uniform_share: float = 0.1,
        importance_floor: float = 0.01,
        drawing: str = INDEPENDENT,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, batch_size, alpha=alpha, warmup=warmup, seed=seed)
        check_passable(domain)
        self.power = check_not_negative("power", power)
        self.interval = check_count("interval", interval)
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.importance_floor = check_not_negative("importance_floor", importance_floor)
        self.passes = PassTimes()
        self.density = PiecewiseConstant(torch.ones(domain.shape), state=True, domain=domain)
        self.drawing = Drawing(drawing, self.density, domain, batch_size, self.random, longest=interval)

    @property
    def period(self) -> int:
        """Batches drawn at once: more than one with error diffusion, but never more than ``interval``."""
        return self.drawing.period

    @torch.no_grad()
    def refresh(self, probe: Probe) -> None:
        """Measures the error of every cell; ``draw`` does so when it is due, except in a compiled graph.

        Raises:
            SoftmineError: the probe does not give one number for each coordinate.
        """
        importance = reachable(errors(self.domain, probe, self.step.device), self.importance_floor)
        if self.power != 1:
            importance = (importance / importance.max()).pow_(self.power)
        self.density.refill(importance, self.uniform_share)
        self.passes.made(self.step, self.updates, self.interval)
        self.drawing.refresh(self.density, self.random, changed=True)

    def draw(self, probe: Probe | None = None) -> Batch:
        """New samples; ``probe`` is used when a full pass is due.

        Without a probe the last pass serves on, for loops that call ``refresh`` themselves.

        Raises:
            SoftmineError: there was no pass yet, and no probe is given.
        """
        pass_if_due(self.passes, lambda: self.updates, self.refresh, probe, "multinomial")
        coords, density, cells, number = self.drawing.draw(self.density, self.random)
        return Batch(coords, self.step.clone(), density, cells, number)

    def extra_repr(self) -> str:
        """Domain, batch size and interval, for ``print``."""
        return f"{super().extra_repr()}, interval={self.interval}"
