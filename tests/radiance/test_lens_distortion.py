"""The lens model against numbers worked out by hand, its inverse and the inverse's gradients."""

import pytest
import torch

from softmine.radiance.lens_distortion import distort, folds, jacobian, undistort

LENSES = [
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (-0.28, 0.07, 0.0, 0.0, 0.0, 0.0),
    (0.2, 0.05, 0.01, 0.002, 0.0, 0.0),
    (-0.1, 0.02, -0.003, 0.0004, 0.004, -0.003),
]


def grid(lens, side=11):
    axis = torch.linspace(-0.8, 0.8, side, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    return points, points.new_tensor(lens).expand(len(points), 6)


def test_each_coefficient_moves_a_point_as_the_formula_says():
    point = torch.tensor([[0.5, -1.0]], dtype=torch.float64)  # r2 = 1.25
    for index, (x, y) in enumerate(
        [
            (0.625, -1.25),
            (0.78125, -1.5625),
            (0.9765625, -1.953125),
            (1.220703125, -2.44140625),
            (-1.0, 3.25),
            (1.75, -1.0),
        ]
    ):
        lens = torch.zeros(1, 6, dtype=torch.float64)
        lens[0, index] = 0.1
        moved = (distort(point, lens) - point) / 0.1
        torch.testing.assert_close(moved, torch.tensor([[x, y]], dtype=torch.float64))


@pytest.mark.parametrize("lens", LENSES)
def test_undistort_undoes_distort(lens):
    points, lens = grid(lens)
    assert not folds(distort(points, lens), lens)
    torch.testing.assert_close(undistort(distort(points, lens), lens), points, rtol=0, atol=1e-12)
    single = undistort(distort(points, lens).float(), lens.float())
    torch.testing.assert_close(single, points.float(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_gradients(lens):
    points, lens = grid(lens, 2)
    points, lens = (
        (points * points.new_tensor([1.0, 0.4])).clone().requires_grad_(),
        lens.clone().requires_grad_(),
    )
    assert torch.autograd.gradcheck(distort, (points, lens))
    assert torch.autograd.gradcheck(undistort, (points, lens))
    rows = torch.autograd.functional.jacobian(lambda each: distort(each, lens).sum(0), points)
    torch.testing.assert_close(jacobian(points, lens), rows.permute(1, 0, 2))


def test_a_lens_that_folds_is_noticed():
    points, lens = grid((-0.5, 0.0, 0.0, 0.0, 0.0, 0.0))  # r (1 - r^2 / 2) rises up to r = 0.816 only
    assert folds(points, lens)
    assert not folds(0.4 * points, lens)  # farthest 0.45, of the 0.54 that are reached
