"""COLMAP scenes: a sparse model beside a folder of photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Camera, Cameras, Pose
from softmine.radiance.scenes import checks, image_folders
from softmine.radiance.scenes.colmap_files import (
    StoredCamera,
    StoredImage,
    read_cameras,
    read_images,
    read_points,
)
from softmine.radiance.scenes.scene import CAMERA_FAR, CAMERA_NEAR, Bounds, Scene, View, hold_out, normalize

PLACES = ("sparse/0", "sparse", "colmap/sparse/0", ".")
LENSES = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
"""Camera models that are read, and what their parameters are."""


def find(folder: Path) -> Path | None:
    """The folder of the model, where a scene's folder has one."""
    for place in PLACES:
        model = folder / place
        if any((model / f"cameras.{ending}").is_file() for ending in ("bin", "txt")):
            return model
    return None


def read(folder: Path, model: Path, downscale: int = 1) -> Scene:
    """Reads a model and the pictures in ``images`` (or ``images_2`` and so on); every eighth, by name, is for testing.

    The scene is unbounded; its world is moved and scaled so that the cameras lie in the unit ball.

    Raises:
        SoftmineError: a file is damaged, a camera model is not one of ``LENSES``, or pictures do not fit.
    """
    pictures = image_folders.choose(folder, downscale)
    cameras = read_cameras(model)
    stored = read_images(model)
    if not stored:
        raise SoftmineError(f"cannot read {model}: it has no image with a pose; run COLMAP's mapper again")
    where = f"{model}: image"
    images = [
        checks.inside(pictures.folder, image.name, f"{where} {image.name!r}: its name") for image in stored
    ]
    checks.refuse_missing(images, "pictures", f"{model} with {pictures.folder}")
    full = {number: _camera(camera, f"{model}: camera {number}") for number, camera in cameras.items()}
    views = []
    for entry, image in zip(stored, images, strict=True):
        here = f"{where} {entry.name!r}"
        if entry.camera not in full:
            raise SoftmineError(f"{here} names camera {entry.camera}, which {model} does not have")
        camera = full[entry.camera]
        size = checks.smaller(image, camera.width, camera.height, pictures.factor, here)
        camera = camera.resized(*size).downscaled(pictures.downscale)
        views.append(View(image.relative_to(folder).as_posix(), camera, _pose(entry, here), "train", image))
    moved, center, scale = normalize(hold_out(views), str(model))
    points = read_points(model)
    if points is not None:
        points = (points - np.array(center)) * scale
    return Scene(
        name=folder.resolve().name,
        path=folder,
        views=moved,
        has_alpha=any(checks.header(image).has_alpha for image in images),
        bounds=Bounds("unbounded", _near(moved, points), CAMERA_FAR),
        center=center,
        scale=scale,
        downscale=pictures.downscale,
        points=points,
        files=tuple(
            sorted(path for path in model.glob("*") if path.stem in ("cameras", "images", "points3D"))
        ),
        notes=checks.extra_note(images, pictures.folder),
    )


def _near(views: tuple[View, ...], points: np.ndarray | None) -> float:
    """Half the depth of the nearest points: of all but a hundredth of those that a view has in its picture."""
    if points is None:
        return CAMERA_NEAR
    points = points[:: max(1, len(points) // 20_000)]
    nearest = []
    cameras = Cameras([view.camera for view in views], [view.pose for view in views])
    for index, view in enumerate(views):
        pixels, depth = cameras.project(torch.full((len(points),), index), torch.from_numpy(points).float())
        size = torch.tensor([view.camera.height, view.camera.width])
        seen = depth[(depth > 0) & (pixels >= 0).all(-1) & (pixels < size).all(-1)]
        if len(seen):
            nearest.append(float(seen.quantile(0.01)))
    return max(0.001, 0.5 * min(nearest)) if nearest else CAMERA_NEAR


def _camera(stored: StoredCamera, where: str) -> Camera:
    if stored.model not in LENSES:
        raise SoftmineError(
            f"{where} is of the model {stored.model}, but only {', '.join(LENSES)} are read; "
            "undistort the pictures first (colmap image_undistorter)"
        )
    names = LENSES[stored.model]
    if len(stored.parameters) != len(names):
        raise SoftmineError(
            f"{where} has {len(stored.parameters)} parameters, but {stored.model} has {len(names)}: {', '.join(names)}"
        )
    values = dict(zip(names, stored.parameters, strict=True))
    for name, value in values.items():
        checks.number(values, name, where)
        if name in ("f", "fx", "fy"):
            checks.positive(value, name, where)
    if not (1 <= stored.width <= checks.MAX_SIDE and 1 <= stored.height <= checks.MAX_SIDE):
        raise SoftmineError(f"{where} is {stored.width} x {stored.height} pixels, which no picture is")
    focal = values.get("f", 0.0)
    k1, k2, p1, p2 = (values.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))
    return Camera(
        stored.width,
        stored.height,
        (values.get("fx", focal), values.get("fy", focal)),
        (values["cx"], values["cy"]),
        (k1, k2, 0.0, 0.0, p1, p2),
    )


def _pose(stored: StoredImage, where: str) -> Pose:
    """Camera to world, of what is stored: world to camera."""
    quaternion, translation = np.array(stored.quaternion), np.array(stored.translation)
    length = np.linalg.norm(quaternion)
    if not np.isfinite(quaternion).all() or not np.isfinite(translation).all() or length < 1e-6:
        raise SoftmineError(f"{where}: its pose holds NaN, infinity or a quaternion of zeros; drop the image")
    w, x, y, z = quaternion / length
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.concatenate((rotation.T, -(rotation.T @ translation)[:, None]), 1)
