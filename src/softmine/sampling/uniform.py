"""Uniform sampling: the baseline."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample
from softmine.sampling.piecewise import sum_type
from softmine.sampling.protocol import Probe, check_batch_size
from softmine.sampling.random import RandomStream


class Uniform(nn.Module):
    """Draws every batch uniformly from the domain; all weights are one.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        stratified: one jittered coordinate in each cell of a grid of at most N equal cells, the few left
            over drawn freely. Every coordinate is still uniform, and the batch covers the domain more evenly. With a
            mask: one coordinate in each of N equal runs of valid cells, in row-major order.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Example:
        >>> sampler = Uniform(Box((512, 512)), batch_size=2048, seed=0)
        >>> sampler.draw().shape
        torch.Size([2048, 2])
    """

    needs_probe = False
    follows_signal = False
    strata: Tensor
    corners: Tensor
    ones: Tensor

    def __init__(
        self, domain: Box, batch_size: int, *, stratified: bool = False, seed: int | None = None
    ) -> None:
        super().__init__()
        self.domain = domain
        self.batch_size = check_batch_size(batch_size)
        self.stratified = stratified
        self.random = RandomStream(seed)
        strata = torch.tensor(_strata_shape(domain, batch_size))
        self.register_buffer("strata", strata, persistent=False)
        self.register_buffer("corners", _corners(strata), persistent=False)
        self.register_buffer("ones", torch.ones(batch_size, dtype=torch.float32), persistent=False)

    def draw(self, probe: Probe | None = None) -> Coords:
        """New coordinates (N, D) in [0, 1)^D."""
        coords = self.random.uniform(self.batch_size, self.domain.dim)
        if self.domain.masked:
            return self._over_runs(coords) if self.stratified else self.domain.uniform(coords)
        if self.stratified:
            filled = len(self.corners)
            jittered = ((self.corners + coords[:filled]) / self.strata).clamp(max=1 - 2.0**-24)
            coords = torch.cat((jittered, coords[filled:]))
        return coords

    def _over_runs(self, numbers: Coords) -> Coords:
        """One coordinate (N, D) in each of N equal runs of valid cells."""
        domain, count = self.domain, self.batch_size
        chance = self.random.uniform(count, 1, sum_type(numbers.device)).view(-1)
        places = (torch.arange(count, device=numbers.device) + chance) * (domain.valid / count)
        cells = domain.nth_valid(places.long().clamp(max=domain.valid - 1))
        return domain.inside(cells, numbers.unbind(-1))

    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Ones (N,), whatever the importance (N,)."""
        return self.ones.clone()

    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Nothing to move."""

    def check(self) -> None:
        """Nothing can go wrong: uniform sampling needs no gradient."""

    def _apply(self, fn: Any, recurse: bool = True) -> Uniform:
        corners = self.corners
        super()._apply(fn, recurse)
        # Only the device may change: half precision is too coarse.
        self.corners = corners.to(self.random.key.device)
        self.domain.prepare(self.random.key.device)
        return self


def _strata_shape(domain: Box, batch_size: int) -> tuple[int, ...]:
    """Strata along each axis: nearly cubic in native units, at most ``batch_size`` together."""
    side = (domain.cells / batch_size) ** (1 / domain.dim)
    shape: list[int] = []
    left = batch_size
    for size in domain.shape:
        shape.append(max(1, min(left, int(size / side))))
        left //= shape[-1]
    return tuple(shape)


def _corners(strata: Tensor) -> Tensor:
    """Integer position of every stratum in the grid of strata, float (M, D)."""
    axes = [torch.arange(count, dtype=torch.float32) for count in strata.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
