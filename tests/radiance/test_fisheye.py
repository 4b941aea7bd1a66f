"""Fisheye lenses against numbers worked out by hand, their inverse, the inverse's gradients and how far they reach."""

import math

import pytest
import torch

from softmine.radiance.fisheye import bend, project, radius_of, reach_of, slope, straighten, unproject

LENSES = [
    (0.0, 0.0, 0.0, 0.0),
    (0.01, 0.002, 0.0, 0.0),
    (-0.02, 0.001, -0.002, 0.0003),
    (0.1, -0.05, 0.01, -0.002),
]


def rows(lens, count):
    return torch.tensor([lens], dtype=torch.float64).expand(count, 4)


def angles(lens, count=201, share=0.99):
    reach = torch.full((count,), reach_of(lens), dtype=torch.float64)
    return torch.linspace(0, share, count, dtype=torch.float64) * reach, reach


def test_each_coefficient_adds_its_power_of_the_angle():
    angle = torch.tensor([0.5], dtype=torch.float64)
    for index, power in enumerate((0.125, 0.03125, 0.0078125, 0.001953125)):
        lens = torch.zeros(1, 4, dtype=torch.float64)
        lens[0, index] = 0.1
        assert (bend(angle, lens) - angle).item() == pytest.approx(0.1 * power)


def test_known_directions_without_coefficients():
    """An equidistant lens shows what lies at an angle t at a radius of t focal lengths, behind it too."""
    local = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, -1, 0], [1, 0, -1]], dtype=torch.float64)
    reach = torch.full((4,), math.pi, dtype=torch.float64)
    points, angle = project(local, rows((0.0,) * 4, 4), reach)
    expected = torch.tensor([[0, 0], [math.pi / 4, 0], [0, -math.pi / 2], [3 * math.pi / 4, 0]])
    torch.testing.assert_close(points, expected.double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(angle, expected.abs().sum(-1).double(), rtol=0, atol=1e-7)
    back = unproject(points, rows((0.0,) * 4, 4), reach)
    torch.testing.assert_close(back, local / local.norm(dim=-1, keepdim=True), rtol=0, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_straighten_undoes_bend_up_to_the_edge(lens):
    angle, reach = angles(lens)
    found = straighten(bend(angle, rows(lens, 201)), rows(lens, 201), reach)
    torch.testing.assert_close(found, angle, rtol=0, atol=1e-10)
    single = straighten(bend(angle, rows(lens, 201)).float(), rows(lens, 201).float(), reach.float())
    torch.testing.assert_close(single, angle.float(), rtol=0, atol=1e-5)
    beyond = torch.full_like(angle, 100.0)
    torch.testing.assert_close(straighten(beyond, rows(lens, 201), reach), reach)


@pytest.mark.parametrize("lens", LENSES)
def test_gradients(lens):
    angle, reach = angles(lens, 7, 0.9)
    radius = bend(angle, rows(lens, 7))[1:].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: straighten(each, rows(lens, 6), reach[1:]), radius)
    turns = torch.arange(6, dtype=torch.float64)
    points = (radius.detach()[:, None] * torch.stack((turns.cos(), turns.sin()), -1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: unproject(each, rows(lens, 6), reach[1:]), points)
    middle = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(unproject(middle, rows(lens, 1), reach[:1])[0, 0], middle)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, 0.0]], dtype=torch.float64))


def test_reach_ends_where_the_polynomial_turns():
    assert reach_of((0.0,) * 4) == math.pi
    assert radius_of((0.0,) * 4) == pytest.approx(math.pi)
    assert reach_of((-0.1, 0.0, 0.0, 0.0)) == pytest.approx(math.sqrt(1 / 0.3))  # 1 - 0.3 t^2 = 0
    for lens in LENSES:
        angle, reach = angles(lens, 500, 1.0)
        assert (slope(angle[:-1], rows(lens, 499)) > 0).all()
        if reach[0] < math.pi:
            assert slope(reach[:1], rows(lens, 1)).item() == pytest.approx(0, abs=1e-9)
