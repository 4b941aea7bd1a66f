"""Grids and batches that the kernel tests share."""

from __future__ import annotations

import torch

from softmine import HashGrid
from softmine.kernels import reference

# One feature width for each number of axes: every pair would take minutes to compile.
PAIRS = [(1, 1), (2, 2), (3, 4), (4, 8)]


def grid_of(dim, features, *, seed=0, dtype=torch.float32, **changes):
    sizes = {"levels": 4, "log2_table_size": 7, "base_resolution": 2, "finest_resolution": 30, **changes}
    torch.manual_seed(seed)
    grid = HashGrid(dim, features=features, **sizes).to(dtype)
    torch.nn.init.uniform_(grid.table, -1, 1)
    return grid


def batch_of(count, dim, *, seed=0, dtype=torch.float32):
    """Random points, with the corners of the domain and a colliding pair among them."""
    points = torch.rand(count, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    edges = [0.0, 1.0, 1 - 2.0**-24, -0.5, 1.5]
    for index, value in enumerate(edges[: max(0, count - 2)]):
        points[index] = value
    points[-1] = points[-2] if count > 1 else points[-1]
    return points.requires_grad_()


def twin(grid, coords):
    return reference.encode(coords, grid.table, grid.grid)


def value_and_gradients(function, grid, coords, upstream):
    value = function(grid, coords)
    of_coords, of_table = torch.autograd.grad((value * upstream).sum(), (coords, grid.table))
    return value.detach(), of_coords, of_table
