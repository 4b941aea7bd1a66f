"""A coarse map of the error, kept up to date by the training samples themselves."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling.error_map_settings import resolve_error_map
from softmine.sampling.error_memory import known_errors
from softmine.sampling.map_cells import map_shape
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, check_batch_size, check_importance
from softmine.sampling.random import RandomStream
from softmine.sampling.softness import alpha_at, reachable, soft_weights


class ErrorMap(nn.Module):
    """Draws in proportion to a running mean of the error in each cell of a coarse grid.

    The importance given to ``weigh`` is averaged over the samples of the batch that fell into one cell, and taken up
    by an exponential average: the map costs no evaluation of the field. The density is the map's, mixed with a
    uniform share, and exact, so that at alpha = 1 the weights ``(u / q)^alpha`` make the loss unbiased, whatever the
    map has learned. (Training that snaps the samples to cell centres sees q per grid cell, which is the same but
    where a map cell's border crosses a grid cell.)

    The preset ``soft`` re-weights as soft mining does (arXiv 2312.00075). Two more follow systems in use, neither
    of which re-weights, so that they change the loss that is minimised:

    - ``torch-ngp``: its error map of 128 x 128 cells, which starts at one and keeps a tenth of the old error,
      without a uniform share. It draws cells without replacement, we with.
    - ``instant-ngp``: half of the samples uniform, the others from the map with 1% uniform; the map is rebuilt
      after 128 steps, and each time 1.5 times as many. It sums bilinear deposits of error divided by density and
      forgets cells without any; we take the mean in each cell, which expects the same and is less noisy, and leave
      a cell that nothing hit as it was. Its grid is resized at every rebuild; ours keeps its first size.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        preset: ``soft``, ``torch-ngp`` or ``instant-ngp``.
        seed: of the sampler's own random stream; None takes one from torch's global generator.
        **settings: fields of ``ErrorMapSettings`` that replace the preset's.

    Raises:
        SoftmineError: a setting is unknown or out of range.

    Example:
        >>> sampler = ErrorMap(Box((64, 64)), batch_size=256, cells=16, uniform_share=0.0, seed=0)
        >>> coords = sampler.draw()
        >>> weights = sampler.weigh(1.0 + (coords[:, 0] < 0.5).float())      # twice the error in the upper half
        >>> sampler.update()
        >>> sampler.density.density(torch.tensor([[0.2, 0.2], [0.8, 0.2]]))
        tensor([1.3333, 0.6667])
    """

    needs_probe = False
    follows_signal = False
    error: Tensor
    total: Tensor
    count: Tensor
    step: Tensor
    interval: Tensor
    next_rebuild: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        preset: str = "soft",
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.domain = domain
        self.batch_size = check_batch_size(batch_size)
        self.preset = preset
        self.settings = resolve_error_map(
            preset, settings, batch_size, math.prod(domain.shape[axis] for axis in domain.discrete)
        )
        self.random = RandomStream(seed)
        shape = map_shape(domain, self.settings.cells)
        self.density = PiecewiseConstant(torch.ones(shape), state=True, domain=domain)
        # Error is never negative, so that -1 can mark a cell that was not seen.
        start = -1.0 if self.settings.start is None else float(self.settings.start)
        cells = self.density.cells.count
        self.register_buffer("error", torch.full((cells,), start, dtype=torch.float32))
        self.register_buffer("total", torch.zeros_like(self.error))
        self.register_buffer("count", torch.zeros_like(self.error))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("interval", torch.tensor(self.settings.interval))
        self.register_buffer("next_rebuild", torch.tensor(self.settings.interval))
        self._cells: Tensor | None = None
        self._relative: Tensor | None = None
        self._importance: Tensor | None = None

    @property
    def alpha(self) -> Tensor:
        """Alpha now, a scalar tensor: it grows linearly and reaches its target after ``warmup`` updates."""
        return alpha_at(self.step, self.settings.alpha, self.settings.warmup)

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Coords:
        """New coordinates (N, D) in [0, 1)^D, uniform within the map cells drawn."""
        coords, self._cells = self.density.draw_in_cells(self.batch_size, self.random)
        self._relative = self.density.density_in(self._cells)
        return coords

    @torch.no_grad()
    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Loss weights (N,) without gradient.

        Args:
            importance: Q (N,) at the drawn coordinates, non-negative: usually ``residual.abs().mean(-1)``. The map
                takes it up at ``update``, leaving out what is not finite.
            loss: not used.

        Raises:
            SoftmineError: nothing was drawn, or there is not one importance for each sample.
        """
        weights = soft_weights(self._relative, self.alpha)
        self._importance = check_importance(importance, self.batch_size)
        return weights

    @torch.no_grad()
    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Takes the last importance up into the map, and the map into the density.

        Raises:
            SoftmineError: ``draw`` and ``weigh`` were not called before.
        """
        cells, importance = self._after_weigh()
        seen, known = known_errors(importance)
        self.total.index_add_(0, cells, seen)
        self.count.index_add_(0, cells, known)
        self.step.add_(1)
        # The rebuild is computed at every step and kept where it is due, so that nobody waits for the device.
        due = self.step >= self.next_rebuild
        interval = torch.where(due, (self.interval * self.settings.growth).long(), self.interval)
        self.next_rebuild.copy_(torch.where(due, self.step + interval, self.next_rebuild))
        self.interval.copy_(interval)
        # A first sample is taken as it is. Sums of products, because torch.where is many times slower on a CPU.
        rate = 1 - self.settings.decay + self.settings.decay * (self.error < 0).float()
        self.error.lerp_(self.total / self.count.clamp_min(1.0), rate * (self.count > 0) * due)
        self.total.mul_(~due)
        self.count.mul_(~due)
        self.density.refill(
            reachable(self._expected(), self.settings.importance_floor), self.settings.uniform_share
        )

    def check(self) -> None:
        """Raises SoftmineError unless ``draw`` and ``weigh`` were called; no gradient is needed."""
        self._after_weigh()

    def extra_repr(self) -> str:
        """Domain, batch size, preset and the map's shape, for ``print``."""
        shape = self.density.grid.shape
        return f"{self.domain}, batch_size={self.batch_size}, preset={self.preset!r}, map={shape}"

    def _expected(self) -> Tensor:
        """Error of each cell, (cells,); of one not seen yet, the mean of those seen."""
        unseen = self.error < 0
        error = self.error.clamp_min(0.0)
        mean = error.sum() / (~unseen).sum().clamp_min(1)
        return error + unseen * mean

    def _after_weigh(self) -> tuple[Tensor, Tensor]:
        """Map cells and importance of the last draw."""
        if self._cells is None or self._importance is None:
            raise SoftmineError("call draw() and weigh() before update(): the map learns from the importance")
        return self._cells, self._importance

    def _apply(self, fn: Any, recurse: bool = True) -> ErrorMap:
        maps = {name: getattr(self, name) for name in ("error", "total", "count")}
        super()._apply(fn, recurse)
        # Only the device may change: half precision cannot count.
        for name, values in maps.items():
            setattr(self, name, values.to(self.step.device))
        self._cells = self._relative = self._importance = None
        return self
