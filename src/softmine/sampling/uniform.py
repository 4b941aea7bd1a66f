"""Uniform sampling: the baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.domain import Box, Coords
from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.density.piecewise import sum_type


class Uniform(Sampler):
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
        >>> sampler.draw().coords.shape
        torch.Size([2048, 2])
    """

    recordable = True
    strata: Tensor
    corners: Tensor

    def __init__(
        self, domain: Box, batch_size: int, *, stratified: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(domain, batch_size, seed=seed)
        self.stratified = stratified
        strata = torch.tensor(_strata_shape(domain, batch_size))
        self.register_buffer("strata", strata, persistent=False)
        self.register_buffer("corners", _corners(strata), persistent=False)

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Batch:
        """New samples."""
        numbers = self.random.uniform(self.batch_size, self.domain.dim)
        coords = self._stratified(numbers) if self.stratified else self.domain.uniform(numbers)
        return Batch(coords, self.step.clone())

    def _stratified(self, numbers: Coords) -> Coords:
        """Coordinates (N, D) for uniform numbers (N, D), one in each stratum."""
        if self.domain.masked:
            return self._over_runs(numbers)
        filled = len(self.corners)
        jittered = ((self.corners + numbers[:filled]) / self.strata).clamp(max=1 - 2.0**-24)
        return torch.cat((jittered, numbers[filled:]))

    def _over_runs(self, numbers: Coords) -> Coords:
        """One coordinate (N, D) in each of N equal runs of valid cells."""
        domain, count = self.domain, self.batch_size
        chance = self.random.uniform(count, 1, sum_type(numbers.device)).view(-1)
        places = (torch.arange(count, device=numbers.device) + chance) * (domain.valid / count)
        cells = domain.nth_valid(places.long().clamp(max=domain.valid - 1))
        return domain.inside(cells, numbers.unbind(-1))


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
