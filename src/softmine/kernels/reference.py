"""The hash encoding in plain torch: what the fused kernels must equal, and what runs where they cannot."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from softmine.kernels.grid import Grid

# One odd factor an axis (Mueller et al. 2022, section 3; the fourth as in tiny-cuda-nn). The first is 1, so that
# neighbours along the first axis stay neighbours in memory.
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
