"""Pictures for a browser's camera."""

import numpy as np
import pytest
import torch

from scene_files import write_llff
from softmine.radiance.field import RadianceField, field_for
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes import read_scene
from softmine.radiance.scenes.procedural import procedural
from softmine.viewing.browser_camera import BrowserCamera, browser_camera_of
from softmine.viewing.frames import NOWHERE, Style, render

SCENE = procedural(size=24, train=3, test=1)
CPU = torch.device("cpu")


class Wall(RadianceField):
    """A red wall: opaque where the unit cube's z is below a half."""

    def geometry(self, points):
        below = (points[:, 2] < 0.5).float()
        return below * 1e4, torch.zeros(len(points), 16)

    def colors(self, geometry, directions, rays):
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(rays), 3)


def renderer():
    corner = 1.5
    field = Wall(
        ((-corner,) * 3, (corner,) * 3),
        near=0.01,
        steps=256,
        levels=2,
        log2_table_size=8,
        finest_resolution=16,
    )
    return Renderer(field, Photos(SCENE))


def above(aspect=1.0):
    """From 3 above the wall's surface, straight down."""
    return BrowserCamera((0.0, 0.0, 3.0), (0.0, 1.0, 0.0, 0.0), fov=0.5, aspect=aspect)


def test_color_depth_and_size():
    frame = render(renderer(), SCENE, above(2.0), 40, Style(occlude=True), device=CPU)
    assert frame.color.shape == (20, 40, 3)
    assert (frame.color[10, 20] == [255, 0, 0]).all()
    # Along the axis, so the same everywhere on a wall that faces the camera.
    assert abs(frame.depth[10, 20] - 3) < 0.05
    assert abs(frame.depth[1, 1] - frame.depth[10, 20]) < 0.05


def test_nothing_is_background_and_hides_nothing():
    away = BrowserCamera((0.0, 0.0, 3.0), (1.0, 0.0, 0.0, 0.0), fov=0.5, aspect=1.0)
    frame = render(renderer(), SCENE, away, 16, Style(background=0.2, occlude=True), device=CPU)
    assert (frame.color == 51).all()
    assert (frame.depth == NOWHERE).all()
    assert render(renderer(), SCENE, away, 16, Style(depth=True), device=CPU).depth is None


def test_depth_as_colors_tells_near_from_far():
    tilted = BrowserCamera((0.0, -1.0, 1.0), (0.383, -0.924, 0.0, 0.0), fov=0.8, aspect=1.0)
    frame = render(renderer(), SCENE, tilted, 32, Style(depth=True), device=CPU)
    assert len({tuple(pixel) for pixel in frame.color.reshape(-1, 3).tolist()}) > 20


def test_a_picture_that_nobody_wants_any_more_is_given_up():
    field = renderer().train()
    asked = []

    def stop():
        asked.append(True)
        return len(asked) > 2

    assert render(field, SCENE, above(), 300, Style(), device=CPU, stop=stop) is None
    assert len(asked) == 3
    assert field.training


def test_the_field_is_left_as_it_was():
    torch.manual_seed(0)
    field = renderer().train()
    before = {name: value.clone() for name, value in field.state_dict().items()}
    view = SCENE.views[0]
    render(field, SCENE, browser_camera_of(view.camera, view.pose), 24, Style(), device=CPU)
    assert field.training
    assert all(torch.equal(value, before[name]) for name, value in field.state_dict().items())


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_normalized_device_coordinates_see_nothing_backwards(tmp_path, direction):
    scene = read_scene(write_llff(tmp_path))
    assert scene.ndc is not None
    field = field_for(scene.bounds, levels=2, log2_table_size=8, finest_resolution=16)
    torch.nn.init.constant_(field.density_network[-1].bias, 5.0)
    # Identity looks along +z, half a turn about x along -z, as the scene's cameras do.
    wxyz = (1.0, 0.0, 0.0, 0.0) if direction > 0 else (0.0, 1.0, 0.0, 0.0)
    look = BrowserCamera((0.0, 0.0, 0.0), wxyz, fov=0.5, aspect=1.0)
    style = Style(background=0.0, occlude=True)
    frame = render(Renderer(field, Photos(scene)), scene, look, 16, style, device=CPU)
    assert np.isfinite(frame.depth).all()
    if direction > 0:
        assert (frame.color == 0).all()
        assert (frame.depth == NOWHERE).all()
    else:
        assert (frame.color > 0).any()
        assert (frame.depth < NOWHERE).any()
