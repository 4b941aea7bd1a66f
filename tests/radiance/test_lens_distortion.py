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


RATIONAL = [
    (0.5, -2.6, 1.5, 0.0, 2e-4, -3e-4, 0.39, -2.4, 1.45),
    (5.0, 3.3, 0.17, 0.0, 1e-4, 1e-4, 5.3, 4.9, 0.9),
    (0.1, 0.01, 0.0, 0.0, 0.0, 0.0, 0.2, 0.03, 0.004),
]
"""As of Azure Kinect's two cameras, and a mild one."""


@pytest.mark.parametrize("lens", RATIONAL)
def test_rational_lenses_divide_by_their_second_polynomial(lens):
    axis = torch.linspace(-0.6, 0.6, 11, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    k1, k2, k3, _, p1, p2, k4, k5, k6 = lens  # OpenCV's formula, in its names
    x, y = points.unbind(-1)
    r = x.square() + y.square()
    factor = (1 + k1 * r + k2 * r**2 + k3 * r**3) / (1 + k4 * r + k5 * r**2 + k6 * r**3)
    expected = torch.stack(
        (
            x * factor + 2 * p1 * x * y + p2 * (r + 2 * x**2),
            y * factor + p1 * (r + 2 * y**2) + 2 * p2 * x * y,
        ),
        -1,
    )
    rows = points.new_tensor(lens).expand(len(points), 9)
    torch.testing.assert_close(distort(points, rows), expected)
    assert not folds(expected, rows)
    torch.testing.assert_close(undistort(expected, rows), points, rtol=0, atol=1e-10)
    few = points[::17].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: undistort(each, rows[: len(few)]), few)
    steps = torch.autograd.functional.jacobian(lambda each: distort(each, rows[: len(few)]).sum(0), few)
    torch.testing.assert_close(jacobian(few, rows[: len(few)]), steps.permute(1, 0, 2))


def test_zero_denominators_change_nothing():
    points, lens = grid(LENSES[3])
    longer = torch.cat((lens, torch.zeros(len(lens), 3, dtype=lens.dtype)), -1)
    torch.testing.assert_close(distort(points, longer), distort(points, lens), rtol=0, atol=0)
