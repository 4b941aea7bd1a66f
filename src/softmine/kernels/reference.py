"""Hash encoding and Adam on touched rows in plain torch: what the fused kernels must equal, and what runs where they cannot."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from softmine.kernels.grid import Grid
from softmine.kernels.touched_rows import STAMPS, AdamRule, decays

# One odd factor an axis (Mueller et al. 2022, section 3; the fourth as in tiny-cuda-nn). The first is 1, so that
# neighbors along the first axis stay neighbors in memory.
PRIMES = (1, 2654435761, 805459861, 3674653429)


def encode(coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Features (N, L * F) at coordinates (N, D); see ``softmine.kernels.encoding``."""
    corners = _corners(coords.shape[1], coords.device)
    position = coords.clamp(0.0, 1.0).unsqueeze(1) * grid.resolutions
    # Where NaN lies is no matter: its fraction, and so its features, are NaN.
    cell = torch.minimum(position.detach().nan_to_num(0.0).long(), grid.resolutions - 1)
    fraction = (position - cell).unsqueeze(2)
    vertex = cell.unsqueeze(2) + corners
    weights = torch.where(corners == 1, fraction, 1 - fraction).prod(-1)
    rows = rows_of(vertex, grid)
    features = table.index_select(0, rows.flatten()).view(*rows.shape, table.shape[1])
    return (weights.unsqueeze(-1) * features).sum(2).flatten(1)


def rows_of(vertex: Tensor, grid: Grid) -> Tensor:
    """Table rows (N, L, C) of integer vertices (N, L, C, D)."""
    sizes = grid.resolutions[: grid.dense_levels] + 1
    strides = torch.cat((torch.ones_like(sizes[:, :1]), sizes.cumprod(-1)[:, :-1]), -1)
    dense = (vertex[:, : grid.dense_levels] * strides[:, None]).sum(-1)
    hashed = vertex[:, grid.dense_levels :] * _primes(vertex.shape[-1], vertex.device)
    mixed = hashed[..., 0]
    for axis in range(1, vertex.shape[-1]):
        mixed = mixed ^ hashed[..., axis]
    return torch.cat((dense, mixed & (grid.table_size - 1)), 1) + grid.offsets[:, None]


@functools.cache
def _corners(dim: int, device: torch.device) -> Tensor:
    """The 2^D corners of a cell, (2^D, D) of 0 and 1."""
    return torch.cartesian_prod(*[torch.tensor([0, 1])] * dim).view(-1, dim).to(device)


@functools.cache
def _primes(dim: int, device: torch.device) -> Tensor:
    return torch.tensor(PRIMES[:dim], device=device)


class Rows:
    """Adam's state of a table (R, F). The moments have the table's type, but at least float32."""

    fused = False
    counts_on_device = False
    pending = False

    def __init__(self, table: Tensor) -> None:
        kind = torch.promote_types(table.dtype, torch.float32)
        self.means = torch.zeros(table.shape, dtype=kind, device=table.device)
        self.squares = torch.zeros_like(self.means)
        self.last = torch.zeros(len(table), dtype=torch.float32, device=table.device)
        self.time = torch.zeros((), dtype=torch.int64, device=table.device)

    def state(self) -> dict[str, Tensor]:
        """Views of the state: ``step`` (), ``last_step`` (R,) modulo ``STAMPS``, ``exp_avg`` and ``exp_avg_sq`` (R, F)."""
        return {"step": self.time, "last_step": self.last, "exp_avg": self.means, "exp_avg_sq": self.squares}

    def clear(self) -> None:
        """Nothing to forget: the gradient is the table's own."""

    def update(
        self, table: Tensor, rate: float | Tensor, rule: AdamRule, dense: Tensor | None = None
    ) -> None:
        """One step of Adam, in place, on the rows of the table (R, F) in which ``dense`` (R, F) is not zero."""
        if dense is None:
            return
        rows = (dense != 0).any(1).nonzero().squeeze(1)
        if not len(rows):
            return
        self.time += 1
        after = [torch.from_numpy(array).to(self.means) for array in decays(rule.betas)]
        longest = len(after[0]) - 1
        now = self.time.clamp(max=longest)
        gap = ((self.time - self.last[rows].long()) % STAMPS).clamp(max=longest)
        first, second = after[0][now], after[1][now]
        of_mean, of_square, drift = (powers[gap, None] for powers in after[2:])
        grad = dense[rows].to(self.means.dtype)
        means = of_mean * self.means[rows] + (1 - rule.betas[0]) * grad
        squares = of_square * self.squares[rows] + (1 - rule.betas[1]) * grad.square()
        momentum = (rows < rule.momentum_rows).unsqueeze(1)
        step = torch.where(momentum, first * drift * means, grad)
        means = torch.where(momentum, means, self.means[rows])
        change = rate * rule.factor * step / (squares.sqrt() * second + rule.epsilon)
        self.last[rows], self.means[rows], self.squares[rows] = (self.time % STAMPS).float(), means, squares
        table[rows] = (table[rows] - change).to(table.dtype)
