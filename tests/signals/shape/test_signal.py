"""Shapes as signals: values, their gradient, the sides of open meshes, the prior."""

import numpy as np
import pytest
import torch

from cube_mesh import CUBE, CUBE_FACES
from softmine.domain import SoftmineError
from softmine.signals import Shape, Signal
from softmine.signals.shape.files import tidy

CUBOID = CUBE * [4.0, 2.0, 1.0] + [100.0, -7.0, 3.0]


def cuboid(**options):
    return Shape(tidy(CUBOID, CUBE_FACES, "here"), "cuboid", **options)


def true_distance(coords):
    """Signed distance to the cuboid in the unit cube: sides of 0.8, 0.4 and 0.2 around the middle."""
    beyond = np.abs(coords - 0.5) - np.array([0.4, 0.2, 0.1])
    return np.linalg.norm(beyond.clip(0), axis=-1) + beyond.max(-1).clip(max=0)


def points(count=4000, seed=0):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_a_signal_over_a_box():
    shape = cuboid()
    assert isinstance(shape, Signal)
    assert shape.channels == 1
    assert shape.domain.shape == (256, 256, 256)


@pytest.mark.parametrize("band", [0.001, 0.05, 0.1, 1.0])
def test_values_are_the_distance_within_the_band(band):
    coords = points()
    values = cuboid(band=band)(coords).squeeze(1)
    expected = (true_distance(coords.numpy()) / (2 * band) + 0.5).clip(0, 1)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-9)


def test_occupancy_is_one_inside():
    coords = points()
    values = cuboid(target="occupancy")(coords).squeeze(1)
    np.testing.assert_array_equal(values.numpy(), true_distance(coords.numpy()) < 0)


def test_the_gradient_is_the_direction_from_the_surface():
    shape, coords = cuboid(band=0.1), points(500).requires_grad_()
    (slope,) = torch.autograd.grad(shape(coords).sum(), coords)
    distance = torch.from_numpy(true_distance(coords.detach().numpy()))
    step = 1e-6
    for axis in range(3):
        there, back = coords.detach().clone(), coords.detach().clone()
        there[:, axis] += step
        back[:, axis] -= step
        rise = (shape(there) - shape(back)).squeeze(1) / (2 * step)
        # Not where the rise itself jumps: at the rim of the band, and where two faces are equally near.
        smooth = (distance.abs() < 0.099) & ((rise.abs() < 1e-3) | ((rise - slope[:, axis]).abs() < 1e-2))
        agree = (rise - slope[:, axis]).abs() < 1e-3
        assert agree[distance.abs() < 0.099].double().mean() > 0.98
        assert smooth.any()
    assert (slope[distance.abs() > 0.101] == 0).all()


def test_values_keep_the_type_and_nan_stays_nan():
    coords = points(10).float()
    coords[3, 1] = torch.nan
    values = cuboid()(coords)
    assert values.dtype == torch.float32
    assert values.isnan().squeeze(1).nonzero().squeeze(1).tolist() == [3]
    with pytest.raises(SoftmineError, match="shape \\(N, 3\\)"):
        cuboid()(torch.rand(5, 2))


def test_coordinates_of_the_mesh_come_back():
    shape = cuboid()
    np.testing.assert_allclose(np.sort(shape.to_mesh(shape.vertices), 0), np.sort(CUBOID, 0))


def test_an_open_mesh_is_inside_where_the_winding_number_says():
    closed = cuboid(target="occupancy")
    tilted = Shape(tidy(CUBOID, CUBE_FACES[:-1], "here"), target="occupancy")
    assert not tilted.closed
    coords = points(20_000, seed=1)
    same = (closed(coords) == tilted(coords)).double().mean()
    # The hole is flat, so the winding number passes a half where the missing triangle was.
    assert same > 0.999
    distances = Shape(tidy(CUBOID, CUBE_FACES[:-1], "here"))
    inside = distances(coords).squeeze(1) < 0.5
    assert (inside == (tilted(coords).squeeze(1) == 1)).all()


def test_the_grid_of_sides_of_an_open_mesh_agrees_with_point_by_point():
    shape = Shape(tidy(CUBOID, CUBE_FACES[:-1], "here"), target="occupancy")
    coords = points(20_000, seed=2)
    asked = shape.tree.winding(coords.numpy()) > 0.5
    # Cells whose neighbors all agree are not asked; a film of points at the hole may be decided by their cell.
    assert (shape(coords).squeeze(1).numpy() == asked).mean() > 0.999


def test_the_prior_is_greatest_at_the_surface():
    shape = cuboid()
    prior = shape.edges(30**3)
    assert prior.shape == (30, 30, 30)
    centers = (np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"), -1) + 0.5) / 30
    distance = np.abs(true_distance(centers))
    np.testing.assert_allclose(prior.numpy(), np.exp(-distance.clip(max=0.24) / 0.02), rtol=1e-4)
    with pytest.raises(SoftmineError, match="at least 1"):
        shape.edges(0)


def test_built_in_shapes_are_the_same_every_time_and_need_no_repair():
    for name in ("knot", "ball"):
        shape = Shape.builtin(name)
        assert shape.fingerprint == Shape.builtin(name).fingerprint
        assert shape.closed
        assert shape.notes == []
    with pytest.raises(SoftmineError, match="no built-in shape 'bal'; try ball"):
        Shape.builtin("bal")


def test_settings_out_of_range_are_refused():
    with pytest.raises(SoftmineError, match="unknown target 'sdf'"):
        cuboid(target="sdf")
    with pytest.raises(SoftmineError, match="the band is 2"):
        cuboid(band=2.0)
