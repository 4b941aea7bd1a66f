import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine import HashGrid, HashGridField, SoftmineError
from softmine.fields import create
from softmine.kernels import reference
from softmine.kernels.grid import levels_of

PRIMES = (1, 2654435761, 805459861, 3674653429)


def plain_encoding(grid, point):
    """One point's features by the definition, a vertex at a time, in Python integers and NumPy doubles."""
    table = grid.table.detach().numpy().astype(float)
    features = []
    for level in range(grid.levels):
        resolution = grid.resolutions[level].tolist()
        position = np.asarray(point) * resolution
        cell = np.minimum(position.astype(int), np.array(resolution) - 1)
        total = np.zeros(grid.features)
        for corner in itertools.product((0, 1), repeat=grid.dim):
            vertex = [int(c) + o for c, o in zip(cell, corner, strict=True)]
            weight = np.prod([f if o else 1 - f for f, o in zip(position - cell, corner, strict=True)])
            if np.prod([n + 1 for n in resolution]) <= grid.table_size:
                row, stride = 0, 1
                for index, n in zip(vertex, resolution, strict=True):
                    row, stride = row + index * stride, stride * (n + 1)
            else:
                row = 0
                for index, prime in zip(vertex, PRIMES, strict=False):
                    row ^= index * prime
                row %= grid.table_size
            total += weight * table[int(grid.offsets[level]) + row]
        features.append(total)
    return np.concatenate(features)


def small_grid(dim, **changes):
    torch.manual_seed(dim)
    sizes = {"levels": 4, "features": 2, "log2_table_size": 7, "base_resolution": 2, "finest_resolution": 30}
    grid = HashGrid(dim, **{**sizes, **changes}).double()
    torch.nn.init.uniform_(grid.table, -1, 1)
    return grid


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_the_encoding_is_its_definition(dim):
    grid = small_grid(dim)
    if dim > 1:
        assert 0 < grid.dense_levels < grid.levels, "both kinds of level are tested"
    points = torch.rand(20, dim, dtype=torch.float64)
    points[0], points[1] = 0.0, 1 - 2**-24
    found = grid(points).detach().numpy()
    for point, features in zip(points.numpy(), found, strict=True):
        np.testing.assert_allclose(features, plain_encoding(grid, point), atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_gradients_reach_table_and_coordinates(dim):
    grid = small_grid(dim, levels=3, log2_table_size=4, finest_resolution=9)
    generator = torch.Generator().manual_seed(1)
    # Away from cell borders, where a piecewise-linear function has no derivative.
    points = torch.rand(6, dim, generator=generator, dtype=torch.float64)
    points = (points * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: grid(x), points, eps=1e-7)
    assert torch.autograd.gradcheck(
        lambda t: torch.func.functional_call(grid, {"table": t}, points.detach()), grid.table
    )


def test_colliding_points_of_one_batch_add_up_in_the_table():
    grid = small_grid(2)
    point = torch.tensor([[0.31, 0.77]], dtype=torch.float64)
    (one,) = torch.autograd.grad(grid(point).sum(), grid.table)
    (many,) = torch.autograd.grad(grid(point.expand(50, 2)).sum(), grid.table)
    torch.testing.assert_close(many, 50 * one)


@given(
    dim=st.integers(1, 4),
    levels=st.integers(1, 6),
    features=st.sampled_from([1, 2, 4, 8]),
    log2=st.integers(3, 10),
    finest=st.integers(2, 60),
)
def test_every_row_lies_in_its_level(dim, levels, features, log2, finest):
    grid = HashGrid(
        dim,
        levels=levels,
        features=features,
        log2_table_size=log2,
        base_resolution=2,
        finest_resolution=finest,
    )
    corners = torch.tensor([[0.0] * dim, [1.0] * dim, [1 - 2**-24] * dim])
    assert grid(corners).shape == (3, grid.outputs)
    ends = torch.cat((grid.offsets[1:], torch.tensor([len(grid.table)])))
    last = (grid.resolutions - 1)[None, :, None] + torch.cartesian_prod(*[torch.tensor([0, 1])] * dim).view(
        -1, dim
    )
    rows = reference.rows_of(last, grid.grid)[0]
    assert ((rows >= grid.offsets[:, None]) & (rows < ends[:, None])).all()


def test_axes_may_have_their_own_resolution():
    grid = HashGrid(2, levels=2, base_resolution=(4, 8), finest_resolution=(16, 64))
    assert grid.resolutions.tolist() == [[4, 8], [16, 64]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 5}, "1 to 4 dimensions"),
        ({"dim": 2, "levels": 0}, "at least one level"),
        ({"dim": 2, "finest_resolution": (4, 4, 4)}, "do not fit 2 dimensions"),
        ({"dim": 1, "finest_resolution": 2**30 + 1}, "from 1 to 1,073,741,824"),
    ],
)
def test_impossible_grids_are_refused(settings, message):
    with pytest.raises(SoftmineError, match=message):
        HashGrid(**settings)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_finest_grid_interpolates(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    field = create("hashgrid", (2**33,), 1, log2_table_size=8, finest_resolution=2**33)
    grid = field.encoding
    assert grid.resolutions[-1].item() == 2**30
    coords = 0.99 * torch.rand(500, 1)
    features = grid(coords)
    torch.testing.assert_close(features, reference.encode(coords, grid.table, grid.grid))
    assert features.abs().max() <= grid.table.abs().max()


def test_a_field_learns_a_function():
    torch.manual_seed(0)
    field = HashGridField(1, 1, levels=6, finest_resolution=64)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    for _ in range(200):
        x = torch.rand(256, 1)
        loss = (field(x) - (12 * x).sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_coarse_levels_are_those_whose_rows_have_enough_samples():
    grid = HashGrid(2, levels=3, base_resolution=3, finest_resolution=12)
    sizes = [(n + 1) ** 2 for n, _ in grid.resolutions.tolist()]
    # A sample is in the cells of four vertices.
    just = sizes[1] // 4 + 1
    assert levels_of(grid.table).coarse_rows(just, 1.0) == sizes[0] + sizes[1]
    assert levels_of(grid.table).coarse_rows(sizes[1] // 4 - 1, 1.0) == sizes[0]
    assert levels_of(grid.table).coarse_rows(2 * just, 2.0) == sizes[0] + sizes[1]
    assert levels_of(grid.table).coarse_rows(1, 100.0) == 0
    assert levels_of(grid.table).coarse_rows(10**6, 1.0) == sum(sizes) == len(grid.table)
