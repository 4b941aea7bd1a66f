"""What is said of lenses."""

import dataclasses

from softmine.radiance.cameras import Camera
from softmine.tasks.nerf.scene_notes import lens_notes

PINHOLE = Camera(100, 80, (50.0, 50.0), (50.0, 40.0))


def test_lenses_are_named():
    bent = dataclasses.replace(PINHOLE, distortion=(0.1, 0.0, 0.0, 0.0, 0.0, -0.2))
    assert lens_notes([PINHOLE] * 3) == ()
    assert lens_notes([bent, bent]) == ("the lens is distorted (k1, p2)",)
    assert lens_notes([PINHOLE, bent]) == ("the lens in 1 view is distorted (k1, p2)",)


def test_a_fisheye_says_how_much_lies_beyond_its_circle():
    fisheye = dataclasses.replace(PINHOLE, lens="fisheye", circle=0.6)
    circle = fisheye.image_circle()
    assert circle is not None
    share = 1 - circle.mean()
    assert 0.6 < share < 0.7
    assert lens_notes([fisheye, PINHOLE]) == (
        f"the lens in 1 view is a fisheye (OPENCV_FISHEYE): {100 * share:.2g}% of the pixels lie beyond its circle and do not "
        "count",
    )
