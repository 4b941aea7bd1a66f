"""A coarse map of the error, kept up to date by the training samples themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softmine.checks import check_count, check_not_negative, check_share
from softmine.domain import Box, PerSample, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.density.importance import known_errors, reachable
from softmine.sampling.density.map_cells import map_shape
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.drawing.from_density import INDEPENDENT, Drawing

MAX_CELLS = 2**26


class ErrorMap(Sampler):
    """Draws in proportion to a running mean of the error in each cell of a coarse grid.

    The error given to ``update`` is averaged over the samples of the batch that fell into one cell, and taken up
    by an exponential average: the map costs no evaluation of the field. The density is the map's, mixed with a
    uniform share. Of independent and stratified samples it is exact, so that at alpha = 1 the weights ``(u / q)^alpha``
    make the loss unbiased, whatever the map has learned; drawn by error diffusion they follow a density that has just
    changed with a delay, by 1 to 2% of the loss in our measurements.

    ``softmine.baselines`` has the maps of torch-ngp and instant-ngp.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        cells: of the map, at most; each is a block of whole cells of the domain, and along an axis there are at most 2^22.
        per_view: whether these are the cells of each place along the discrete axes, such as a view.
        decay: share of a cell's old error that is kept when new samples have hit it; torch-ngp's.
        alpha: softness: 0 is hard mining, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        uniform_share: share of the density that is uniform whatever the map says; between torch-ngp's 0 and instant-ngp's 0.5.
        importance_floor: least error of a cell, in units of the mean error, so that every cell stays reachable.
        interval: updates until samples are taken up into the map; those in between are collected.
        growth: the interval is multiplied by this each time.
        start: error of a cell before its first sample; None is the mean of the cells already seen.
        drawing: ``independent``, ``stratified`` or ``error-diffusion``, which draws without replacement.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range.

    Example:
        >>> sampler = ErrorMap(Box((64, 64)), batch_size=256, cells=16, uniform_share=0.0, seed=0)
        >>> batch = sampler.draw()
        >>> sampler.update(batch, 1.0 + (batch.coords[:, 0] < 0.5).float())      # twice the error in the upper half
        >>> sampler.density.density(torch.tensor([[0.2, 0.2], [0.8, 0.2]]))
        tensor([1.3333, 0.6667])
    """

    recordable = True
    error: Tensor
    total: Tensor
    count: Tensor
    interval: Tensor
    next_rebuild: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        cells: int = 2**14,
        per_view: bool = False,
        decay: float = 0.1,
        alpha: float = 0.6,
        warmup: int = 1000,
        uniform_share: float = 0.3,
        importance_floor: float = 0.01,
        interval: int = 1,
        growth: float = 1.0,
        start: float | None = None,
        drawing: str = INDEPENDENT,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, batch_size, alpha=alpha, warmup=warmup, seed=seed)
        views = math.prod(domain.shape[axis] for axis in domain.discrete) if per_view else 1
        wanted = views * check_count("cells", cells)
        if wanted > MAX_CELLS:
            raise SoftmineError(f"cells is {wanted}, but an error map has at most {MAX_CELLS}")
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.importance_floor = check_not_negative("importance_floor", importance_floor)
        self.decay, self.growth = check_share("decay", decay), check_not_negative("growth", growth)
        if decay == 1:
            raise SoftmineError(f"decay is {decay}, but then the map never learns: give a share below 1")
        if growth < 1:
            raise SoftmineError(f"growth is {growth}, but an interval cannot shrink: give 1 or more")
        self.density = PiecewiseConstant(torch.ones(map_shape(domain, wanted)), state=True, domain=domain)
        self.drawing = Drawing(drawing, self.density, domain, batch_size, self.random, longest=1)
        # Error is never negative, so that -1 can mark a cell that was not seen.
        first = -1.0 if start is None else check_not_negative("start", start)
        count = self.density.cells.count
        self.register_buffer("error", torch.full((count,), first, dtype=torch.float32))
        self.register_buffer("total", torch.zeros_like(self.error))
        self.register_buffer("count", torch.zeros_like(self.error))
        self.register_buffer("interval", torch.tensor(check_count("interval", interval)))
        self.register_buffer("next_rebuild", torch.tensor(interval))

    def draw(self, probe: Probe | None = None) -> Batch:
        """New samples, uniform within the map cells drawn."""
        coords, density, cells, number = self.drawing.draw(self.density, self.random)
        return Batch(coords, self.step.clone(), density, cells, number)

    def _learn(
        self, batch: Batch, error: PerSample, loss: PerSample | None, loss_scale: float | Tensor
    ) -> None:
        """Takes the errors up into the map, leaving out what is not finite, and the map into the density."""
        cells = self.density.cells.find(batch.coords)[0] if batch.cells is None else batch.cells
        seen, known = known_errors(error)
        self.total.index_add_(0, cells, seen)
        self.count.index_add_(0, cells, known)
        # The rebuild is computed at every step and kept where it is due, so that nobody waits for the device.
        step = self.step + 1
        due = step >= self.next_rebuild
        interval = torch.where(due, (self.interval * self.growth).long(), self.interval)
        self.next_rebuild.copy_(torch.where(due, step + interval, self.next_rebuild))
        self.interval.copy_(interval)
        # A first sample is taken as it is. Sums of products, because torch.where is many times slower on a CPU.
        rate = 1 - self.decay + self.decay * (self.error < 0).float()
        self.error.lerp_(self.total / self.count.clamp_min(1.0), rate * (self.count > 0) * due)
        self.total.mul_(~due)
        self.count.mul_(~due)
        self.density.refill(reachable(self._expected(), self.importance_floor), self.uniform_share)

    def extra_repr(self) -> str:
        """Domain, batch size and the map's shape, for ``print``."""
        return f"{super().extra_repr()}, map={self.density.grid.shape}"

    def _expected(self) -> Tensor:
        """Error of each cell, (cells,); of one not seen yet, the mean of those seen."""
        unseen = self.error < 0
        error = self.error.clamp_min(0.0)
        mean = error.sum() / (~unseen).sum().clamp_min(1)
        return error + unseen * mean
