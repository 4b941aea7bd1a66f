"""Rays and projections against each other, known answers, and finite differences."""

import numpy as np
import pytest
import torch

from softmine import SoftmineError
from softmine.radiance.cameras import Camera, Cameras, Rays, from_opengl, to_ndc

LENS = (-0.1, 0.02, -0.003, 0.0004, 0.004, -0.003)


def turned(seed):
    """A pose drawn at random."""
    random = np.random.default_rng(seed)
    rotation, upper = np.linalg.qr(random.normal(size=(3, 3)))
    rotation = rotation * np.sign(np.diag(upper))
    if np.linalg.det(rotation) < 0:
        rotation[:, 0] *= -1
    return np.concatenate((rotation, random.normal(size=(3, 1))), 1)


def some(count=5):
    cameras = [
        Camera(80 + 10 * i, 60 + 5 * i, (70.0 + i, 75.0 - i), (41.0 + i, 28.0), LENS if i % 2 else (0.0,) * 6)
        for i in range(count)
    ]
    return Cameras(cameras, [turned(seed) for seed in range(count)]).double()


def pixels(views, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(len(views), 2, generator=random, dtype=torch.float64) * torch.tensor([60.0, 80.0])


def test_axes_of_a_camera_that_has_not_been_turned():
    cameras = Cameras([Camera(4, 2, (2.0, 2.0), (2.0, 1.0))], [np.eye(4)[:3]])
    zero = torch.zeros(4, dtype=torch.int64)
    at = torch.tensor([[1.0, 2.0], [1.0, 4.0], [2.0, 2.0], [0.5, 0.5]])
    directions = cameras.rays(zero, at).directions
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 0.5, 1], [-0.75, -0.25, 1]])
    torch.testing.assert_close(directions, expected / expected.norm(dim=-1, keepdim=True))


def test_opengl_axes_are_turned_about_x():
    pose = np.arange(12.0).reshape(3, 4)
    turned = from_opengl(pose)
    np.testing.assert_array_equal(turned, [[0, -1, -2, 3], [4, -5, -6, 7], [8, -9, -10, 11]])


def test_a_point_on_a_ray_projects_to_its_pixel_through_distortion():
    cameras = some()
    views = torch.arange(500) % 5
    at = pixels(views)
    origins, directions = cameras.rays(views, at)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(500, dtype=torch.float64))
    distance = torch.linspace(0.1, 30, 500, dtype=torch.float64)[:, None]
    back, depth = cameras.project(views, origins + distance * directions)
    torch.testing.assert_close(back, at, rtol=0, atol=1e-4)  # poses are kept in float32
    assert (depth > 0).all()
    assert (cameras.project(views, origins - distance * directions)[1] < 0).all()


def test_samples_of_different_cameras_do_not_mix():
    cameras = some()
    views = torch.tensor([3, 0, 4, 1])
    together = cameras.rays(views, pixels(views))
    for index, view in enumerate(views.tolist()):
        alone = cameras.rays(views[index : index + 1], pixels(views)[index : index + 1])
        torch.testing.assert_close(alone.directions[0], together.directions[index])
        torch.testing.assert_close(alone.origins[0], cameras.poses[view, :, 3])


def test_gradient_of_rays_and_ndc_in_the_pixels():
    cameras, views = some(), torch.arange(10) % 5
    at = pixels(views).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: cameras.rays(views, each).directions, at)

    flat = Cameras([Camera(80, 60, (70.0, 70.0), (40.0, 30.0), LENS)], [from_opengl(np.eye(4)[:3])]).double()
    first = torch.zeros(10, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda each: to_ndc(flat.rays(first, each), (1.75, 2.3), 1.0), at)


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_downscaled_sees_the_same_rays_at_scaled_pixels(factor):
    full = Camera(80, 60, (70.0, 75.0), (41.0, 28.0), LENS)
    small = full.downscaled(factor)
    assert (small.width, small.height) == (80 // factor, 60 // factor)
    cameras = Cameras([full, small], [turned(0)] * 2).double()
    views = torch.zeros(20, dtype=torch.int64)
    at = pixels(views)
    expected = cameras.rays(views, at).directions
    torch.testing.assert_close(cameras.rays(views + 1, at / factor).directions, expected, rtol=0, atol=1e-6)
    resized = Cameras([full.resized(160, 30)], [turned(0)]).double()
    stretched = at * torch.tensor([0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(resized.rays(views, stretched).directions, expected, rtol=0, atol=1e-6)


def test_downscale_that_leaves_nothing_is_refused():
    with pytest.raises(SoftmineError, match="downscale is 9, but the images are 8 x 8"):
        Camera(8, 8, (8.0, 8.0), (4.0, 4.0)).downscaled(9)


def test_a_lens_that_folds_the_picture_is_refused_by_name():
    camera = Camera(80, 60, (40.0, 40.0), (40.0, 30.0), (-0.6, 0.0, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(SoftmineError, match=r"distortion of left.png folds"):
        Cameras([camera], [np.eye(4)[:3]], ["left.png"])


def test_ndc_of_points_is_the_perspective_matrix():
    """A point on a ray goes to the point that the projection matrix of appendix C sends it to, on the new ray."""
    random = torch.Generator().manual_seed(0)
    origins = torch.randn(100, 3, generator=random, dtype=torch.float64) * 0.2
    directions = torch.randn(100, 3, generator=random, dtype=torch.float64) * 0.3
    directions[:, 2] = -1 - directions[:, 2].abs()
    scale, near = (1.7, 2.1), 1.5
    new = to_ndc(Rays(origins, directions), scale, near)
    points = origins + torch.linspace(2, 50, 100, dtype=torch.float64)[:, None] * directions
    x, y, z = points.unbind(-1)
    expected = torch.stack((-scale[0] * x / z, -scale[1] * y / z, 1 + 2 * near / z), -1)
    t = (expected - new.origins)[:, 2:] / new.directions[:, 2:]
    assert ((t > 0) & (t < 1)).all()
    torch.testing.assert_close(new.origins + t * new.directions, expected)
    torch.testing.assert_close(new.origins[:, 2], -torch.ones(100, dtype=torch.float64))
    torch.testing.assert_close((new.origins + new.directions)[:, 2], torch.ones(100, dtype=torch.float64))
