"""Ways for a camera through a scene: around it, or to and fro before it."""

from __future__ import annotations

import math

import numpy as np

from softmine.errors import ArgumentError
from softmine.radiance.cameras import Camera, Pose, look_along
from softmine.radiance.scenes.scene import Scene

ALIGNED = 0.95
"""Cosine from which an estimated direction is taken to be an axis that it is near to."""
TOGETHER = 0.8
"""Length of the mean viewing direction from which cameras look one way."""
TURNS = 2
"""Of a spiral."""


def orbit(scene: Scene, frames: int) -> list[Pose]:
    """Poses once around the scene's center, at the cameras' mean height and distance, looking at it.

    Upwards is the mean of the cameras' own, or the axis that this is near to.

    Raises:
        SoftmineError: the cameras look one way: behind what they see there is nothing.
    """
    if scene.bounds.kind == "ndc":
        raise ArgumentError(
            "the cameras of this scene all look one way, so there is nothing to see from around it: use {views} spiral"
        )
    poses = _poses(scene)
    low, high = np.array(scene.bounds.low), np.array(scene.bounds.high)
    center = (low + high) / 2
    up = _axis(-poses[:, :, 1].sum(0))
    away = poses[:, :, 3] - center
    height = float((away @ up).mean())
    distance = float(np.linalg.norm(away, axis=-1).mean())
    reach = math.sqrt(max(distance**2 - height**2, (0.1 * distance) ** 2))
    # Where the first camera stands is where it begins.
    ahead = away[0] - (away[0] @ up) * up
    if np.linalg.norm(ahead) < 1e-6 * distance:
        ahead = np.cross(up, np.roll(up, 1))
    ahead /= np.linalg.norm(ahead)
    beside = np.cross(up, ahead)
    angles = 2 * np.pi * np.arange(frames) / frames
    return [
        look_at(center + reach * (math.cos(a) * ahead + math.sin(a) * beside) + height * up, center, up)
        for a in angles
    ]


def spiral(scene: Scene, frames: int, focus: float) -> list[Pose]:
    """Poses on two turns of a spiral around the cameras' middle, as wide as nine in ten of them are spread.

    All look at the point at a distance of ``focus`` before the middle (the path of LLFF, arXiv 1905.00889).

    Raises:
        SoftmineError: the cameras do not look one way.
    """
    poses = _poses(scene)
    ahead = poses[:, :, 2].mean(0)
    if np.linalg.norm(ahead) < TOGETHER:
        raise ArgumentError(
            "the cameras of this scene look all ways, so there is no middle to circle: use {views} orbit"
        )
    middle, up = poses[:, :, 3].mean(0), -poses[:, :, 1].mean(0)
    base = look_at(middle, middle + ahead, up)
    spread = np.percentile(np.abs((poses[:, :, 3] - middle) @ base[:, :3]), 90, axis=0)
    target = middle + focus * base[:, 2]
    found = []
    for angle in 2 * np.pi * TURNS * np.arange(frames) / frames:
        offset = spread * [math.cos(angle), math.sin(angle), math.sin(angle / TURNS)]
        found.append(look_at(middle + base[:, :3] @ offset, target, up))
    return found


def look_at(center: np.ndarray, target: np.ndarray, up: np.ndarray) -> Pose:
    """The pose of a camera at ``center`` that looks at ``target`` with ``up`` upwards; all (3,)."""
    return look_along(center, (target - center) / np.linalg.norm(target - center), up)


def film_camera(camera: Camera, width: int | None, height: int | None) -> Camera:
    """A camera without distortion that sees as much from top to bottom as ``camera``, of another size.

    Where only one of width and height is given, the other follows; without either both stay. They are made even, as
    films need them.
    """
    if width is None and height is None:
        width, height = camera.width, camera.height
    elif height is None:
        height = round(camera.height * width / camera.width) if width else camera.height
    elif width is None:
        width = round(camera.width * height / camera.height)
    assert width is not None
    width, height = max(2, width // 2 * 2), max(2, height // 2 * 2)
    focal = camera.focal[1] * height / camera.height
    return Camera(width, height, (focal, focal), (width / 2, height / 2))


def photo_camera(camera: Camera, width: int | None, height: int | None) -> Camera:
    """``camera`` with its whole image scaled to a width or a height.

    Raises:
        SoftmineError: both are given, and do not fit its image.
    """
    if width is None and height is None:
        return camera
    factor = width / camera.width if width else (height or 0) / camera.height
    size = (width or max(1, round(camera.width * factor)), height or max(1, round(camera.height * factor)))
    if width and height and abs(height - camera.height * factor) > 1:
        raise ArgumentError(
            "{width} {across} and {height} {down} do not fit photos of {photo}: give one of them",
            across=width,
            down=height,
            photo=f"{camera.width} x {camera.height}",
        )
    return camera.resized(*size)


def _poses(scene: Scene) -> np.ndarray:
    return np.stack([view.pose for view in scene.split("train")])


def _axis(direction: np.ndarray) -> np.ndarray:
    """A direction with length 1, or the axis of the world that it is near to."""
    direction = direction / max(float(np.linalg.norm(direction)), 1e-12)
    nearest = int(np.abs(direction).argmax())
    if abs(direction[nearest]) < ALIGNED:
        return direction
    return np.eye(3)[nearest] * np.sign(direction[nearest])
