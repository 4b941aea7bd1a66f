import math

import numpy as np
import pytest
import torch

from softmine.radiance.cameras import Cameras, focus
from softmine.radiance.scenes.procedural import procedural
from softmine.viewing.browser_camera import BrowserCamera, browser_camera_of, upward


def test_a_view_of_the_scene_is_seen_along_the_same_rays():
    view = procedural(size=24, train=3, test=1).views[1]
    look = browser_camera_of(view.camera, view.pose)
    pixels = torch.cartesian_prod(torch.arange(24), torch.arange(24)).float() + 0.5
    first = torch.zeros(576, dtype=torch.int64)
    rays = Cameras([look.camera(24)], [look.pose()]).rays(first, pixels)
    expected = Cameras([view.camera], [view.pose]).rays(first, pixels)
    torch.testing.assert_close(rays.origins, expected.origins)
    torch.testing.assert_close(rays.directions, expected.directions, atol=1e-5, rtol=0)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("side", [50, 501])
def test_the_angle_does_not_depend_on_the_resolution(aspect, side):
    look = BrowserCamera((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), fov=1.2, aspect=aspect)
    camera = look.camera(side)
    assert (camera.width, camera.height) == look.size(side)
    assert max(camera.width, camera.height) == side
    assert 2 * math.atan(camera.height / 2 / camera.focal[1]) == pytest.approx(1.2, abs=0.02)
    assert camera.focal == (look.camera(10 * side).focal[0] / 10,) * 2


def test_up_and_focus_are_those_of_the_built_in_scene():
    poses = [view.pose for view in procedural(size=8, train=40, test=1).views]
    assert np.array(upward(poses)) @ [0.0, 0.0, 1.0] > 0.95
    assert np.abs(focus(poses)).max() < 0.1
