"""What readers of scenes look for and refuse, each in one sentence that names the file and the field."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Pose
from softmine.radiance.photo_files import orientation, valid_orientation
from softmine.signals.image import files as image_files
from softmine.signals.image.memmap import MappedImage

ROTATION_TOLERANCE = 0.01
MAX_SIDE = 2**16
LARGEST = 1e15
"""Beyond, squares and their sums leave few digits, or none."""


class Header(NamedTuple):
    """What an image's file says before it is decoded.

    Attributes:
        width: of the pixels as they are stored.
        height: of the pixels as they are stored.
        has_alpha: whether there is a channel of opacity.
        orientation: by EXIF or TIFF, 1 to 8: 1 is upright. A PNG that has it behind its pixels seems upright here.
    """

    width: int
    height: int
    has_alpha: bool
    orientation: int


class Size(NamedTuple):
    """Size of an image, as it is stored or, where ``upright``, as EXIF turns it; and its header."""

    width: int
    height: int
    upright: bool
    header: Header


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
    """A number under ``key``, at most ``LARGEST``.

    Raises:
        SoftmineError: there is none, or it is no such number.
    """
    value = content.get(key, default)
    if value is None:
        raise SoftmineError(f"{where}: it has no '{key}'; add it")
    # Compared, not converted: an integer may be longer than a float can be.
    fits = isinstance(value, int | float) and abs(value) <= LARGEST
    if isinstance(value, bool) or not fits:
        raise SoftmineError(
            f"{where}: '{key}' is {_shown(value)}, but must be a finite number, at most {LARGEST:g}"
        )
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
    if np.abs(pose).max() > LARGEST:
        raise SoftmineError(
            f"{where} holds {np.abs(pose).max():g}, more than {LARGEST:g}; drop the view or its unit"
        )
    if pose.shape[0] == 4 and np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise SoftmineError(f"{where} has {pose[3].tolist()} as its last row, not 0 0 0 1")
    left, lengths, right = np.linalg.svd(pose[:3, :3])
    if np.abs(lengths - 1).max() > ROTATION_TOLERANCE:
        low, high = lengths.min(), lengths.max()
        lengths = " to ".join(dict.fromkeys((f"{low:.3g}", f"{high:.3g}")))
        kind = "is singular" if low < 1e-6 else f"scales lengths by {lengths}"
        raise SoftmineError(f"{where} {kind}, but a pose only rotates and moves; divide the scale out of it")
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        raise SoftmineError(
            f"{where} mirrors, but a pose only rotates and moves; check the order of its axes"
        )
    return np.concatenate((rotation, pose[:3, 3:]), 1)


def refuse_missing(paths: Sequence[Path], what: str, where: str) -> None:
    """Raises SoftmineError, with their number and the first, if some files are missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise SoftmineError(
            f"{where}: {len(missing)} of its {len(paths)} {what} {'is' if len(missing) == 1 else 'are'} missing, the first is "
            f"{missing[0]}; get a complete copy"
            + (", or remove them from the file" if where.endswith(".json") else "")
        )


def refuse_repeated(paths: Sequence[Path], what: str, where: str, first: int = 0) -> None:
    """Raises SoftmineError, with the numbers of two entries, counted from ``first``, if they are of the same file."""
    seen: dict[Path, int] = {}
    for index, path in enumerate(paths, first):
        if seen.setdefault(path, index) != index:
            raise SoftmineError(
                f"{where}: {what}s {seen[path]} and {index} are two poses of one photo, {path}; leave one of them out"
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
                # In a PNG it may lie behind the pixels, which Pillow would all decode.
                behind = isinstance(image, PngImageFile) and "exif" not in image.info
                return Header(width, height, has_alpha, 1 if behind else valid_orientation(image))
    except Exception:
        return _decoded_header(path)


def _decoded_header(path: Path) -> Header:
    """That of an image that Pillow does not know, such as a TIFF of gray and opacity with 16 bits: it has to be decoded."""
    pixels = image_files.read(path)
    pixels = pixels.view if isinstance(pixels, MappedImage) else pixels
    if pixels.dtype.name not in ("uint8", "uint16", "bool"):
        raise SoftmineError(
            f"cannot read {path}: its values are {pixels.dtype.name}; save it with 8 or 16 bits a color"
        )
    return Header(pixels.shape[1], pixels.shape[0], pixels.ndim == 3 and pixels.shape[2] in (2, 4), 1)


def smaller(
    path: Path, width: int, height: int, factor: int, where: str, found: Header | None = None
) -> Size:
    """Size of an image that should be ``factor`` times smaller than the one stated, which may be that of the upright image.

    Args:
        path: the image.
        width: stated, at full size.
        height: stated, at full size.
        factor: how many times smaller the image should be.
        where: what states it.
        found: the image's header, where it has been read.

    Raises:
        SoftmineError: it is not, by more than rounding.
    """
    found = found or header(path)
    turned = found.orientation in (5, 6, 7, 8)
    if not turned and abs(found.height * factor - width) < factor and found.height != found.width:
        turned = orientation(path) in (5, 6, 7, 8)
    for across, down, upright in ((found.width, found.height, False), (found.height, found.width, True)):
        off = max(abs(across * factor - width), abs(down * factor - height))
        if off < factor and (turned or not upright):
            return Size(across, down, upright, found)
    raise SoftmineError(
        f"{path} is {found.width} x {found.height} pixels"
        + (f" (turned by EXIF: {found.height} x {found.width})" if turned else "")
        + f", but {where} states {width} x {height}"
        + (f", {factor} times as much as it should be" if factor > 1 else "")
        + "; use the images that the cameras were estimated from"
    )


def size_notes(sizes: Mapping[Path, Size], downscale: int) -> tuple[str, ...]:
    """Notes on photos that EXIF turns, by what was made of that, and on those that ``downscale`` does not divide."""
    upright = [path.name for path, size in sizes.items() if size.upright]
    kept = [path.name for path, size in sizes.items() if not size.upright and size.header.orientation != 1]
    cut = [path.name for path, size in sizes.items() if size.width % downscale or size.height % downscale]
    notes = []
    if upright:
        notes.append(
            f"{len(upright)} photos are turned by EXIF, as their cameras are, the first is {upright[0]}"
        )
    if kept:
        notes.append(
            f"{len(kept)} photos are not turned by EXIF, as their cameras are not, the first is {kept[0]}"
        )
    if cut:
        notes.append(
            f"rows or columns at the end of {len(cut)} photos that fill no block of {downscale} are cut off"
        )
    return tuple(notes)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
