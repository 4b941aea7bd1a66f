"""A coarse map of where there may be matter, so that empty space costs nothing (arXiv 2201.05989, appendix E)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmine.domain import Cells, SoftmineError
from softmine.sampling.random import RandomStream

Density = Callable[[Tensor], Tensor]
"""Density (M,) at positions (M, 3) in the unit cube."""


class OccupancyGrid(nn.Module):
    """A running density of the cells of the unit cube, and which of them may hold matter.

    All are occupied at first. ``sweep`` looks into every cell; ``refresh`` into some: a cell's density is then the larger
    of what was found, at a random place in it, and the decayed density it had. Occupied is what lies above the
    threshold, or above the mean if that is lower.

    Args:
        side: cells along each axis.
        threshold: density, per unit of the cube's side, above which a cell is occupied; positive.
        decay: of a cell's density when it is looked at, in [0, 1).
        seed: of where it looks; None takes one from torch.

    Raises:
        SoftmineError: a setting is out of range.

    Example:
        >>> grid = OccupancyGrid(8, threshold=1.0)
        >>> grid.sweep(lambda points: 10.0 * (points[:, 0] < 0.5))
        >>> grid.share
        0.5
    """

    density: Tensor
    occupied: Tensor

    def __init__(
        self, side: int = 128, *, threshold: float, decay: float = 0.7, seed: int | None = None
    ) -> None:
        super().__init__()
        if side < 1 or not threshold > 0 or not 0 <= decay < 1:
            raise SoftmineError(
                f"an occupancy grid needs a side of at least 1, a positive threshold and a decay in [0, 1), not "
                f"{side}, {threshold}, {decay}"
            )
        self.side, self.threshold, self.decay = side, threshold, decay
        self.random = RandomStream(seed)
        self.register_buffer("density", torch.zeros(side**3))
        self.register_buffer("occupied", torch.ones(side, side, side, dtype=torch.bool))

    @property
    def share(self) -> float:
        """Share of the cells that are occupied, 0 to 1."""
        return self.occupied.float().mean().item()

    @torch.no_grad()
    def sweep(self, density: Density, chunk: int = 1 << 17) -> None:
        """Looks into every cell, once, and forgets what it knew."""
        cells = torch.arange(self.side**3, device=self.density.device)
        for part in cells.split(chunk):
            self.density[part] = density(self._inside(part)).float()
        self._decide()

    @torch.no_grad()
    def refresh(self, density: Density, cells: int) -> None:
        """Looks into about ``cells`` cells: half of them occupied ones, half anywhere."""
        if cells < 2:
            raise SoftmineError(f"a refresh looks into at least two cells, not {cells}")
        total = self.side**3
        anywhere = self._choose(total, cells // 2)
        full = self.occupied.view(-1).nonzero()[:, 0]
        if len(full) > cells // 2:
            full = full[self._choose(len(full), cells // 2)]
        chosen = torch.cat([anywhere, full])
        found = density(self._inside(chosen)).float()
        # A cell may be chosen twice: a maximum does not ask in which order.
        self.density[chosen] = self.density[chosen] * self.decay
        self.density.scatter_reduce_(0, chosen, found, "amax")
        self._decide()

    def _decide(self) -> None:
        # Never above the mean: a field that is thin all over would lose its last cells, and with them all gradient.
        bound = self.density.mean().clamp(max=self.threshold)
        self.occupied.copy_((self.density > bound).view_as(self.occupied))

    def _inside(self, cells: Cells) -> Float[Tensor, "m 3"]:
        """A random place in each cell."""
        index = torch.stack([cells // self.side**2, cells // self.side % self.side, cells % self.side], -1)
        return (index + self.random.uniform(len(cells), 3)) / self.side

    def _choose(self, total: int, count: int) -> Cells:
        """``count`` random numbers below ``total``, int64."""
        return (self.random.uniform(count, 1)[:, 0] * total).long().clamp_(max=total - 1)
