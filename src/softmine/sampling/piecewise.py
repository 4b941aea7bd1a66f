"""A density that is constant on each cell of a grid, sampled exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, PerSample, SoftmineError
from softmine.sampling.random import RandomStream


class PiecewiseConstant(nn.Module):
    """Draws coordinates with a density proportional to one non-negative weight a grid cell.

    The cumulative sum is kept in float64 and searched, because ``torch.multinomial`` stops at 2^24 cells and
    loses accuracy well before.

    Args:
        weights: non-negative, finite, not all zero; as many axes as the domain has, any shape.
        state: whether the density belongs to ``state_dict``: for one that training changes.

    Raises:
        SoftmineError: a weight is negative or not finite, or all are zero.

    Example:
        >>> density = PiecewiseConstant(torch.tensor([0.0, 3.0, 1.0, 0.0]))
        >>> density.density(torch.tensor([[0.3], [0.6], [0.9]]))
        tensor([3., 1., 0.])
    """

    cumulative: Tensor

    def __init__(self, weights: Tensor, *, state: bool = False) -> None:
        super().__init__()
        total = weights.detach().double().sum()
        if weights.min() < 0 or not torch.isfinite(total) or total <= 0:
            raise SoftmineError(
                f"weights of shape {tuple(weights.shape)} are no density: they must be non-negative, "
                "finite and not all zero"
            )
        self.grid = Box(weights.shape)
        self.register_buffer("cumulative", _cumulative(weights.double(), 0.0), persistent=state)

    def refill(self, weights: Tensor, uniform_share: float = 0.0) -> None:
        """Replaces the weights in place, without waiting for the device.

        Args:
            weights: as many as before, finite and positive, which is not checked.
            uniform_share: share of the density that is uniform whatever the weights.
        """
        self.cumulative.copy_(_cumulative(weights.to(self.cumulative.dtype), uniform_share))

    def mixed(self, uniform_share: float) -> PiecewiseConstant:
        """A new density of which ``uniform_share`` is uniform and the rest this one."""
        mixed = PiecewiseConstant(torch.ones(self.grid.shape)).to(self.cumulative.device)
        mixed.refill(self.cumulative.diff(), uniform_share)
        return mixed

    def draw(self, n: int, random: RandomStream) -> Coords:
        """Coordinates (n, D), float32."""
        return self.draw_in_cells(n, random)[0]

    def draw_in_cells(self, n: int, random: RandomStream) -> tuple[Coords, Cells]:
        """Coordinates (n, D), float32, and the flat grid cells (n,) that hold them."""
        chance, *jitter = random.uniform(n, 1 + self.grid.dim, dtype=self.cumulative.dtype).unbind(-1)
        return self.at(chance, jitter)

    def at(self, chance: Tensor, jitter: Sequence[Tensor]) -> tuple[Coords, Cells]:
        """Coordinates (n, D), float32, and their flat grid cells (n,), that uniform numbers in [0, 1) stand for.

        Args:
            chance: which cell, (n,), with the digits of ``cumulative``.
            jitter: where in it, (n,) for each axis.
        """
        drawn = torch.searchsorted(self.cumulative, chance.contiguous(), right=True).sub_(1)
        drawn.clamp_(max=self.grid.cells - 1)
        return self.grid.inside(drawn, jitter), drawn

    def density(self, coords: Coords) -> PerSample:
        """The density relative to uniform, q/u, at coordinates (N, D); its mean over the domain is one."""
        return self.density_in(self.grid.cell(coords), coords.dtype)

    def density_in(self, cells: Cells, dtype: torch.dtype = torch.float32) -> PerSample:
        """The density relative to uniform, q/u, in flat grid cells (N,)."""
        return ((self.cumulative[cells + 1] - self.cumulative[cells]) * self.grid.cells).to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> PiecewiseConstant:
        # Only the device may change: the sum needs its digits.
        device = fn(torch.empty(0)).device
        self.cumulative = self.cumulative.to(device, sum_type(device))
        return self


def sum_type(device: torch.device) -> torch.dtype:
    """The type in which sums of millions of numbers keep their digits; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _cumulative(weights: Tensor, uniform_share: float) -> Tensor:
    """Cumulative shares, from zero to one, of M weights of any shape mixed with the uniform density: (M + 1,)."""
    weights = weights.detach().flatten()
    mixed = weights * ((1 - uniform_share) / weights.mean()) + uniform_share
    cumulative = torch.nn.functional.pad(mixed.cumsum(0), (1, 0))
    return cumulative / cumulative[-1]
