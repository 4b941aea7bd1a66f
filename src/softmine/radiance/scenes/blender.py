"""Blender scenes: ``transforms_train.json`` and its like, as NeRF-Synthetic has them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from softmine.errors import SoftmineError
from softmine.radiance.scenes.scene import CAMERA_FAR, CAMERA_NEAR, Bounds, Scene, View, hold_out, normalize
from softmine.radiance.scenes.transforms import read_frames

HALF_SIDE = 1.5
"""Objects of NeRF-Synthetic lie in [-1.5, 1.5]^3."""


def read(folder: Path, downscale: int = 1) -> Scene:
    """Reads ``transforms_train.json`` with ``transforms_test.json``, or ``transforms_val.json`` where there is no test.

    With neither, every eighth training view is held out. Pictures with opacity are taken for renderings of an object
    in [-1.5, 1.5]^3; pictures without for photos of an unbounded scene.

    Raises:
        SoftmineError: a file is damaged, or does not fit the others.
    """
    train = folder / "transforms_train.json"
    views, has_alpha, _ = read_frames(train, "train")
    files, notes = [train], []
    others = [folder / "transforms_test.json", folder / "transforms_val.json"]
    other = next((path for path in others if path.is_file()), None)
    if other:
        held, held_alpha, _ = read_frames(other, "test")
        views, has_alpha, files = [*views, *held], has_alpha or held_alpha, [*files, other]
    else:
        views = hold_out(views)
        notes.append("there is no transforms_test.json, so every eighth view is for testing")
    views = tuple(replace(view, camera=view.camera.downscaled(downscale)) for view in views)
    name = folder.resolve().name
    if has_alpha:
        bounds = box_bounds(views, HALF_SIDE, str(train))
        return Scene(
            name, folder, views, True, bounds, downscale=downscale, files=tuple(files), notes=tuple(notes)
        )
    views, center, scale = normalize(views, str(train))
    bounds = Bounds("unbounded", CAMERA_NEAR, CAMERA_FAR)
    return Scene(
        name, folder, views, False, bounds, None, center, scale, downscale, None, tuple(files), tuple(notes)
    )


def box_bounds(views: tuple[View, ...], half: float, where: str) -> Bounds:
    """Bounds of an object in [-half, half]^3, which cameras see from outside or inside.

    Raises:
        SoftmineError: no camera looks at the box.
    """
    centers = np.stack([view.pose[:, 3] for view in views])
    axes = np.stack([view.pose[:, 2] for view in views])
    distance = np.linalg.norm(centers, axis=-1)
    reach = half * math.sqrt(3)
    ahead = -(centers * axes).sum(-1)
    if not ((ahead > 0) | (distance < reach)).any():
        raise SoftmineError(
            f"{where}: no camera looks at the origin, where the object must be; its axes are not those of OpenGL"
        )
    near = max(CAMERA_NEAR, float(distance.min()) - reach)
    return Bounds("box", near, float(distance.max()) + reach, (-half, -half, -half), (half, half, half))
