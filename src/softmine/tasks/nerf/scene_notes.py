"""What a person should know of the lenses and masks of a scene's views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from softmine.formatting import several
from softmine.radiance.cameras import Camera
from softmine.radiance.photos import Photos

COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2", "d1", "d2", "d3")
"""Names of ``Camera.distortion``."""
LENSES = {"fisheye": "a fisheye (OPENCV_FISHEYE)", "equirectangular": "a whole panorama (EQUIRECTANGULAR)"}


def lens_notes(cameras: Iterable[Camera]) -> tuple[str, ...]:
    """A note for each kind of lens that is no pinhole, with how much of its photos lies beyond the circle that it shows."""
    kinds: dict[str, list[Camera]] = {}
    for camera in cameras:
        kinds.setdefault(_lens(camera), []).append(camera)
    several_kinds, notes = len(kinds) > 1, []
    for words, alike in kinds.items():
        if not words:
            continue
        number = f" in {several(len(alike), 'view')}" if several_kinds else ""
        note = f"the lens{number} is {words}"
        # Most photos of a scene have one camera.
        circles = ((camera.image_circle(), count) for camera, count in Counter(alike).items())
        beyond = sum(int((~circle).sum()) * count for circle, count in circles if circle is not None)
        if beyond:
            pixels = sum(camera.width * camera.height for camera in alike)
            note += f": {100 * beyond / pixels:.2g}% of the pixels lie beyond its circle and do not count"
        notes.append(note)
    return tuple(notes)


def mask_notes(parts: Iterable[Photos]) -> tuple[str, ...]:
    """A note on how much masks leave out, whoever named them; what lies beyond a lens's circle is none of it."""
    masked = pixels = left_out = 0
    for photos in parts:
        for index, view in enumerate(photos.views):
            camera = view.camera
            pixels += camera.width * camera.height
            if view.mask is None and view.dynamic_mask is None:
                continue
            valid, circle = photos.valid(index), camera.image_circle()
            assert valid is not None
            masked += 1
            left_out += int(np.logical_not(valid).sum()) if circle is None else int((circle & ~valid).sum())
    if not masked:
        return ()
    return (
        f"masks of {several(masked, 'view')} are used, and leave out {100 * left_out / pixels:.2g}% of all pixels",
    )


def _lens(camera: Camera) -> str:
    """What a camera's lens is, in words; nothing for a pinhole."""
    if camera.lens in LENSES:
        return LENSES[camera.lens]
    bends = [name for name, value in zip(COEFFICIENTS, camera.distortion, strict=False) if value]
    return f"distorted ({', '.join(bends)})" if bends else ""
