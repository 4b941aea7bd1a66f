"""Frames of a ``transforms.json``: what Blender's, instant-ngp's and nerfstudio's have in common."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Camera, from_opengl
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.scene import View

MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
"""Camera models whose lens is one of ``softmine.radiance.lens_distortion``."""
FOCALS = (("fl_x", "camera_angle_x"), ("fl_y", "camera_angle_y"))
"""Two names each, of which one will do."""
SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG")


def read_frames(file: Path, split: str) -> tuple[list[View], bool, dict[str, Any]]:
    """Views of one file (full size), whether any has opacity, and the file's content.

    What a frame says of its camera goes before what the file says of all. Focal lengths may be ``fl_x``, ``fl_y``
    in pixels or ``camera_angle_x``, ``camera_angle_y`` in radians; the size defaults to the picture's own, the
    principal point to its middle. Camera axes are those of OpenGL.

    Raises:
        SoftmineError: a field is missing or wrong, a picture is missing or of another size.
    """
    content = checks.read_json(file)
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise SoftmineError(f"cannot read {file}: it has no list of 'frames'; it is not a file of poses")
    if not frames:
        raise SoftmineError(f"cannot read {file}: its list of 'frames' is empty; it needs views")
    folder = file.parent
    images = [
        _find(checks.inside(folder, frame.get("file_path"), f"{file}: 'file_path' of frame {index}"))
        for index, frame in enumerate(frames)
    ]
    checks.refuse_missing(images, "pictures", str(file))
    masks = [
        None
        if frame.get("mask_path") is None
        else checks.inside(folder, frame["mask_path"], f"{file}: 'mask_path' of frame {index}")
        for index, frame in enumerate(frames)
    ]
    checks.refuse_missing([mask for mask in masks if mask], "masks", str(file))
    views, has_alpha = [], False
    for index, (frame, image, mask) in enumerate(zip(frames, images, masks, strict=True)):
        where = f"{file}: frame {index} ({frame['file_path']})"
        if "transform_matrix" not in frame:
            raise SoftmineError(f"{where}: it has no 'transform_matrix'; add it")
        found = checks.header(image)
        has_alpha |= found.has_alpha
        camera = _camera(_merged(content, frame), found, where)
        for picture in (image, mask):
            if picture:
                checks.check_size(picture, camera.width, camera.height, where)
        pose = from_opengl(checks.rigid(frame["transform_matrix"], f"{where}: 'transform_matrix'"))
        name = image.relative_to(folder).as_posix()
        views.append(View(name, camera, pose, split, image, mask))
    return views, has_alpha, content


def _find(path: Path) -> Path:
    """The file itself, or with an ending that was left out."""
    for suffix in SUFFIXES:
        candidate = path.with_name(path.name + suffix)
        if candidate.is_file():
            return candidate
    return path


def _merged(content: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """What a frame says, and for what it leaves out (or null) the file; one focal length by one name at most."""
    own = {key: value for key, value in frame.items() if value is not None}
    said = {name for names in FOCALS if own.keys() & set(names) for name in names}
    shared = {key: value for key, value in content.items() if value is not None and key not in said}
    return {**shared, **own}


def _camera(content: dict[str, Any], found: checks.Header, where: str) -> Camera:
    model = content.get("camera_model", "OPENCV")
    if model not in MODELS or content.get("is_fisheye"):
        name = model if model not in MODELS else "a fisheye (is_fisheye)"
        raise SoftmineError(
            f"{where}: its camera model is {name}, but only {', '.join(MODELS)} are read; undistort the pictures first"
        )
    width = checks.size(content, "w", where, found.width)
    height = checks.size(content, "h", where, found.height)
    across = _focal(content, "fl_x", "camera_angle_x", width, where)
    down = _focal(content, "fl_y", "camera_angle_y", height, where) or across
    if across is None or down is None:
        raise SoftmineError(f"{where}: it has neither 'fl_x' nor 'camera_angle_x'; add the focal length")
    k1, k2, k3, k4, p1, p2 = (
        checks.number(content, key, where, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2")
    )
    center = (
        checks.number(content, "cx", where, width / 2),
        checks.number(content, "cy", where, height / 2),
    )
    return Camera(width, height, (across, down), center, (k1, k2, k3, k4, p1, p2))


def _focal(content: dict[str, Any], key: str, angle_key: str, side: int, where: str) -> float | None:
    if key in content:
        return checks.positive(checks.number(content, key, where), key, where)
    if angle_key not in content:
        return None
    angle = checks.number(content, angle_key, where)
    if not 0 < angle < math.pi:
        raise SoftmineError(f"{where}: '{angle_key}' is {angle:g}, but must lie between 0 and pi (radians)")
    return side / 2 / math.tan(angle / 2)
