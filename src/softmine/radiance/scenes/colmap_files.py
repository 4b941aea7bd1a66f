"""The files of a COLMAP model, binary and text: cameras, images and points, as they are stored."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from softmine.errors import SoftmineError
from softmine.radiance.scenes.checks import read_bytes

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
        for number, words in _lines(path):
            camera, name, width, height, *parameters = _fields(
                words, (int, str, int, int), float, path, number
            )
            cameras[camera] = StoredCamera(name, width, height, tuple(parameters))
        return cameras
    data, cameras = _Binary(path), {}
    for _ in range(data.count(24)):
        camera, kind, width, height = data.take("<iiQQ")
        if kind not in MODELS:
            raise SoftmineError(f"cannot read {path}: camera {camera} is of an unknown model, number {kind}")
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
        # Every image has a second line, of its points, which may be empty.
        lines = _lines(path, keep_empty=True)
        for number, words in lines:
            if not words:
                continue
            next(lines, None)
            row = _fields(words, (int, *(float,) * 7, int, str), str, path, number)
            name = " ".join(row[9:])
            images.append(StoredImage(name, tuple(row[1:5]), tuple(row[5:8]), row[8]))
        return images
    data, images = _Binary(path), []
    for _ in range(data.count(73)):
        row = data.take("<i7di")
        name = data.text()
        data.skip(data.take("<Q")[0], 24)
        images.append(StoredImage(name, row[1:5], row[5:8], row[8]))
    data.end()
    return images


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
        for number, words in _lines(path):
            rows.append(_fields(words, (int, float, float, float), str, path, number)[1:4])
    else:
        data = _Binary(path)
        for _ in range(data.count(51)):
            rows.append(data.take("<Q3d3Bd")[1:4])
            data.skip(data.take("<Q")[0], 8)
        data.end()
    points = np.array(rows, np.float64).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise SoftmineError(f"cannot read {path}: a point's position is NaN or infinite; run COLMAP again")
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


def _lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Numbers, from 1, and words of the lines that are no comments."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise SoftmineError(f"cannot read {path}: it is not text; get a complete copy") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#") and (keep_empty or line.strip()):
            yield number, line.split()


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
        self.path, self.data, self.place = path, read_bytes(path), 0

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
