"""Scenes of ``transforms.json`` files: Blender's (NeRF-Synthetic), instant-ngp's and nerfstudio's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from softmine.errors import SoftmineError
from softmine.formatting import several
from softmine.radiance.cameras import Camera, Pose, from_opengl
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.object_box import box_scene, stated_box
from softmine.radiance.scenes.opacity import opacity
from softmine.radiance.scenes.photo_masks import dynamic_mask, dynamic_notes, unused_notes
from softmine.radiance.scenes.photo_paths import PhotoFinder, extra_note, refuse_outside
from softmine.radiance.scenes.scene import Scene, View, held_out_note, hold_out, unbounded_scene

PERSPECTIVE = (
    "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "FULL_OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE",
)  # fmt: skip
FISHEYE = ("FISHEYE", "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
PANORAMA = ("EQUIRECTANGULAR", "LATLONG")
"""Camera models by their lens (see ``softmine.radiance.cameras``), in any case of letters."""
REMEDIES = {
    "ORTHO": "its rays are parallel, which no lens here has; render the views with a perspective camera",
    "STEREO": "it is two panoramas in one image; cut it into perspective views",
    "VR180": "it is two fisheye images in one; cut them apart",
    "FTHETA": "its polynomial is NVIDIA's; undistort the images, or estimate them as OPENCV_FISHEYE",
}
"""What to do about camera models that are not read, by parts of their names."""
FOCALS = (("fl_x", "camera_angle_x"), ("fl_y", "camera_angle_y"))
"""Two names each, of which one will do."""
IGNORED = {
    "rolling_shutter": "the rolling shutter (rolling_shutter) is not used: a photo is taken to be of one moment",
    "depth_file_path": "depth images (depth_file_path) are not used",
    "depth_path": "depth images (depth_path) are not used",
    "n_extra_learnable_dims": "n_extra_learnable_dims is not used: colors do not depend on the photo",
    "render_aabb": "render_aabb is not used: nothing is cut out of what is shown",
    "time": "the times of the frames (time) are not used: the scene is taken to stand still",
    "mask_color": "colors that stand for masks (mask_color) are not used",
    "white_transparent": "white_transparent is not used: white stays white",
    "black_transparent": "black_transparent is not used: black stays black",
}
"""Fields that would change what is learned, and what is said where a file has them."""
MITSUBA = (-1.0, -1.0, 1.0, 1.0)
"""Turns a pose in Mitsuba's axes of a camera (x left, y up, z forward) into one in ours (right, down, forward)."""


class Frames(NamedTuple):
    """What one file of poses gives.

    Attributes:
        views: in the order of its frames.
        content: of the file.
        sizes: of the images.
        finder: which found them.
        notes: what was chosen or left out.
    """

    views: list[View]
    content: dict[str, Any]
    sizes: dict[Path, checks.Size]
    finder: PhotoFinder
    notes: tuple[str, ...]


def read_blender(folder: Path, downscale: int = 1, images: Path | None = None) -> Scene:
    """Reads ``transforms_train.json`` with ``transforms_test.json``, or ``transforms_val.json`` where there is no test.

    With neither, every eighth training view is held out. Images with opacity are taken for renderings of an object
    in a box (see ``softmine.radiance.scenes.object_box``); images without, or all opaque, for photos of an unbounded scene.

    Raises:
        SoftmineError: a file is damaged, or does not fit the others.
    """
    file = folder / "transforms_train.json"
    parts = [read_frames(file, "train", downscale, images)]
    others = [folder / "transforms_test.json", folder / "transforms_val.json"]
    found = [path for path in others if path.is_file()]
    files, notes = (file, *found[:1]), ()
    refuse_outside(found, folder, (images,), f"cannot read {folder}", photos=False)
    if found:
        parts.append(read_frames(found[0], "test", downscale, images))
        views = [view for part in parts for view in part.views]
    else:
        views = hold_out(parts[0].views)
        notes = ("there is no transforms_test.json, so every eighth view is for testing",)
    if found[1:]:
        notes = (f"{found[1].name} is not used",)
    elif found and found[0] == others[1]:
        notes = (f"there is no {others[0].name}, so the views of {others[1].name} are for testing",)
    trained = {view.image for view in parts[0].views}
    twice = sum(view.image in trained for part in parts[1:] for view in part.views)
    if twice:
        notes = (
            *notes, f"{twice} of the {len(parts[1].views)} photos to test are also trained on, which says little of new views",
        )  # fmt: skip
    sizes = {path: size for part in parts for path, size in part.sizes.items()}
    has_alpha, alpha_notes = opacity(views, sizes)
    notes = [*notes, *(note for part in parts for note in part.notes), *checks.size_notes(sizes, downscale)]
    notes = [*notes, *dynamic_notes(views), *alpha_notes]
    common = {"downscale": downscale, "files": files}
    content = parts[0].content
    if has_alpha:
        stated = stated_box(content, str(file))
        left = () if stated else _unused_notes(content, "there is no aabb_scale")
        return box_scene(folder, views, str(file), stated, _once([*notes, *left]), **common)
    notes = _once([*notes, *_unused_notes(content)])
    return unbounded_scene(folder, views, str(file), notes=notes, **common)


def read_nerfstudio(file: Path, downscale: int = 1, images: Path | None = None) -> Scene:
    """Reads one file of poses; test views are its ``test_filenames`` (or ``val_filenames``), else all that are not in its
    ``train_filenames``, else every eighth.

    Raises:
        SoftmineError: the file is damaged, or does not fit its images.
    """
    frames = read_frames(file, "train", downscale, images)
    views, split_notes, divided = _split(frames, file)
    has_alpha, alpha_notes = opacity(views, frames.sizes)
    notes = (
        *frames.notes, *split_notes, *checks.size_notes(frames.sizes, downscale), *dynamic_notes(views), *alpha_notes,
        *_unused_notes(frames.content), *extra_note(list(frames.sizes)),
    )  # fmt: skip
    return unbounded_scene(
        file,
        views,
        str(file),
        has_alpha=has_alpha,
        downscale=downscale,
        files=(file,),
        notes=_once(notes),
        divided=divided,
    )


def read_frames(file: Path, split: str, downscale: int = 1, images: Path | None = None) -> Frames:
    """Views of one file, and the file's content.

    What a frame says of its camera goes before what the file says of all. Focal lengths may be ``fl_x``, ``fl_y``
    in pixels or ``camera_angle_x``, ``camera_angle_y`` in radians; the size defaults to the image's own, the
    principal point to its middle. Camera axes are those of OpenGL.

    Args:
        file: of poses.
        split: what its views are for.
        downscale: averages images over blocks of this many pixels a side.
        images: the folder of the images, where their names lead out of the file's.

    Raises:
        SoftmineError: a field is missing or wrong, an image is missing or of another size.
    """
    content = checks.read_json(file)
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise SoftmineError(f"cannot read {file}: it has no list of 'frames'; it is not a file of poses")
    if not frames:
        raise SoftmineError(f"cannot read {file}: its list of 'frames' is empty; it needs views")
    finder = PhotoFinder(file.parent, images)

    def named(key: str, index: int) -> Path:
        where = f"{file}: '{key}' of frame {index}"
        return finder.find(frames[index].get(key), where, mask=key == "mask_path")

    paths = [named("file_path", index) for index in range(len(frames))]
    checks.refuse_missing(paths, "images", str(file))
    checks.refuse_repeated(paths, "frame", str(file))
    masks = [
        None if frame.get("mask_path") is None else named("mask_path", index)
        for index, frame in enumerate(frames)
    ]
    checks.refuse_missing([mask for mask in masks if mask], "masks", str(file))
    moving = [dynamic_mask(path) for path in paths]
    refuse_outside([*paths, *masks, *moving], file.parent, (images,), f"cannot read {file}")
    views, sizes, notes = [], {}, []
    if not any(masks):
        notes += unused_notes(paths, file.parent, (file.parent, images))
    mitsuba = bool(content.get("from_mitsuba"))
    if mitsuba:
        notes.append("the axes of the cameras are Mitsuba's (left, up, forward), as from_mitsuba says")
    for index, (frame, image, mask) in enumerate(zip(frames, paths, masks, strict=True)):
        where = f"{file}: frame {index} ({frame['file_path']!s:.200})"
        if "transform_matrix" not in frame:
            raise SoftmineError(f"{where}: it has no 'transform_matrix'; add it")
        header = checks.header(image)
        merged = _merged(content, frame)
        camera = _camera(merged, header, where)
        notes += _focal_notes(merged, camera)
        size = sizes[image] = checks.smaller(image, camera.width, camera.height, 1, where, header)
        if mask:
            checks.smaller(mask, camera.width, camera.height, 1, where)
        pose = checks.rigid(frame["transform_matrix"], f"{where}: 'transform_matrix'")
        pose: Pose = pose * MITSUBA if mitsuba else from_opengl(pose)
        name, camera = finder.relative(image), camera.downscaled(downscale)
        views.append(
            View(name, camera, pose, split, image, mask, dynamic_mask=moving[index], upright=size.upright)
        )
    return Frames(views, content, sizes, finder, (*finder.notes, *notes, *_ignored(content, frames)))


def _ignored(content: dict[str, Any], frames: Sequence[dict[str, Any]]) -> list[str]:
    """Notes on fields that are not used, unless all they say is 0 or false."""
    return [
        note
        for key, note in IGNORED.items()
        if any(
            any(value) if isinstance(value, list) else value
            for value in (each.get(key) for each in (content, *frames))
        )
    ]


def _focal_notes(merged: dict[str, Any], camera: Camera) -> list[str]:
    """A note for each angle of view that says another focal length than the one given in pixels."""
    notes = []
    for (key, angle), side, focal in zip(FOCALS, (camera.width, camera.height), camera.focal, strict=True):
        value = merged.get(angle)
        if key not in merged or not isinstance(value, int | float) or not 0 < value < math.pi:
            continue
        if camera.lens == "perspective" and abs(side / 2 / math.tan(value / 2) / focal - 1) > 0.01:
            notes.append(f"{angle} is not used: it says another focal length than {key}")
    return notes


def _unused_notes(content: dict[str, Any], reason: str = "the scene is unbounded") -> tuple[str, ...]:
    """Notes on what a file says of a box that is not used."""
    said = [key for key in ("aabb_scale", "scale", "offset") if content.get(key) is not None]
    return tuple(f"{key} is not used: {reason}" for key in said)


def _once(notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))


def _merged(content: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """What a frame says, and for what it leaves out (or null) the file; one focal length by one name at most."""
    own = {key: value for key, value in frame.items() if value is not None}
    said = {name for names in FOCALS if own.keys() & set(names) for name in names}
    shared = {key: value for key, value in content.items() if value is not None and key not in said}
    return {**shared, **own}


def _camera(content: dict[str, Any], found: checks.Header, where: str) -> Camera:
    model = _model(content, where)
    width = checks.size(content, "w", where, found.width)
    height = checks.size(content, "h", where, found.height)
    center = (
        checks.number(content, "cx", where, width / 2),
        checks.number(content, "cy", where, height / 2),
    )
    if model in PANORAMA:
        return _panorama(width, height, where)
    if model in FISHEYE:
        _refuse_angles(content, where)
    across = _focal(content, *FOCALS[0], width, where)
    down = _focal(content, *FOCALS[1], height, where)
    if across is None and down is None:
        raise SoftmineError(f"{where}: it has neither 'fl_x' nor 'camera_angle_x'; add the focal length")
    focal = (across or down or 0.0, down or across or 0.0)
    k1, k2, k3, k4, k5, k6, p1, p2 = (
        checks.number(content, key, where, 0.0) for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
    )
    if model in FISHEYE:
        if p1 or p2:
            raise SoftmineError(f"{where}: a fisheye has no 'p1' and 'p2'; undistort the images first")
        circle = math.inf
        if "fisheye_crop_radius" in content:
            circle = checks.number(content, "fisheye_crop_radius", where) / focal[0]
        return Camera(width, height, focal, center, (k1, k2, k3, k4, 0.0, 0.0), "fisheye", circle)
    if model == "FULL_OPENCV":
        return Camera(width, height, focal, center, (k1, k2, k3, 0.0, p1, p2, k4, k5, k6))
    if k5 or k6:
        raise SoftmineError(
            f"{where}: it has 'k5' and 'k6', which only FULL_OPENCV has, but its camera model is {model}; name the right one"
        )
    return Camera(width, height, focal, center, (k1, k2, k3, k4, p1, p2))


def _model(content: dict[str, Any], where: str) -> str:
    """The name of the camera model, in capitals.

    Raises:
        SoftmineError: it is not one that is read.
    """
    flags = {
        "is_fisheye": "FISHEYE", "equirectangular": "EQUIRECTANGULAR", "latlong": "LATLONG", "orthographic": "ORTHOGRAPHIC",
        "ftheta_p0": "FTHETA",
    }  # fmt: skip
    flagged = next((name for key, name in flags.items() if content.get(key)), None)
    stated = content.get("camera_model", content.get("camera_type"))
    name = str(stated).upper() if stated is not None else flagged or "OPENCV"
    if flagged and name in PERSPECTIVE:
        name = flagged
    if name in (*PERSPECTIVE, *FISHEYE, *PANORAMA):
        return name
    remedy = next((text for part, text in REMEDIES.items() if part in name), None)
    known = ", ".join((*PERSPECTIVE, *FISHEYE, PANORAMA[0]))
    raise SoftmineError(
        f"{where}: its camera model is {stated if flagged is None else name}, but only {known} are read; "
        + (remedy or "name one of these, or undistort the images first")
    )


def _panorama(width: int, height: int, where: str) -> Camera:
    if width != 2 * height:
        raise SoftmineError(
            f"{where}: its camera model is EQUIRECTANGULAR, but it is {width} x {height} pixels and a whole panorama is twice "
            "as wide as high; use the whole one, or cut it into perspective views"
        )
    focal = (width / (2 * math.pi), height / math.pi)
    return Camera(width, height, focal, (width / 2, height / 2), lens="equirectangular")


def _focal(content: dict[str, Any], key: str, angle_key: str, side: int, where: str) -> float | None:
    if key in content:
        return checks.positive(checks.number(content, key, where), key, where)
    if angle_key not in content:
        return None
    angle = checks.number(content, angle_key, where)
    if not 0 < angle < math.pi:
        raise SoftmineError(f"{where}: '{angle_key}' is {angle:g}, but must lie between 0 and pi (radians)")
    return side / 2 / math.tan(angle / 2)


def _refuse_angles(content: dict[str, Any], where: str) -> None:
    """Raises SoftmineError where only an angle of view says a focal length of a fisheye."""
    for key, angle in FOCALS:
        if angle in content and key not in content:
            raise SoftmineError(
                f"{where}: '{angle}' says no focal length of a fisheye, whose lens bends the angles in ways that programs "
                f"do not agree on; give '{key}' in pixels"
            )


def _split(frames: Frames, file: Path) -> tuple[list[View], tuple[str, ...], str]:
    """The views by what a file's lists of splits say, a note on those that they leave out, and where the split is from."""
    views, content = frames.views, frames.content
    known = {view.name for view in views}
    keys = [key for key in ("test_filenames", "val_filenames") if content.get(key)]
    held = [_names(frames, key, file) for key in keys]
    listed = content.get("train_filenames") is not None
    if not held and not listed:
        held_out = hold_out(views)
        return held_out, (), held_out_note(held_out)
    train = _names(frames, "train_filenames", file) if listed else known.difference(*held)
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
        left = len(known - train - test)
        unused = several(left, "view is", "views are")
        notes = (f"{unused} not used: neither to train nor in {keys[0]}",) if left else ()
        found = [view for view in views if view.name in train] + chosen
        return found, notes, f"the split of {file.name} is used"
    raise SoftmineError(f"{file}: {wrong}")


def _names(frames: Frames, key: str, file: Path) -> set[str]:
    names = frames.content[key]
    if not isinstance(names, list):
        raise SoftmineError(f"{file}: '{key}' is not a list of files")
    finder = frames.finder
    return {finder.relative(finder.find(name, f"{file}: '{key}'")) for name in names}
