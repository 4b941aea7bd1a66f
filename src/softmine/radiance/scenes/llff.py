"""LLFF scenes: ``poses_bounds.npy`` beside folders of photos."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Camera, Cameras, to_ndc
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.photo_masks import dynamic_mask, dynamic_notes, masks_for
from softmine.radiance.scenes.photo_paths import (
    choose_folder,
    image_folders,
    photos_in,
    refuse_outside,
    relative_name,
)
from softmine.radiance.scenes.scene import Bounds, Ndc, Scene, View, held_out_note, hold_out, unbounded_scene

NEAREST = 4 / 3
"""Distance of the nearest point after scaling, so that the near plane at 1 lies before all points (as in NeRF)."""
NEAR_PLANE = 1.0


def read(folder: Path, downscale: int = 1, images: Path | None = None) -> Scene:
    """Reads ``poses_bounds.npy`` (N, 17) and the N images, sorted by name; every eighth is for testing.

    A row is a pose (3, 5), whose columns are the camera's down, right and backward axes, its center, and
    (height, width, focal length) at full size, then the depths of the nearest and farthest point.

    Where all cameras look one way, the world becomes that of their mean camera (+y up, looking along -z), scaled so
    that the nearest depth is 4/3, and rays go to normalized device coordinates (Mildenhall et al. 2020). Where they
    look around, the scene is unbounded.

    Raises:
        SoftmineError: the file is damaged, or does not fit the images.
    """
    file = folder / "poses_bounds.npy"
    table = _table(file)
    folders = image_folders(folder, downscale, images)

    def missing(place: Path) -> int:
        return abs(len(table) - len(photos_in(place)))

    place, notes = choose_folder(folders, missing, downscale)
    photos = photos_in(place.folder)
    if len(photos) != len(table):
        raise SoftmineError(
            f"{file} has poses for {len(table)} images, but {place.folder} holds {len(photos)}; "
            "they must be the same ones, sorted by name"
        )
    moving = [dynamic_mask(photo) for photo in photos]
    masks = masks_for(photos, place.folder, place.factor, folder, (folder, images))
    refuse_outside([*photos, *masks.paths, *moving], folder, (images,), f"cannot read {folder}")
    views, sizes = [], {}
    for index, (row, image) in enumerate(zip(table, photos, strict=True)):
        where = f"{file}: row {index} ({image.name})"
        matrix = row[:15].reshape(3, 5)
        camera = _camera(matrix[:, 4], where)
        size = sizes[image] = checks.smaller(image, camera.width, camera.height, place.factor, where)
        camera = camera.resized(size.width, size.height).downscaled(place.downscale)
        # Columns down, right, back -> right, down, forward.
        pose = np.stack((matrix[:, 1], matrix[:, 0], -matrix[:, 2], matrix[:, 3]), 1)
        pose = checks.rigid(pose, f"{where}: the pose")
        views.append(
            View(
                relative_name(image, folder, images), camera, pose, "train", image, masks.paths[index],
                dynamic_mask=moving[index], upright=size.upright, mask_factor=masks.factor,
            )
        )  # fmt: skip
    notes = (
        *notes, *checks.size_notes(sizes, place.downscale), *masks.notes, *dynamic_notes(views), *_alpha_notes(sizes),
    )  # fmt: skip
    views = hold_out(views)
    nearest = float(table[:, 15].min())
    common = {"downscale": place.downscale, "files": (file,), "divided": held_out_note(views)}
    scene = Scene(folder.resolve().name, file, (), Bounds("ndc", 0.0, 1.0), notes=notes, **common)
    facing = _face_forward(views, NEAREST / nearest, scene)
    if facing:
        return facing
    note = "the cameras do not all look one way, so the scene is unbounded and not in NDC"
    scene = unbounded_scene(file, views, str(file), notes=(note, *notes), **common)
    return replace(scene, bounds=replace(scene.bounds, near=0.5 * nearest * scene.scale))


def _table(file: Path) -> np.ndarray:
    content: Any = None
    data = checks.read_bytes(file)
    try:
        content = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise SoftmineError(
            f"cannot read {file}: it is a truncated or damaged NPY; get a complete copy"
        ) from error
    if not isinstance(content, np.ndarray) or content.ndim != 2 or content.shape[1] != 17 or not len(content):
        shape = content.shape if isinstance(content, np.ndarray) else "an archive"
        raise SoftmineError(f"cannot read {file}: it must hold rows of 17 numbers, but is {shape}")
    if content.dtype.kind not in "fiu":
        raise SoftmineError(f"cannot read {file}: its values are {content.dtype.name}, not numbers")
    table = content.astype(np.float64)
    bad = np.flatnonzero(~(np.abs(table) <= checks.LARGEST).all(1))
    if len(bad):
        raise SoftmineError(
            f"{file}: row {bad[0]} holds NaN, infinity or more than {checks.LARGEST:g}; estimate the poses again"
        )
    wrong = np.flatnonzero(~((table[:, 15] > 0) & (table[:, 16] > table[:, 15])))
    if len(wrong):
        low, high = table[wrong[0], 15:]
        raise SoftmineError(
            f"{file}: row {wrong[0]} has the depths {low:g} to {high:g}, but they must be above 0 and rise"
        )
    return table


def _alpha_notes(sizes: Mapping[Path, checks.Size]) -> tuple[str, ...]:
    found = sum(size.header.has_alpha for size in sizes.values())
    return (f"the opacity of {found} photos is not used",) if found else ()


def _camera(size: np.ndarray, where: str) -> Camera:
    height, width, focal = size.tolist()
    for value, key in ((height, "height"), (width, "width"), (focal, "focal length")):
        checks.positive(value, key, where)
    if height != int(height) or width != int(width) or max(height, width) > checks.MAX_SIDE:
        raise SoftmineError(
            f"{where}: its size is {width:g} x {height:g}, but must be whole numbers of pixels"
        )
    return Camera(int(width), int(height), (focal, focal), (width / 2, height / 2))


def _face_forward(views: list[View], scale: float, scene: Scene) -> Scene | None:
    """The scene in the frame of its mean camera, or None where a pixel looks sideways or backwards."""
    poses = np.stack([view.pose for view in views])
    center = poses[:, :, 3].mean(0)
    back = -poses[:, :, 2].sum(0)
    right = np.cross(-poses[:, :, 1].sum(0), back)
    if min(np.linalg.norm(back), np.linalg.norm(right)) < 1e-6 * len(views):
        return None
    back, right = back / np.linalg.norm(back), right / np.linalg.norm(right)
    turn = np.stack((right, np.cross(back, right), back))
    scene = scene.placed(views, center, scale, turn)
    first = views[0].camera
    focal = float(np.mean([view.camera.focal[0] / view.camera.width for view in views]))
    ndc = Ndc((2 * focal, 2 * focal * first.width / first.height), NEAR_PLANE)
    corners = _corners(scene.views, ndc)
    if corners is None:
        return None
    low, high = corners.min(0).tolist(), corners.max(0).tolist()
    bounds = Bounds("ndc", 0.0, 1.0, (low[0], low[1], -1.0), (high[0], high[1], 1.0))
    return replace(scene, bounds=bounds, ndc=ndc)


def _corners(views: tuple[View, ...], ndc: Ndc) -> np.ndarray | None:
    """Where in NDC (x, y) the rays through the images' corners begin and end: all rays lie between these."""
    cameras = Cameras([view.camera for view in views], [view.pose for view in views])
    pixels = [
        [(y * view.camera.height, x * view.camera.width) for y in (0.0, 1.0) for x in (0.0, 1.0)]
        for view in views
    ]
    which = torch.arange(len(views)).repeat_interleave(4)
    rays = cameras.rays(which, torch.tensor(pixels).view(-1, 2))
    # Steeper than 80 degrees off the axis, NDC stretches without end; and the near plane must lie ahead.
    if float(rays.directions[:, 2].max()) > -0.17 or float(rays.origins[:, 2].min()) < -NEAR_PLANE:
        return None
    origins, directions = to_ndc(rays, ndc.scale, ndc.near)
    return torch.cat((origins, origins + directions))[:, :2].numpy()
