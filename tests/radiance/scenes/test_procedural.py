"""The built-in scene: what stands where, and that all views are of it."""

import numpy as np

from softmine.radiance.scenes import procedural
from softmine.radiance.scenes.procedural import trace


def down(x, y):
    color, opacity = trace(np.array([[x, y, 5.0]], np.float32), np.array([[0.0, 0.0, -1.0]], np.float32))
    return color[0], opacity[0]


def test_rays_from_above_meet_ball_box_floor_and_nothing():
    ball, box = down(-0.48, -0.2)[0], down(0.4, 0.3)[0]
    assert ball[0] > 1.2 * ball[2]  # red or cream
    assert box[0] > 2 * box[2]  # the yellow top
    floor, opacity = down(0.0, -1.0)
    assert opacity == 1
    assert np.ptp(floor) < 0.1  # gray
    color, opacity = down(1.4, 0.0)
    assert opacity == 0
    assert (color == 0).all()


def test_the_box_shades_the_floor():
    # Two white squares; the box stands between the first and the sun, which is at +x, -y.
    shaded, lit = down(0.05, 0.75)[0], down(0.65, -1.05)[0]
    np.testing.assert_allclose(shaded / lit, 0.35 / (0.35 + 0.65 * 0.82 / 0.9987), rtol=1e-4)


def test_views_are_rgba_in_two_splits_and_made_once():
    scene = procedural(40, 3, 2)
    assert scene is procedural(40, 3, 2)
    assert [len(scene.split(name)) for name in ("train", "test")] == [3, 2]
    for view in scene.views:
        assert view.pixels.shape == (40, 40, 4)
        assert view.pixels.dtype == np.uint8
        assert 0 < (view.pixels[..., 3] > 0).mean() < 0.9
        np.testing.assert_allclose(np.linalg.norm(view.pose[:, 3]), 4)
        border = np.concatenate((view.pixels[0], view.pixels[-1], view.pixels[:, 0], view.pixels[:, -1]))
        assert (border[:, 3] == 0).all()  # the picture holds all of it


def test_everything_lies_in_the_box_of_the_scene():
    random = np.random.default_rng(0)
    directions = random.normal(size=(5000, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    # Rays that start on the surface of the box and go out meet nothing.
    starts = 1.5 * np.sign(directions) * np.float32(1.0)
    _, opacity = trace(starts.astype(np.float32), directions)
    assert opacity.sum() == 0
