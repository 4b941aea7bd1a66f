"""Scenes of ``transforms.json`` files: Blender's (NeRF-Synthetic), instant-ngp's and nerfstudio's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Camera, from_opengl
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.scene import Scene, View, box_bounds, hold_out, unbounded_scene

MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
"""Camera models whose lens is one of ``softmine.radiance.lens_distortion``."""
FOCALS = (("fl_x", "camera_angle_x"), ("fl_y", "camera_angle_y"))
"""Two names each, of which one will do."""
SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG")
HALF_SIDE = 1.5
"""Objects of NeRF-Synthetic lie in [-1.5, 1.5]^3."""


def read_blender(folder: Path, downscale: int = 1) -> Scene:
    """Reads ``transforms_train.json`` with ``transforms_test.json``, or ``transforms_val.json`` where there is no test.

    With neither, every eighth training view is held out. Images with opacity are taken for renderings of an object
    in [-1.5, 1.5]^3; images without for photos of an unbounded scene.

    Raises:
        SoftmineError: a file is damaged, or does not fit the others.
    """
    train = folder / "transforms_train.json"
    views, has_alpha, _ = read_frames(train, "train", downscale)
    files, notes = (train,), ()
    others = [folder / "transforms_test.json", folder / "transforms_val.json"]
    other = next((path for path in others if path.is_file()), None)
    if other:
        held, held_alpha, _ = read_frames(other, "test", downscale)
        views, has_alpha, files = [*views, *held], has_alpha or held_alpha, (train, other)
    else:
        views = hold_out(views)
        notes = ("there is no transforms_test.json, so every eighth view is for testing",)
    if not has_alpha:
        return unbounded_scene(folder, views, str(train), downscale=downscale, files=files, notes=notes)
    bounds = box_bounds(views, HALF_SIDE, str(train))
    name = folder.resolve().name
    return Scene(name, folder, tuple(views), bounds, True, downscale=downscale, files=files, notes=notes)


def read_nerfstudio(file: Path, downscale: int = 1) -> Scene:
    """Reads one file of poses; test views are its ``test_filenames`` (or ``val_filenames``), else all that are not in its
    ``train_filenames``, else every eighth.

    Raises:
        SoftmineError: the file is damaged, or does not fit its images.
    """
    views, has_alpha, content = read_frames(file, "train", downscale)
    views = _split(views, content, file)
    used = [view.image for view in views if view.image]
    notes = checks.extra_note(used, used[0].parent)
    return unbounded_scene(
        file, views, str(file), has_alpha=has_alpha, downscale=downscale, files=(file,), notes=notes
    )


def read_frames(file: Path, split: str, downscale: int = 1) -> tuple[list[View], bool, dict[str, Any]]:
    """Views of one file, whether any has opacity, and the file's content.

    What a frame says of its camera goes before what the file says of all. Focal lengths may be ``fl_x``, ``fl_y``
    in pixels or ``camera_angle_x``, ``camera_angle_y`` in radians; the size defaults to the image's own, the
    principal point to its middle. Camera axes are those of OpenGL.

    Raises:
        SoftmineError: a field is missing or wrong, an image is missing or of another size.
    """
    content = checks.read_json(file)
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise SoftmineError(f"cannot read {file}: it has no list of 'frames'; it is not a file of poses")
    if not frames:
        raise SoftmineError(f"cannot read {file}: its list of 'frames' is empty; it needs views")
    folder = file.parent

    def named(key: str, index: int) -> Path:
        return checks.inside(folder, frames[index].get(key), f"{file}: '{key}' of frame {index}")

    images = [_find(named("file_path", index)) for index in range(len(frames))]
    checks.refuse_missing(images, "images", str(file))
    masks = [
        None if frame.get("mask_path") is None else named("mask_path", index)
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
        for path in (image, mask):
            if path:
                checks.smaller(path, camera.width, camera.height, 1, where)
        pose = from_opengl(checks.rigid(frame["transform_matrix"], f"{where}: 'transform_matrix'"))
        name = image.relative_to(folder).as_posix()
        views.append(View(name, camera.downscaled(downscale), pose, split, image, mask))
    return views, has_alpha, content


def _find(path: Path) -> Path:
    """The file itself, or with an ending that was left out."""
    candidates = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), path)


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
            f"{where}: its camera model is {name}, but only {', '.join(MODELS)} are read; undistort the images first"
        )
    width = checks.size(content, "w", where, found.width)
    height = checks.size(content, "h", where, found.height)
    across = _focal(content, *FOCALS[0], width, where)
    down = _focal(content, *FOCALS[1], height, where) or across
    if across is None or down is None:
        raise SoftmineError(f"{where}: it has neither 'fl_x' nor 'camera_angle_x'; add the focal length")
    center = (
        checks.number(content, "cx", where, width / 2),
        checks.number(content, "cy", where, height / 2),
    )
    k1, k2, k3, k4, p1, p2 = (
        checks.number(content, key, where, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2")
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


def _split(views: list[View], content: dict[str, Any], file: Path) -> list[View]:
    """The views by what a file's lists of splits say."""
    known = {view.name for view in views}
    held = [_names(content, key, file) for key in ("test_filenames", "val_filenames") if content.get(key)]
    listed = content.get("train_filenames") is not None
    if not held and not listed:
        return hold_out(views)
    train = _names(content, "train_filenames", file) if listed else known.difference(*held)
    test = held[0] if held else known - train
    unknown = sorted(train.union(*held) - known)
    if unknown:
        wrong = f"its lists of splits name {unknown[0]}, which no frame has; correct them"
    elif train & test:
        wrong = f"{sorted(train & test)[0]} is listed both to train and to test; correct it"
    elif not train or not test:
        wrong = f"its lists of splits leave no view to {'train' if not train else 'test'}; correct them"
    else:
        chosen = [replace(view, split="test") for view in views if view.name in test]
        return [view for view in views if view.name in train] + chosen
    raise SoftmineError(f"{file}: {wrong}")


def _names(content: dict[str, Any], key: str, file: Path) -> set[str]:
    names = content[key]
    if not isinstance(names, list):
        raise SoftmineError(f"{file}: '{key}' is not a list of files")
    where = f"{file}: '{key}'"
    return {checks.inside(file.parent, name, where).relative_to(file.parent).as_posix() for name in names}
