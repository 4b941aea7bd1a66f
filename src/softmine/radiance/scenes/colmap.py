"""COLMAP scenes: a sparse model, binary or text, beside a folder of photos."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Camera, Cameras, Pose
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.opacity import opacity
from softmine.radiance.scenes.photo_masks import dynamic_mask, dynamic_notes, masks_for
from softmine.radiance.scenes.photo_paths import (
    PhotoFinder,
    choose_folder,
    extra_note,
    has_images,
    image_folders,
    refuse_outside,
    relative_name,
)
from softmine.radiance.scenes.scene import CAMERA_NEAR, Scene, View, held_out_note, hold_out, unbounded_scene

PLACES = (".", "sparse", "colmap/sparse", "dense/sparse", "dense", "colmap")
"""Where a scene's folder has its model, or models in folders of numbers; ``dense/0/sparse`` is one too."""
FURTHER = ("*", "*/*", "*/sparse/*")
"""Where else one is looked for, if there is none: ``distorted/sparse/0`` and the like, which may be of other photos."""
PINHOLE, FISHEYE = ("fx", "fy", "cx", "cy"), ("k1", "k2", "k3", "k4")
LENSES = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": PINHOLE,
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": (*PINHOLE, "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": (*PINHOLE, "k1", "k2", "p1", "p2", "k3", "d1", "d2", "d3"),
    "OPENCV_FISHEYE": (*PINHOLE, *FISHEYE),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
}
"""Camera models that are read, and what their parameters are (d1, d2 and d3 are k4, k5 and k6 of OpenCV)."""
MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}
"""Names and numbers of parameters, by COLMAP's numbers of its camera models."""


class Found(NamedTuple):
    """The folder of a model, that beside which its photos are, and notes on why it is this one."""

    model: Path
    root: Path
    notes: tuple[str, ...]


def find(folder: Path, images: Path | None = None, further: bool = False) -> Found | None:
    """The model with the most images in a scene's folder, or that which the folder itself is; None where there is none.

    Args:
        folder: the scene's, or the model's.
        images: the folder of the photos, where it is another.
        further: look for a model in unusual places, too, where there is none in the usual ones.

    Raises:
        SoftmineError: a model is a link that leads out of those folders.
    """
    if _is_model(folder) and not has_images(folder):
        # The folder of a model alone: its photos are beside one of those that hold it.
        above = list(folder.resolve().parents[:3])
        return Found(folder, next((each for each in above if has_images(each)), folder), ())
    models, notes = [place for place in _places(folder) if _is_model(place)], ()
    if not models and further:
        models = sorted({file.parent for each in FURTHER for file in folder.glob(f"{each}/cameras.*")})
        models = [place for place in models if _is_model(place)]
        notes = tuple(
            f"COLMAP's model is that in {place.relative_to(folder).as_posix()}" for place in models[:1]
        )
    if not models:
        return None
    largest = models[0]
    files = (file for model in models for file in model.glob("*.*"))
    refuse_outside(files, folder, (images,), f"cannot read {folder}", photos=False)
    if len(models) > 1:
        counts = {model: _count(model) for model in models}
        largest = max(models, key=lambda model: counts[model])
        name, *others = (
            model.relative_to(folder).as_posix()
            + (f" with {counts[model]} images" if counts[model] >= 0 else ", which is damaged")
            for model in sorted(models, key=lambda model: model != largest)
        )
        notes = (
            f"COLMAP's model {name} is read, not {' or '.join(others)}: to read another, name its folder",
        )
    inside = [largest, *(each for each in largest.parents if each.is_relative_to(folder))]
    return Found(largest, next((each for each in inside if has_images(each)), folder), notes)


def _places(folder: Path) -> list[Path]:
    found = []
    for place in (folder / name for name in PLACES):
        numbered = [each for each in place.glob("*") if each.name.isdecimal()] if place.is_dir() else []
        for each in sorted(numbered, key=lambda path: int(path.name)) if place != folder else []:
            found += [each, each / "sparse"]
        found.append(place)
    return found


def without_cameras(folder: Path) -> Path | None:
    """The first place in a scene's folder that has a model's images, but not its cameras."""
    named = [
        place for place in _places(folder) if any(path.is_file() for path in _candidates(place, "images"))
    ]
    return next((place for place in named if not _is_model(place)), None)


def _is_model(folder: Path) -> bool:
    return any((folder / f"cameras{ending}").is_file() for ending in (".bin", ".txt"))


def _count(model: Path) -> int:
    """How many images a model has; -1 where that cannot be read."""
    try:
        path = _either(model, "images")
        return _Binary(path).count(73) if path.suffix == ".bin" else len(read_images(model))
    except SoftmineError:
        return -1


def read(folder: Path, found: Found, downscale: int = 1, images: Path | None = None) -> Scene:
    """Reads a model and the images in ``images`` (or ``images_2`` and so on); every eighth, by name, is for testing.

    The scene is unbounded; its world is moved and scaled so that the cameras lie in the unit ball.

    Args:
        folder: the scene's.
        found: its model.
        downscale: averages images over blocks of this many pixels a side.
        images: the folder of the images, where it is another.

    Raises:
        SoftmineError: a file is damaged, a camera model is not one of ``LENSES``, or images do not fit.
    """
    model, where = found.model, f"{found.model}: image"
    named = (found.root, images)
    refuse_outside(model.glob("*.*"), folder, named, f"cannot read {folder}", photos=False)
    folders = image_folders(found.root, downscale, images)
    cameras = read_cameras(model)
    stored = read_images(model)
    if not stored:
        raise SoftmineError(f"cannot read {model}: it has no image with a pose; run COLMAP's mapper again")

    def located(place: Path) -> tuple[list[Path], PhotoFinder]:
        finder = PhotoFinder(place)
        names = [finder.find(entry.name, f"{where} {entry.name!r}: its name") for entry in stored]
        return names, finder

    def missing(place: Path) -> int:
        return sum(not path.is_file() for path in located(place)[0])

    place, notes = choose_folder(folders, missing, downscale)
    paths, finder = located(place.folder)
    checks.refuse_missing(paths, "images", f"{model} with {place.folder}")
    checks.refuse_repeated(paths, "image", str(model), first=1)
    used = {entry.camera for entry in stored}
    full = {
        number: _camera(camera, f"{model}: camera {number}")
        for number, camera in cameras.items()
        if number in used
    }
    masks = masks_for(paths, place.folder, place.factor, found.root, (folder, *named))
    moving = [dynamic_mask(path) for path in paths]
    refuse_outside([*paths, *masks.paths, *moving], folder, named, f"cannot read {folder}")
    views, sizes = [], {}
    for entry, image, mask, moves in zip(stored, paths, masks.paths, moving, strict=True):
        here = f"{where} {entry.name!r}"
        if entry.camera not in full:
            raise SoftmineError(f"{here} names camera {entry.camera}, which {model} does not have")
        camera = full[entry.camera]
        size = sizes[image] = checks.smaller(image, camera.width, camera.height, place.factor, here)
        camera = camera.resized(size.width, size.height).downscaled(place.downscale)
        views.append(
            View(
                relative_name(image, found.root, images), camera, _pose(entry, here), "train", image, mask,
                dynamic_mask=moves, upright=size.upright, mask_factor=masks.factor,
            )
        )  # fmt: skip
    has_alpha, alpha_notes = opacity(views, sizes)
    names = ("cameras", "images", "points3D")
    files = [path for path in model.glob("*.*") if path.stem in names and path.suffix in (".bin", ".txt")]
    views = hold_out(views)
    scene = unbounded_scene(
        folder,
        views,
        str(model),
        divided=held_out_note(views),
        has_alpha=has_alpha,
        downscale=place.downscale,
        files=tuple(sorted(path for path in files if path.is_file())),
        notes=(
            *found.notes, *notes, *_twice_notes(model), *finder.notes, *checks.size_notes(sizes, place.downscale),
            *masks.notes, *dynamic_notes(views), *alpha_notes, *extra_note(paths),
        ),
    )  # fmt: skip
    scene = replace(scene, name=found.root.resolve().name if found.model == folder else scene.name)
    points = read_points(model)
    if points is None:
        return scene
    points = (points - np.array(scene.center)) * scene.scale
    return replace(scene, bounds=replace(scene.bounds, near=_near(scene.views, points)), points=points)


def _twice_notes(model: Path) -> tuple[str, ...]:
    """A note where a model is there both as binary and as text."""
    names = [
        name for name in ("cameras", "images") if all(path.is_file() for path in _candidates(model, name))
    ]
    return (f"{model} is read from {names[0]}.bin, not from {names[0]}.txt",) if names else ()


def _near(views: tuple[View, ...], points: np.ndarray) -> float:
    """Half the depth of the nearest points: of all but a hundredth of those that a view has in its image."""
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
            "undistort the images first (colmap image_undistorter)"
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
        raise SoftmineError(f"{where} is {stored.width} x {stored.height} pixels, which no image is")
    focal = values.get("f", 0.0)
    bent = stored.model.endswith("FISHEYE")
    order = ("k1", "k2", "k3", "k4", "p1", "p2", *(("d1", "d2", "d3") if "d1" in values else ()))
    return Camera(
        stored.width,
        stored.height,
        (values.get("fx", focal), values.get("fy", focal)),
        (values["cx"], values["cy"]),
        tuple(values.get(name, 0.0) for name in order),
        "fisheye" if bent else "perspective",
    )


def _pose(stored: StoredImage, where: str) -> Pose:
    """Camera to world, of what is stored: world to camera."""
    quaternion, translation = np.array(stored.quaternion), np.array(stored.translation)
    if not (np.abs((*quaternion, *translation)) <= checks.LARGEST).all() or np.linalg.norm(quaternion) < 1e-6:
        raise SoftmineError(
            f"{where}: its pose holds NaN, infinity, more than {checks.LARGEST:g} or a quaternion of zeros; drop the image"
        )
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.concatenate((rotation.T, -(rotation.T @ translation)[:, None]), 1)


class StoredCamera(NamedTuple):
    """A line of ``cameras``."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


class StoredImage(NamedTuple):
    """A line of ``images``: world to camera by a quaternion (w, x, y, z), then a translation."""

    name: str
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    camera: int


def read_cameras(model: Path) -> dict[int, StoredCamera]:
    """Cameras by their numbers, from ``cameras.bin`` or ``cameras.txt``.

    Raises:
        SoftmineError: the file is missing, truncated or damaged.
    """
    path = _either(model, "cameras")
    if path.suffix == ".txt":
        cameras = {}
        for number, line in _lines(path):
            words = line.split()
            camera, name, width, height, *parameters = _fields(
                words, (int, str, int, int), float, path, number
            )
            cameras[camera] = StoredCamera(name, width, height, tuple(parameters))
        return cameras
    data, cameras = _Binary(path), {}
    for _ in range(data.count(24)):
        camera, kind, width, height = data.take("<iiQQ")
        if kind not in MODELS:
            raise SoftmineError(
                f"cannot read {path}: camera {camera} is of an unknown model, number {kind}; undistort the images first "
                "(colmap image_undistorter)"
            )
        name, parameters = MODELS[kind]
        cameras[camera] = StoredCamera(name, width, height, data.take(f"<{parameters}d"))
    data.end()
    return cameras


def read_images(model: Path) -> list[StoredImage]:
    """Images with a pose, from ``images.bin`` or ``images.txt``.

    Raises:
        SoftmineError: the file is missing, truncated or damaged.
    """
    path = _either(model, "images")
    if path.suffix == ".txt":
        images = []
        # Every image has a second line, of its points, which may be empty; some programs leave that out.
        points_due = False
        for number, line in _lines(path, keep_empty=True):
            points_due, was_due = False, points_due
            if not line.strip() or (was_due and not _is_image(line)):
                continue
            # The rest of the line is the name, with all its spaces.
            words = line.rstrip().split(maxsplit=9)
            row = _fields(words, (int, *(float,) * 7, int, str), str, path, number)
            images.append(StoredImage(row[9], tuple(row[1:5]), tuple(row[5:8]), row[8]))
            points_due = True
        return images
    data, images = _Binary(path), []
    for _ in range(data.count(73)):
        row = data.take("<i7di")
        name = data.text()
        data.skip(data.take("<Q")[0], 24)
        images.append(StoredImage(name, row[1:5], row[5:8], row[8]))
    data.end()
    return images


def _is_image(line: str) -> bool:
    """Whether a line of ``images.txt`` where points could be, x, y and a number each, is another image."""
    words = line.split(maxsplit=9)
    try:
        if len(words) < 10:
            return False
        _ = int(words[0]), *map(float, words[1:8]), int(words[8])
    except ValueError:
        return False
    *_, last = words[9].split()
    return not (last.removeprefix("-").isdecimal() and len(line.split()) % 3 == 0)


def read_points(model: Path) -> Float[np.ndarray, "p 3"] | None:
    """Positions (P, 3) from ``points3D.bin`` or ``points3D.txt``; None where there is neither, or no point.

    Raises:
        SoftmineError: the file is truncated or damaged, or a position is not finite.
    """
    path = next((path for path in _candidates(model, "points3D") if path.is_file()), None)
    if path is None:
        return None
    rows = []
    if path.suffix == ".txt":
        for number, line in _lines(path):
            rows.append(_fields(line.split(), (int, float, float, float), str, path, number)[1:4])
    else:
        data = _Binary(path)
        for _ in range(data.count(51)):
            rows.append(data.take("<Q3d3Bd")[1:4])
            data.skip(data.take("<Q")[0], 8)
        data.end()
    points = np.array(rows, np.float64).reshape(-1, 3)
    if not (np.abs(points) <= checks.LARGEST).all():
        raise SoftmineError(
            f"cannot read {path}: a point's position is NaN, infinite or more than {checks.LARGEST:g}; run COLMAP again"
        )
    return points if len(points) else None


def _candidates(model: Path, name: str) -> tuple[Path, Path]:
    return model / f"{name}.bin", model / f"{name}.txt"


def _either(model: Path, name: str) -> Path:
    for path in _candidates(model, name):
        if path.is_file():
            return path
    raise SoftmineError(
        f"cannot read {model}: it has neither {name}.bin nor {name}.txt; get a complete COLMAP model"
    )


def _lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    """Numbers, from 1, and text of the lines that are no comments."""
    try:
        text = checks.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SoftmineError(f"cannot read {path}: it is not text; get a complete copy") from error
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.lstrip().startswith("#") and (keep_empty or line.strip()):
            yield number, line


def _fields(words: list[str], kinds: tuple[type, ...], rest: type, path: Path, number: int) -> list[Any]:
    """Words as numbers and text; those beyond ``kinds`` are of kind ``rest``."""
    try:
        if len(words) < len(kinds):
            raise ValueError
        every = [*kinds, *(rest,) * (len(words) - len(kinds))]
        return [kind(word) for kind, word in zip(every, words, strict=True)]
    except ValueError as error:
        raise SoftmineError(
            f"cannot read {path}: line {number} is not {len(kinds)} values or more of the right kind; "
            "it is truncated or damaged"
        ) from error


class _Binary:
    """A little-endian file read from its beginning; says so where it ends too soon or too late."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place = path, checks.read_bytes(path), 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """The next values, packed as ``layout`` says."""
        start = self.place
        self.skip(1, struct.calcsize(layout))
        return struct.unpack_from(layout, self.data, start)

    def skip(self, count: int, size: int) -> None:
        """Leaves out ``count`` records of ``size`` bytes."""
        self.place += count * size
        if self.place > len(self.data):
            raise self._damaged()

    def count(self, least: int) -> int:
        """The number of records that follow, each of at least ``least`` bytes."""
        count = self.take("<Q")[0]
        if count * least > len(self.data) - self.place:
            raise self._damaged()
        return count

    def text(self) -> str:
        """The text up to the next zero byte."""
        stop = self.data.find(b"\0", self.place)
        try:
            if stop < 0:
                raise self._damaged()
            name = self.data[self.place : stop].decode()
        except UnicodeDecodeError as error:
            raise self._damaged() from error
        self.place = stop + 1
        return name

    def end(self) -> None:
        """Raises SoftmineError if anything is left."""
        if self.place != len(self.data):
            raise self._damaged()

    def _damaged(self) -> SoftmineError:
        return SoftmineError(f"cannot read {self.path}: it is truncated or damaged; get a complete copy")
