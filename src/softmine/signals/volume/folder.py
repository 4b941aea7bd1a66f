"""Reads a folder of slices: images of one size, numbered by their names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from softmine.checks import leads_out
from softmine.domain import SoftmineError
from softmine.signals.files import NPY, TIFF, check_file, physical_memory
from softmine.signals.image import files as image_files
from softmine.signals.image.data import ImageData
from softmine.signals.image.memmap import MappedImage
from softmine.signals.volume.data import VolumeData, check_layout
from softmine.signals.volume.tiff import TiffStack

DICOM = b"DICM"
"""What DICOM files hold after 128 bytes."""
_FORMATS = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "BMP": b"BM",
    "WebP": b"RIFF",
    "EXR": b"\x76\x2f\x31\x01",
    "PGM": (b"P5", b"P2", b"P6"),
    "NPY": NPY,
    "TIFF": TIFF,
}
"""How slices begin."""
_NUMBER = re.compile(r"[0-9]+")


def read(path: Path, where: str) -> VolumeData:
    """The images in a folder as slices along the first axis, in the order of the numbers in their names.

    Hidden files, and what is no image, are left out. Everything else must be slices of one stack.

    Raises:
        SoftmineError: there are none, one cannot be read, or they do not make one stack.
    """
    found, others = _images(path, where)
    slices = _in_order(found, where)
    first = _slice(slices[0], where)
    shape, dtype = _pixels(first).shape, _pixels(first).dtype
    check_layout((len(slices), *shape), dtype, where)
    size = len(slices) * _pixels(first).nbytes
    if size > physical_memory() // 2:
        raise SoftmineError(
            f"{where}: its slices take {size / 2**30:.1f} GiB of memory, more than half of what this machine has; save "
            "them as one uncompressed TIFF stack, NPY or NIfTI file, which is read where it lies"
        )
    voxels = np.empty((len(slices), *shape), dtype.newbyteorder("="))
    mask: np.ndarray | None = None
    notes: dict[str, None] = {}
    for number, file in enumerate(slices):
        data = first if number == 0 else _slice(file, where)
        pixels = _pixels(data)
        if pixels.shape != shape or pixels.dtype.newbyteorder("=") != voxels.dtype:
            raise SoftmineError(
                f"{where}: {file.name} is {_words(pixels)}, but {slices[0].name} {_words(voxels[0])}; slices need one "
                "size and type"
            )
        if data.nodata != first.nodata:
            raise SoftmineError(
                f"{where}: {file.name} declares {data.nodata} to mean no data, but {slices[0].name} {first.nodata}; "
                "slices need one such value"
            )
        voxels[number] = pixels
        if data.mask is not None:
            mask = np.ones(voxels.shape, bool) if mask is None else mask
            mask[number] = data.mask.reshape(*data.mask.shape, *[1] * (len(shape) - 2))
        notes |= dict.fromkeys(data.notes)
    said = [f"{len(slices)} slices, {slices[0].name} to {slices[-1].name}", *_jumps(slices)]
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        said.append(f"left out: {shown}")
    said += [f"slices: {note}" for note in notes]
    axes = "ZYX" if len(shape) == 2 else "ZYXS"
    return VolumeData(
        voxels,
        nodata=first.nodata,
        mask=mask,
        notes=tuple(said),
        layers=0,
        tiff=TiffStack(axes, len(axes) - 1),
        files=tuple(slices),
    )


def _images(path: Path, where: str) -> tuple[list[Path], list[str]]:
    """The images of the most frequent format, and the names of what is left out."""
    formats: dict[Path, str] = {}
    others = []
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise SoftmineError(f"{where}: {error.strerror or error}") from error
    for entry in entries:
        if not entry.is_file() or entry.stat().st_size == 0:
            others.append(entry.name)
            continue
        if leads_out(entry, path):
            raise SoftmineError(
                f"{where}: {entry.name} is a link that leads out of the folder; put the files themselves into it"
            )
        start = check_file(entry, "slice", where)
        if start[128:132] == DICOM:
            raise SoftmineError(
                f"{where}: {entry.name} is DICOM; convert the series to NIfTI first, as with dcm2niix"
            )
        name = next((name for name, magic in _FORMATS.items() if start.startswith(magic)), None)
        if name is None:
            others.append(entry.name)
        else:
            formats[entry] = name
    if len(formats) < 2:
        what = "no slices" if not formats else f"one image only, {next(iter(formats)).name}"
        raise SoftmineError(
            f"{where}: it is a folder with {what}; name one volume file, or a folder of numbered TIFF or PNG slices"
        )
    counts = Counter(formats.values())
    if len(counts) > 1:
        shown = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        raise SoftmineError(
            f"{where}: the folder holds images of several formats ({shown}); leave the slices alone in it"
        )
    return list(formats), others


def _in_order(files: list[Path], where: str) -> list[Path]:
    """Files by the numbers in their names, so that 10 follows 9."""
    patterns = Counter(_NUMBER.sub("#", file.name) for file in files)
    if len(patterns) > 1:
        shown = ", ".join(f"{count} {name}" for name, count in patterns.most_common(3))
        raise SoftmineError(
            f"{where}: the names of the images in this folder do not count along one pattern ({shown}, ...); leave one stack in it, "
            "its slices numbered"
        )
    columns = list(zip(*map(_numbers, files), strict=True))
    lengths = [len(set(column)) for column in columns if len(set(column)) > 1]
    if len(lengths) > 1 and np.prod(lengths) == len(files):
        raise SoftmineError(
            f"{where}: the names of the images in this folder count along {len(lengths)} numbers ({' x '.join(map(str, lengths))}); put "
            "each stack in a folder of its own"
        )
    # By name, too, for 1 and 01.
    return sorted(files, key=lambda file: (_numbers(file), file.name))


def _numbers(file: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(file.name))


def _jumps(slices: list[Path]) -> list[str]:
    """Where slices seem to be missing."""
    columns = [column for column in zip(*map(_numbers, slices), strict=True) if len(set(column)) > 1]
    if len(columns) != 1:
        return []
    steps = np.diff(np.array(columns[0], object))
    wide = [number for number, step in enumerate(steps) if step > min(steps)]
    if not wide:
        return []
    first = wide[0]
    more = f", and {len(wide) - 1} more times" if len(wide) > 1 else ""
    return [
        f"numbers jump from {slices[first].name} to {slices[first + 1].name}{more}; they are set side by side"
    ]


def _slice(file: Path, where: str) -> ImageData:
    """One slice, (H, W) or (H, W, C)."""
    try:
        return image_files.read_data(file)
    except SoftmineError as error:
        raise SoftmineError(
            f"{where}: one of its slices cannot be read: {str(error).partition(': ')[2]} ({file.name})"
        ) from error


def _pixels(data: ImageData) -> np.ndarray:
    array = data.pixels.view if isinstance(data.pixels, MappedImage) else data.pixels
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _words(pixels: np.ndarray) -> str:
    height, width, *channels = pixels.shape
    return f"{width} x {height} {pixels.dtype.name}" + (f" of {channels[0]} channels" if channels else "")
