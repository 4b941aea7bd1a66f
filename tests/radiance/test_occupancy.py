import pytest
import torch

from softmine import SoftmineError
from softmine.radiance.occupancy import OccupancyGrid


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
