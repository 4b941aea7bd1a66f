import pytest
import torch
from torch.nn import functional

from softmine import SoftmineError
from softmine.kernels import set_threads
from softmine.radiance.bounded_rays import OccupancyGrid, march, march_twin, shorten


def rays_of(count, dtype=torch.float64, seed=0):
    """From a sphere around the cube towards places in and beside it."""
    generator = torch.Generator().manual_seed(seed)
    origins = 0.5 + 2 * functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)
    origins[: count // 4] = torch.rand(count // 4, 3, generator=generator, dtype=dtype)
    targets = 1.4 * torch.rand(count, 3, generator=generator, dtype=dtype) - 0.2
    jitter = torch.rand(count, generator=generator, dtype=dtype)
    return origins, functional.normalize(targets - origins, dim=-1), jitter


def blobs(side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 4, 4, 4, generator=generator)
    return functional.interpolate(coarse, size=(side,) * 3, mode="trilinear")[0, 0] > 0.6


@pytest.mark.parametrize("step", [0.5, 0.03, 0.004])
def test_the_loop_finds_the_points_of_the_twin(step):
    origins, directions, jitter = rays_of(500)
    cells = blobs(32)
    found = march(origins, directions, cells, step=step, near=0.3, jitter=jitter)
    wanted = march_twin(origins, directions, cells, step, 0.3, jitter)
    assert len(wanted.rays) > 100
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_points_are_in_the_cube_in_occupied_cells_at_equal_steps():
    origins, directions, jitter = rays_of(300, dtype=torch.float32)
    cells = blobs(16)
    packed = march(origins, directions, cells, step=0.02, jitter=jitter)
    assert ((packed.points > -1e-5) & (packed.points < 1 + 1e-5)).all()
    # Not at the very border of a cell, where float32 may see the neighbor.
    native = packed.points * 16
    clear = ((native - native.round()).abs() > 1e-3).all(-1)
    index = native[clear].long()
    assert cells[index[:, 0], index[:, 1], index[:, 2]].all()
    same_ray = packed.rays[1:] == packed.rays[:-1]
    steps = packed.distances.diff()[same_ray] / 0.02
    assert (steps > 0.99).all()
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_a_full_grid_gives_every_interval_of_the_way_through():
    cells = torch.ones(8, 8, 8, dtype=torch.bool)
    origin, direction = torch.tensor([[-1.0, 0.25, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]])
    packed = march(origin, direction, cells, step=0.25)
    torch.testing.assert_close(packed.distances, torch.tensor([1.125, 1.375, 1.625, 1.875]))
    later = march(origin, direction, cells, step=0.25, near=1.5)
    torch.testing.assert_close(later.distances, torch.tensor([1.625, 1.875]))


@pytest.mark.parametrize("backend", ["", "torch"])
def test_rays_that_miss_or_lie_along_a_face_do_no_harm(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    cells = torch.ones(4, 4, 4, dtype=torch.bool)
    origins = torch.tensor([[-1.0, 2.0, 0.5], [2.0, 0.5, 0.5], [-1.0, 0.0, 0.5], [0.5, 0.5, 0.5]])
    directions = torch.tensor([[1.0, 0.0, 0.0]]).expand(4, -1)
    packed = march(origins, directions, cells, step=0.25)
    assert packed.starts.diff().tolist() == [0, 0, 4, 2]


def test_nothing_is_occupied_and_no_rays():
    origins, directions, jitter = rays_of(50)
    packed = march(origins, directions, torch.zeros(4, 4, 4, dtype=torch.bool), step=0.1, jitter=jitter)
    assert packed.starts.tolist() == [0] * 51
    packed = march(origins[:0], directions[:0], blobs(4), step=0.1)
    assert packed.starts.tolist() == [0]


def test_threads_do_not_change_a_bit():
    origins, directions, jitter = rays_of(400, dtype=torch.float32)
    results = []
    try:
        for count in (1, 2, 4):
            set_threads(count)
            results.append(march(origins, directions, blobs(32), step=0.01, jitter=jitter))
    finally:
        set_threads(None)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_shorten_keeps_the_first_points_of_each_ray():
    origins, directions, jitter = rays_of(60)
    packed = march(origins, directions, blobs(16), step=0.02, jitter=jitter)
    counts = packed.starts.diff() // 2
    shorter = shorten(packed, counts)
    assert torch.equal(shorter.starts.diff(), counts)
    for ray in range(60):
        ours = shorter.rays == ray
        first = slice(int(packed.starts[ray]), int(packed.starts[ray] + counts[ray]))
        assert torch.equal(shorter.distances[ours], packed.distances[first])
        assert torch.equal(shorter.points[ours], packed.points[first])


def test_a_step_that_is_not_positive_is_refused():
    origins, directions, _ = rays_of(4)
    with pytest.raises(SoftmineError, match="must be positive, not 0"):
        march(origins, directions, blobs(4), step=0.0)


def ball(points):
    """A density of 50 in a ball of radius 0.3, nothing outside."""
    return 50.0 * ((points - 0.5).norm(dim=-1) < 0.3)


def radii(side):
    """The least and the largest distance of each cell's points from the middle of the cube."""
    low = torch.arange(side) / side - 0.5
    high = low + 1 / side
    nearest = torch.where((low < 0) & (high > 0), 0, torch.minimum(low.abs(), high.abs()))
    farthest = torch.maximum(low.abs(), high.abs())
    grids = [torch.meshgrid(values, values, values, indexing="ij") for values in (nearest, farthest)]
    return [torch.stack(axes, -1).norm(dim=-1) for axes in grids]


def test_everything_is_occupied_until_it_is_looked_at():
    assert OccupancyGrid(8, threshold=1.0).share == 1.0


def test_cells_that_are_dense_throughout_stay_and_empty_ones_go():
    grid = OccupancyGrid(32, threshold=1.0)
    nearest, farthest = radii(32)
    torch.manual_seed(0)
    grid.sweep(ball)
    for _ in range(50):
        assert grid.occupied[farthest < 0.299].all()
        assert not grid.occupied[nearest > 0.301].any()
        grid.refresh(ball, 4096)


def test_a_cell_with_a_dense_corner_is_seldom_forgotten():
    """Matter in a quarter of a cell, looked at 400 times: it is lost when 12 looks in a row miss, 3 in 100 times; over 64
    cells more than 16 at once would be lost less than once in 100,000 runs."""
    grid = OccupancyGrid(4, threshold=1.0)
    torch.manual_seed(0)

    def corner(points):
        return 50.0 * ((points * 4 % 1)[:, 0] < 0.25)

    grid.sweep(corner)
    for _ in range(100):
        grid.refresh(corner, 256)
    assert (~grid.occupied).sum() <= 16


def test_matter_that_appears_is_found_and_what_goes_is_forgotten():
    grid = OccupancyGrid(16, threshold=1.0)
    torch.manual_seed(0)
    grid.sweep(ball)
    before = grid.occupied.clone()

    def moved(points):
        return ball(points + torch.tensor([0.4, 0.0, 0.0]))

    for _ in range(200):
        grid.refresh(moved, 1024)
    _, farthest = radii(16)
    wanted = torch.zeros_like(before)
    wanted[:9] = (farthest < 0.29)[7:]
    assert (grid.occupied & ~before).any()
    gone = before.clone()
    gone[:12] = False
    assert gone.any()
    assert not grid.occupied[gone].any()


def test_a_field_thin_all_over_keeps_its_densest_cells():
    grid = OccupancyGrid(8, threshold=10.0)
    torch.manual_seed(0)
    grid.sweep(lambda points: 0.1 + 0.1 * points[:, 0])
    assert 0.3 < grid.share < 0.7
    assert grid.occupied[7].all()


def test_it_goes_on_from_its_state():
    grid, other = OccupancyGrid(8, threshold=1.0), OccupancyGrid(8, threshold=1.0)
    grid.sweep(ball)
    other.load_state_dict(grid.state_dict())
    assert torch.equal(grid.occupied, other.occupied)
    torch.manual_seed(3)
    grid.refresh(ball, 100)
    torch.manual_seed(3)
    other.refresh(ball, 100)
    assert torch.equal(grid.density, other.density)


@pytest.mark.parametrize("settings", [{"side": 0}, {"threshold": 0.0}, {"decay": 1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SoftmineError, match="an occupancy grid needs"):
        OccupancyGrid(**{"side": 4, "threshold": 1.0, **settings})
    with pytest.raises(SoftmineError, match="at least two cells"):
        OccupancyGrid(4, threshold=1.0).refresh(ball, 1)
