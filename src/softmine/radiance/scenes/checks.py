"""What readers of scenes look for and refuse, each in one sentence that names the file and the field."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Pose

ROTATION_TOLERANCE = 0.01
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
MAX_SIDE = 2**16


class Header(NamedTuple):
    """What an image's file says before it is decoded."""

    width: int
    height: int
    has_alpha: bool


def read_json(path: Path) -> dict[str, Any]:
    """The object a JSON file holds.

    Raises:
        SoftmineError: the file cannot be read, or is not one JSON object.
    """
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        place = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SoftmineError(
            f"cannot read {path}: it is not valid JSON{place}; get a complete copy"
        ) from error
    if not isinstance(content, dict):
        raise SoftmineError(f"cannot read {path}: it holds a {type(content).__name__}, not one JSON object")
    return content


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        SoftmineError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SoftmineError(f"cannot read {path}: {error.strerror or error}") from error


def number(content: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    """A finite number under ``key``.

    Raises:
        SoftmineError: there is none, or it is not a finite number.
    """
    value = content.get(key, default)
    if value is None:
        raise SoftmineError(f"{where}: it has no '{key}'; add it")
    # Compared, not converted: an integer may be longer than a float can be.
    finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    if isinstance(value, bool) or not finite:
        raise SoftmineError(f"{where}: '{key}' is {_shown(value)}, but must be a finite number")
    return float(value)


def size(content: dict[str, Any], key: str, where: str, default: int) -> int:
    """A number of pixels under ``key``.

    Raises:
        SoftmineError: it is not a whole number above 0.
    """
    value = number(content, key, where, float(default))
    if value != int(value) or not 1 <= value <= MAX_SIDE:
        raise SoftmineError(f"{where}: '{key}' is {_shown(content.get(key))}, but must be a number of pixels")
    return int(value)


def positive(value: float, key: str, where: str) -> float:
    """The same number.

    Raises:
        SoftmineError: it is not above 0.
    """
    if not value > 0:
        raise SoftmineError(f"{where}: '{key}' is {value:g}, but must be above 0")
    return value


def rigid(matrix: Any, where: str) -> Pose:
    """A pose (3, 4) from rows of numbers, (3, 4) or (4, 4), whose rotation is one.

    A rotation off by less than 1% (rounded in its file) is replaced by the nearest one.

    Raises:
        SoftmineError: the matrix has another shape, is not finite, scales, shears or mirrors.
    """
    try:
        pose = np.array(matrix, np.float64)
    except (TypeError, ValueError, OverflowError):
        pose = np.empty(0)
    if pose.shape not in ((3, 4), (4, 4)):
        raise SoftmineError(f"{where} is not a matrix of 4 x 4 numbers")
    if not np.isfinite(pose).all():
        raise SoftmineError(f"{where} holds NaN or infinity; drop the view or estimate its pose again")
    if pose.shape[0] == 4 and np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise SoftmineError(f"{where} has {pose[3].tolist()} as its last row, not 0 0 0 1")
    left, lengths, right = np.linalg.svd(pose[:3, :3])
    if np.abs(lengths - 1).max() > ROTATION_TOLERANCE:
        low, high = lengths.min(), lengths.max()
        kind = "is singular" if low < 1e-6 else f"scales lengths by {low:.3g} to {high:.3g}"
        raise SoftmineError(f"{where} {kind}, but a pose only rotates and moves; divide the scale out of it")
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        raise SoftmineError(
            f"{where} mirrors, but a pose only rotates and moves; check the order of its axes"
        )
    return np.concatenate((rotation, pose[:3, 3:]), 1)


def inside(folder: Path, name: Any, where: str) -> Path:
    """The path of a file that a scene names.

    Raises:
        SoftmineError: the name is not text, or leads out of the folder.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise SoftmineError(f"{where} is {_shown(name)}, but must be a file's path")
    base = os.path.abspath(folder)  # noqa: PTH100  (links are the user's own and are followed)
    path = os.path.normpath(os.path.join(base, name.replace("\\", "/")))  # noqa: PTH118
    if os.path.commonpath((base, path)) != base or path == base:
        raise SoftmineError(f"{where} is {_shown(name)}, which leads out of {folder}; move the file into it")
    return folder / os.path.relpath(path, base)


def refuse_missing(paths: Sequence[Path], what: str, where: str) -> None:
    """Raises SoftmineError, with their number and the first, if some files are missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise SoftmineError(
            f"{where}: {len(missing)} of its {len(paths)} {what} are missing, the first is {missing[0]}; "
            "get a complete copy"
        )


def header(path: Path) -> Header:
    """Size and kind of an image, from the beginning of its file, as stored (not turned by EXIF).

    Raises:
        SoftmineError: it is not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(path) as image:
                has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
                width, height = image.size
                if isinstance(image, TiffImageFile):  # whose size is that of the upright image
                    width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
                return Header(width, height, has_alpha)
    except Exception as error:
        raise SoftmineError(f"cannot read {path}: it is not an image that can be decoded") from error


def smaller(path: Path, width: int, height: int, factor: int, where: str) -> tuple[int, int]:
    """Size (width, height) of an image that should be ``factor`` times smaller than the one stated.

    Raises:
        SoftmineError: it is not, by more than rounding.
    """
    found = header(path)
    off = max(abs(found.width * factor - width), abs(found.height * factor - height))
    if off >= factor:
        raise SoftmineError(
            f"{path} is {found.width} x {found.height} pixels, but {where} states {width} x {height}"
            + (f", {factor} times as much as it should be" if factor > 1 else "")
            + "; use the images that the cameras were estimated from"
        )
    return found.width, found.height


def extra_note(used: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """A note on images of a folder that no view uses."""
    names = {path.name for path in used}
    found = (
        [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS] if folder.is_dir() else []
    )
    extra = sorted(path.name for path in found if path.name not in names)
    if not extra:
        return ()
    return (f"{len(extra)} of the {len(found)} images in {folder} have no pose and are not used, "
            f"the first is {extra[0]}",)  # fmt: skip


class ImageFolder(NamedTuple):
    """A folder of images, how many times smaller than full size, and how many times they are averaged down yet."""

    folder: Path
    factor: int
    downscale: int


def image_folder(scene: Path, downscale: int) -> ImageFolder:
    """The smallest copies that averaging over whole blocks brings to full size over ``downscale``.

    A ``downscale`` of 1 takes the largest there are, even where those of full size are missing.

    Raises:
        SoftmineError: there is no folder of images, or none of a size that can be used.
    """
    found = {1: scene / "images"} if (scene / "images").is_dir() else {}
    for folder in scene.glob("images_*"):
        match = re.fullmatch(r"images_([1-9]\d{0,3})", folder.name)
        if match and folder.is_dir():
            found[int(match[1])] = folder
    if not found:
        raise SoftmineError(
            f"cannot read {scene}: it has no folder 'images' (nor images_2, images_4, images_8)"
        )
    if downscale == 1:
        factor = min(found)
        return ImageFolder(found[factor], factor, 1)
    usable = [factor for factor in found if downscale % factor == 0]
    if not usable:
        names = ", ".join(found[factor].name for factor in sorted(found))
        raise SoftmineError(
            f"cannot read {scene} at downscale {downscale}: it has {names} only; "
            f"give 1 for the largest there is, or a multiple of {min(found)}"
        )
    factor = max(usable)
    return ImageFolder(found[factor], factor, downscale // factor)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
