import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernel_grids import PAIRS, batch_of, grid_of, twin, value_and_gradients
from softmine.kernels.cpu import backend


@pytest.fixture(autouse=True)
def _numba(monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", "numba")


def assert_equals_twin(grid, coords):
    upstream = torch.randn(len(coords), grid.outputs, generator=torch.Generator().manual_seed(7))
    upstream = upstream.to(coords.dtype)
    fused = value_and_gradients(lambda g, x: g(x), grid, coords, upstream)
    reference = grid_of_same(grid).double()
    exact = coords.detach().double().requires_grad_()
    expected = value_and_gradients(twin, reference, exact, upstream.double())
    # The position in a cell loses as many digits as the resolution has, and the gradient of coordinates is that
    # much steeper.
    finest = grid.resolutions.max().item()
    unit = torch.finfo(coords.dtype).eps * finest
    scales = (1.0, finest * grid.outputs, len(coords))
    for found, wanted, scale in zip(fused, expected, scales, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=4 * unit * scale)


def grid_of_same(grid):
    import copy

    return copy.deepcopy(grid)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dim", "features"), PAIRS)
def test_value_and_gradients_equal_the_twin(dim, features, dtype):
    grid = grid_of(dim, features, dtype=dtype)
    if dim > 1:
        assert 0 < grid.dense_levels < grid.levels, "both kinds of level are tested"
    coords = batch_of(300, dim, dtype=dtype)
    if dtype == torch.float32:
        # On a border of cells float32 and float64 may pick different cells, with different slopes.
        coords = snapped_off_borders(coords, grid)
    assert_equals_twin(grid, coords)


def snapped_off_borders(coords, grid):
    """Moves points whose cell depends on rounding to 0.3."""
    coords = coords.detach().clone()
    position = coords.double().clamp(0, 1)[:, None] * grid.resolutions
    near = (position - position.round()).abs() < 1e-4
    near &= (coords > 0)[:, None] & (coords < 1)[:, None]
    coords[near.any(1).any(1) & (coords != 1 - 2.0**-24).any(1)] = 0.3
    return coords.requires_grad_()


@given(
    pair=st.sampled_from(PAIRS),
    count=st.integers(0, 300),
    levels=st.integers(1, 6),
    log2=st.integers(3, 10),
    lows=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    factor=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_any_shape_equals_the_twin(pair, count, levels, log2, lows, factor, seed):
    dim, features = pair
    low = lows[:dim]
    high = [n * factor for n in low]
    sizes = {"levels": levels, "log2_table_size": log2, "base_resolution": low, "finest_resolution": high}
    grid = grid_of(dim, features, seed=seed, dtype=torch.float64, **sizes)
    coords = torch.rand(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert_equals_twin(grid, coords.requires_grad_())


@pytest.mark.parametrize(("dim", "features"), PAIRS)
def test_the_gradient_of_coordinates_is_the_slope(dim, features):
    grid = grid_of(dim, features, dtype=torch.float64, levels=3, finest_resolution=9)
    generator = torch.Generator().manual_seed(1)
    # Away from cell borders, where a piecewise-linear function has no slope.
    points = torch.rand(6, dim, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    assert torch.autograd.gradcheck(grid, points.requires_grad_(), eps=1e-7)


def test_collisions_add_up():
    grid = grid_of(2, 2, dtype=torch.float64)
    point = torch.tensor([[0.31, 0.77]], dtype=torch.float64)
    (one,) = torch.autograd.grad(grid(point).sum(), grid.table)
    (many,) = torch.autograd.grad(grid(point.expand(300, 2)).sum(), grid.table)
    torch.testing.assert_close(many, 300 * one)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_nan_stays_in_its_point(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    grid = grid_of(2, 2)
    coords = batch_of(10, 2)
    with torch.no_grad():
        coords[3, 1] = math.nan
    features = grid(coords)
    assert features[3].isnan().all()
    assert features[[0, 1, 2, 4, 5, 6, 7, 8, 9]].isfinite().all()
    features.sum().backward()
    assert coords.grad[[0, 1, 2, 4, 5, 6, 7, 8, 9]].isfinite().all()


def test_strided_coordinates_and_gradients():
    grid = grid_of(2, 2)
    wide = torch.rand(64, 5)
    coords = wide[:, 1:3]
    torch.testing.assert_close(grid(coords), twin(grid, coords))
    (found,) = torch.autograd.grad(grid(coords).t().sum(0).sum(), grid.table)
    (wanted,) = torch.autograd.grad(twin(grid, coords).sum(), grid.table)
    torch.testing.assert_close(found, wanted)


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(backend, "ALONE_SLOPES", 0)
    grid = grid_of(2, 2, levels=16, log2_table_size=12, finest_resolution=500)
    coords = torch.rand(5000, 2).requires_grad_()
    upstream = torch.randn(5000, grid.outputs)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 2, 4):
            torch.set_num_threads(count)
            results.append(value_and_gradients(lambda g, x: g(x), grid, coords, upstream))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_no_gradient_where_none_is_needed():
    grid = grid_of(2, 2).requires_grad_(False)
    coords = batch_of(20, 2)
    grid(coords).sum().backward()
    assert coords.grad is not None
    assert grid.table.grad is None
    with torch.no_grad():
        assert not grid(coords).requires_grad
