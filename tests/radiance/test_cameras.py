"""Rays and projections against each other, known answers, and finite differences."""

import dataclasses
import math

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


FISHEYE = Camera(80, 60, (22.0, 23.0), (41.0, 28.0), (0.03, -0.01, 0.002, -0.0003, 0.0, 0.0), "fisheye")
PANORAMA = Camera(80, 40, (80 / (2 * math.pi), 40 / math.pi), (40.0, 20.0), lens="equirectangular")
RATIONAL = Camera(80, 60, (70.0, 75.0), (41.0, 28.0), (0.5, -0.2, 0.1, 0.0, 1e-3, -1e-3, 0.4, -0.1, 0.05))


def mixed():
    plain = Camera(80, 60, (70.0, 75.0), (41.0, 28.0), LENS)
    cameras = [FISHEYE, PANORAMA, RATIONAL, plain]
    return Cameras(cameras, [turned(seed) for seed in range(4)]).double()


def test_lenses_of_all_kinds_project_their_rays_back():
    cameras, views = mixed(), torch.arange(800) % 4
    at = pixels(views) * torch.tensor([40 / 60, 1.0], dtype=torch.float64)
    inside = (at - torch.tensor([28.0, 41.0])).norm(dim=-1) < 37
    origins, directions = cameras.rays(views, at)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(800, dtype=torch.float64))
    back, depth = cameras.project(views, origins + 3 * directions)
    torch.testing.assert_close(back[inside], at[inside], rtol=0, atol=1e-3)  # poses are kept in float32
    assert (depth[inside] > 0).all()
    alone = Cameras([FISHEYE], [turned(0)]).double().rays(views[::4], at[::4])
    torch.testing.assert_close(directions[::4], alone.directions)
    local = (cameras.poses[0, :, :3].double().T @ directions[::4].T).T
    assert (local[:, 2] < 0).any()  # it sees behind itself
    ahead = at[::4].requires_grad_()
    assert torch.autograd.gradcheck(lambda each: cameras.rays(views[::4], each).directions[:20], ahead)


def test_fisheye_rays_are_those_of_the_formula():
    cameras = Cameras([FISHEYE], [np.eye(4)[:3]]).double()
    angle, turn = 1.2, 0.7
    k1, k2, k3, k4 = FISHEYE.distortion[:4]
    radius = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    pixel = [28.0 + 23 * radius * math.sin(turn), 41.0 + 22 * radius * math.cos(turn)]
    zero = torch.zeros(1, dtype=torch.int64)
    expected = [math.sin(angle) * math.cos(turn), math.sin(angle) * math.sin(turn), math.cos(angle)]
    found = cameras.rays(zero, torch.tensor([pixel], dtype=torch.float64)).directions
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-7)
    back, depth = cameras.project(zero, 2 * torch.tensor([expected], dtype=torch.float64))
    torch.testing.assert_close(back, torch.tensor([pixel], dtype=torch.float64), rtol=0, atol=1e-5)
    assert depth.item() == pytest.approx(2)


def test_panoramas_look_ahead_in_the_middle_and_right_of_it():
    cameras = Cameras([PANORAMA], [np.eye(4)[:3]])
    at = torch.tensor([[20.0, 40.0], [20.0, 60.0], [20.0, 0.0], [0.0, 40.0], [30.0, 40.0]])
    found = cameras.rays(torch.zeros(5, dtype=torch.int64), at).directions
    half = math.sqrt(0.5)
    expected = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 0, -1], [0, -1, 0], [0, half, half]])
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-6)


def test_pixels_beyond_the_circle_of_a_fisheye_are_left_out():
    assert Camera(80, 60, (70.0, 75.0), (41.0, 28.0), LENS).image_circle() is None
    assert PANORAMA.image_circle() is None
    lens = (-0.1, 0.0, 0.0, 0.0, 0.0, 0.0)  # turns at 1.826, where the radius is 1.217
    camera = Camera(80, 60, (22.0, 22.0), (40.0, 30.0), lens, "fisheye")
    rows, columns = np.mgrid[:60, :80] + 0.5
    distance = np.hypot(rows - 30, columns - 40) / 22
    for shown, radius in ((camera, 1.2172), (dataclasses.replace(camera, circle=0.5), 0.5)):
        inside = shown.image_circle()
        assert inside is not None
        np.testing.assert_array_equal(inside[distance < radius - 0.04], True)
        np.testing.assert_array_equal(inside[distance > radius], False)
        small = shown.downscaled(2).image_circle()
        assert small is not None
        assert (inside[::2, ::2] & inside[1::2, 1::2] & inside[1::2, ::2] & inside[::2, 1::2])[small].all()
    # Rays of the pixels outside stay finite, for they are rendered with the others.
    cameras = Cameras([camera], [np.eye(4)[:3]])
    at = torch.tensor([[0.5, 0.5], [59.5, 79.5]], requires_grad=True)
    rays = cameras.rays(torch.zeros(2, dtype=torch.int64), at)
    (gradient,) = torch.autograd.grad(rays.directions.sum(), at)
    assert rays.directions.isfinite().all()
    assert gradient.isfinite().all()
    beyond = torch.tensor([[0.0, 0.1, -1.0]])
    assert cameras.project(torch.zeros(1, dtype=torch.int64), beyond)[1].item() < 0
