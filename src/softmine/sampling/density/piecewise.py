"""A density that is constant on each cell of a grid, sampled exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, PerSample, SoftmineError
from softmine.masks import block_of
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.random import RandomStream

MANY, LONG = 1000, 2**15
"""Numbers to look for, and places to look in, below which a plain search is as fast."""


class PiecewiseConstant(nn.Module):
    """Draws coordinates with a density proportional to one non-negative weight a grid cell.

    The cumulative sum is kept in float64 and searched, because ``torch.multinomial`` stops at 2^24 cells and
    loses accuracy well before.

    Args:
        weights: non-negative, finite, not all zero; as many axes as the domain has, any shape.
        state: whether the density belongs to ``state_dict``: for one that training changes.
        domain: where coordinates live. Each of its cells belongs as a whole to the grid cell that its center lies in, if the
            weights are nowhere finer. With a mask they may not be: nothing is drawn where that holds nothing, and densities
            are relative to uniform over the rest.

    Raises:
        SoftmineError: a weight is negative or not finite, or all are zero (where the domain holds anything).

    Example:
        >>> density = PiecewiseConstant(torch.tensor([0.0, 3.0, 1.0, 0.0]))
        >>> density.density(torch.tensor([[0.3], [0.6], [0.9]]))
        tensor([3., 1., 0.])
    """

    cumulative: Tensor

    def __init__(self, weights: Tensor, *, state: bool = False, domain: Box | None = None) -> None:
        super().__init__()
        shape = weights.shape
        self.cells = MapCells(shape, domain)
        if self.cells.masked is not None:
            weights = weights.flatten()[self.cells.masked.outer.flags.to(weights.device)]
        total = weights.detach().double().sum()
        if weights.min() < 0 or not torch.isfinite(total) or total <= 0:
            raise SoftmineError(
                f"weights of shape {tuple(shape)} are no density: they must be non-negative, "
                "finite and not all zero where there is anything"
            )
        self.register_buffer("cumulative", self._cumulative(weights.double(), 0.0), persistent=state)

    @property
    def grid(self) -> Box:
        """The grid of the weights."""
        return self.cells.grid

    def refill(self, weights: Tensor, uniform_share: float = 0.0) -> None:
        """Replaces the weights in place, without waiting for the device.

        Args:
            weights: one for each of ``cells``, finite and positive, which is not checked.
            uniform_share: share of the density that is uniform whatever the weights.
        """
        self.cumulative.copy_(self._cumulative(weights.to(self.cumulative.dtype), uniform_share))

    def mixed(self, uniform_share: float) -> PiecewiseConstant:
        """A new density of which ``uniform_share`` is uniform and the rest this one."""
        domain = self.cells.domain
        mixed = PiecewiseConstant(torch.ones(self.grid.shape), domain=domain).to(self.cumulative.device)
        mixed.refill(self._weights(), uniform_share)
        return mixed

    def over(self, domain: Box) -> PiecewiseConstant:
        """This density where the domain holds anything, zero elsewhere; itself if there is no mask, or if it has it already.

        Weights finer than the domain are averaged in its cells.
        """
        if not domain.masked or self.cells.domain is domain:
            return self
        weights = self._averaged(domain.shape)
        return PiecewiseConstant(weights.cpu(), domain=domain).to(weights.device)

    def at_most(self, shape: Sequence[int]) -> PiecewiseConstant:
        """This density without a mask, averaged along each axis to at most as many cells as ``shape``."""
        weights = self._averaged(shape)
        return PiecewiseConstant(weights.cpu()).to(weights.device)

    def _averaged(self, shape: Sequence[int]) -> Tensor:
        """The weights on a grid of at most ``shape``, zero where a mask leaves nothing."""
        weights, masked = self._weights(), self.cells.masked
        if masked is not None:
            numbers = torch.arange(len(weights), device=weights.device)
            weights = weights.new_zeros(self.grid.cells).index_copy_(0, masked.outer.nth(numbers), weights)
        weights = weights.view(self.grid.shape)
        for axis, size in enumerate(shape):
            many = weights.shape[axis]
            if many > size:
                holder = block_of(torch.arange(many, device=weights.device), many, size)
                fewer = [*weights.shape[:axis], size, *weights.shape[axis + 1 :]]
                summed = weights.new_zeros(fewer).index_add_(axis, holder, weights)
                count = torch.bincount(holder, minlength=size).to(weights)
                weights = summed / count.view([-1] + [1] * (weights.ndim - axis - 1))
        return weights

    def draw(self, n: int, random: RandomStream) -> Coords:
        """Coordinates (n, D), float32."""
        return self.draw_in_cells(n, random)[0]

    def draw_in_cells(self, n: int, random: RandomStream, stratified: bool = False) -> tuple[Coords, Cells]:
        """Coordinates (n, D), float32, and the flat grid cells (n,) that hold them.

        Stratified, one lies in each of n parts of equal probability, in row-major order.
        """
        chance, *jitter = random.uniform(n, 1 + self.grid.dim, dtype=self.cumulative.dtype).unbind(-1)
        if stratified:
            chance = chance.add(torch.arange(n, device=chance.device)).div_(n).clamp_(max=1 - 2.0**-24)
        return self.at(chance, jitter)

    def at(self, chance: Tensor, jitter: Sequence[Tensor]) -> tuple[Coords, Cells]:
        """Coordinates (n, D), float32, and their flat grid cells (n,), that uniform numbers in [0, 1) stand for.

        Args:
            chance: which cell, (n,), with the digits of ``cumulative``.
            jitter: where in it, (n,) for each axis.
        """
        drawn = _last_not_above(self.cumulative, chance.contiguous())
        drawn.clamp_(max=self.cells.count - 1)
        return self.cells.inside(drawn, jitter), drawn

    def density(self, coords: Coords) -> PerSample:
        """The density relative to uniform, q/u, at coordinates (N, D); its mean over the domain is one."""
        cells, valid = self.cells.find(coords)
        density = self.density_in(cells, coords.dtype)
        return density if valid is None else density * valid

    def density_in(self, cells: Cells, dtype: torch.dtype = torch.float32) -> PerSample:
        """The density relative to uniform, q/u, in drawn ``cells`` (N,)."""
        density = (self.cumulative[cells + 1] - self.cumulative[cells]) * self.cells.count
        volume = self.cells.volume_of(cells)
        return (density if volume is None else density / volume).to(dtype)

    def values(self) -> PerSample:
        """The density relative to uniform, q/u, of all cells, (count,), float32."""
        density = self.cumulative.diff() * self.cells.count
        volume = self.cells.volume
        return (density if volume is None else density / volume).float()

    def _weights(self) -> Tensor:
        """What the density is proportional to, (count,)."""
        volume = self.cells.volume
        return self.cumulative.diff() if volume is None else self.cumulative.diff() / volume

    def _cumulative(self, weights: Tensor, uniform_share: float) -> Tensor:
        """Cumulative shares, from zero to one, of weights of any shape mixed with the uniform density: (count + 1,)."""
        weights, volume = weights.detach().flatten(), self.cells.volume
        shares = weights if volume is None else weights * volume
        mixed = shares * ((1 - uniform_share) / shares.mean())
        if volume is None:
            mixed.add_(uniform_share)
        else:
            mixed.add_(volume, alpha=uniform_share)
        cumulative = torch.nn.functional.pad(mixed.cumsum(0), (1, 0))
        return cumulative / cumulative[-1]

    def _apply(self, fn: Any, recurse: bool = True) -> PiecewiseConstant:
        # Only the device may change: the sum needs its digits.
        device = fn(torch.empty(0)).device
        self.cumulative = self.cumulative.to(device, sum_type(device))
        self.cells.to(device)
        return self


def _last_not_above(ascending: Tensor, values: Tensor) -> Cells:
    """The last places (n,) in ``ascending`` (m,), which begins with zero, that hold no more than ``values`` (n,) in [0, 1).

    A search through millions of places waits for memory at every step. On a CPU many are therefore looked for together:
    among every 64th, which stay in the cache, one by one, and from there all at once, step by step.
    """
    few = len(values) < MANY or len(ascending) < LONG
    if few or torch.compiler.is_compiling() or values.device.type != "cpu":
        return torch.searchsorted(ascending, values, right=True).sub_(1)
    place = torch.searchsorted(ascending[::64].contiguous(), values, right=True).sub_(1).mul_(64)
    last = len(ascending) - 1
    for step in (32, 16, 8, 4, 2, 1):
        ahead = (place + step).clamp_(max=last)
        place = torch.where(ascending.index_select(0, ahead) <= values, ahead, place)
    return place


def sum_type(device: torch.device) -> torch.dtype:
    """The type in which sums of millions of numbers keep their digits; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
