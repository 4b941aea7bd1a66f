import pytest
import torch

from softmine.domain import Box
from softmine.tasks.grids import centers, grid_coords, predict, spread


def test_grid_coords_are_those_of_the_domain():
    box = Box((3, 4, 5))
    coords = grid_coords(centers(3), centers(4), centers(5))
    torch.testing.assert_close(coords, box.centers(torch.arange(box.cells)), rtol=0, atol=0)
    rows = grid_coords(centers(3, 1, 2), centers(4), centers(5))
    torch.testing.assert_close(rows, coords[20:40], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("size", "count", "expected"), [(10, 3, [1, 5, 8]), (2, 3, [0, 1]), (4, 4, [0, 1, 2, 3])]
)
def test_spread_takes_the_middles_of_equal_parts(size, count, expected):
    assert spread(size, count) == expected


def test_predict_clips():
    field = torch.nn.Linear(1, 2)
    torch.nn.init.constant_(field.weight, 10.0)
    torch.nn.init.constant_(field.bias, -5.0)
    values = predict(field, torch.tensor([[0.0], [0.5], [1.0]]), torch.device("cpu"))
    assert values.tolist() == [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
