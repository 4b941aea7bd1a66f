"""Reads image files: the first bytes decide which reader."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softmine.checks import leads_out
from softmine.domain import SoftmineError
from softmine.signals.files import NPY, TIFF, check_file, check_unpacked, npy_header
from softmine.signals.image import pillow, tiff
from softmine.signals.image.data import ImageData
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import check_layout, check_size
from softmine.signals.libraries import require, silenced
from softmine.signals.memmap import MappedArray

_RAW = {
    rb"II\*\0.{4}CR": "CR2",
    rb".{4}ftypcrx": "CR3",
    rb"II\x1a\0.{2}\0\0HEAPCCDR": "CRW",
    rb"II(RO|RS|U\0)|MMOR": "ORF or RW2",
    b"FUJIFILMCCD-RAW": "RAF",
    b"FOVb": "X3F",
    rb"\0MRM": "MRW",
}
"""How the files of cameras begin that are no TIFF of known structure, as regular expressions, and what they are called."""
_SIDECAR_BYTES = 2**20
_HEIC = rb".{4}ftyp(?:hei[cxms]|hev[cxms]|m[is]f1(?!.{0,64}avi[fs]))"
"""How photos of iPhones begin, beside AVIF, which is packed in the same way."""
_EXR_ORDERS = (("R", "G", "B", "A"), ("R", "G", "B"), ("Y", "A"), ("Y",))


def read(path: Path) -> np.ndarray | MappedImage:
    """Pixels (H, W) or (H, W, C) of an image file, whatever else it says; mapped where the file is uncompressed.

    Raises:
        SoftmineError: as of ``read_data``.
    """
    return read_data(path).pixels


def read_data(path: Path) -> ImageData:
    """An image file and what it says of its pixels; they are mapped where the file is uncompressed.

    Raises:
        SoftmineError: the file is missing, damaged, or not one image that can be read faithfully.
    """
    where = f"cannot read {path}"
    start = check_file(path, "image", where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = next((name for magic, name in _RAW.items() if re.match(magic, start, re.DOTALL)), None)
        if raw is not None:
            raise SoftmineError(f"{where}: it is camera raw ({raw}); develop it to TIFF or PNG first")
        if re.match(_HEIC, start, re.DOTALL):
            raise SoftmineError(f"{where}: it is HEIC; convert it to PNG, JPEG or AVIF first")
        if start.startswith(NPY):
            return _read_npy(path, where)
        if start.startswith(TIFF):
            return _with_sidecar(tiff.read(path, where), path)
        if start.startswith(b"\x76\x2f\x31\x01"):
            return _read_exr(path, where)
        if start.startswith(b"PK"):
            raise SoftmineError(f"{where}: it is an archive (ZIP or NPZ); save one array as NPY")
        return pillow.read(path, where, start)


def _with_sidecar(data: ImageData, path: Path) -> ImageData:
    """The image of a TIFF, with a note where GDAL's file beside it declares a no-data value, which is not read."""
    beside = path.with_name(f"{path.name}.aux.xml")
    if data.nodata is not None or leads_out(beside, path.parent) or not beside.is_file():
        return data
    try:
        with beside.open("rb") as file:
            found = re.search(rb"<NoDataValue[^>]*>([^<]{1,40})<", file.read(_SIDECAR_BYTES))
    except OSError:  # which the image does not need
        return data
    if found is None:
        return data
    value = found[1].decode(errors="replace").strip()
    note = f"{beside.name} declares {value} to mean no data, which is not used: only what the file itself declares is"
    return replace(data, notes=(*data.notes, note))


def _read_npy(path: Path, where: str) -> ImageData:
    with path.open("rb") as file:
        shape, order, dtype = npy_header(file, where)
        offset = file.tell()
    return ImageData(MappedImage(MappedArray(path, dtype, check_layout(shape, dtype, where), offset, order)))


def _read_exr(path: Path, where: str) -> ImageData:
    """Pixels (H, W, C) of the data window of a one-part EXR file.

    Channels R, G, B and A, or Y and A, are read in that order and others left out; a file with a
    single channel of any name is read as gray.

    Raises:
        SoftmineError: OpenEXR is missing, the file is damaged, or it is not one flat image.
    """
    openexr = require("OpenEXR", "exr", "EXR", where)
    try:
        with silenced(), openexr.File(str(path), separate_channels=True, header_only=True) as file:
            header = file.header()
            names = _exr_channels(header, len(file.parts), where)
            notes = _exr_notes(header, names)
            sides = (int(high) - int(low) + 1 for low, high in zip(*header["dataWindow"], strict=True))
            # Channels that are left out are unpacked, too.
            size = 4 * math.prod(sides) * len(header["channels"])
            check_unpacked(path, size, where, "pixels", peak=2 * size)
        with silenced(), openexr.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            pixels = np.stack([channels[name].pixels for name in names], axis=-1)
        return ImageData(pixels, notes=notes)
    except (SoftmineError, MemoryError):
        raise
    except Exception as error:
        raise SoftmineError(f"{where}: its EXR data is truncated or damaged; get a complete copy") from error


def _exr_notes(header: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """What of an EXR file is left out."""
    notes = []
    others = [each.name for each in header["channels"] if each.name not in names]
    if others:
        shown = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
        notes.append(f"read its channels {', '.join(names)}; left out: {shown}")
    data, display = (np.array(header[name]).tolist() for name in ("dataWindow", "displayWindow"))
    if data != display:
        size = " x ".join(str(1 + high - low) for low, high in zip(*display, strict=True))
        notes.append(f"read its data window, which is not the window of {size} that viewers show")
    if names[-1] == "A":
        notes.append("its colors are multiplied by opacity, as in EXR, and are learned and written so")
    return tuple(notes)


def _exr_channels(header: dict[str, Any], parts: int, where: str) -> tuple[str, ...]:
    """Names of the channels to read, in order."""
    if parts > 1:
        raise SoftmineError(f"{where}: it has {parts} parts; save the one you want as a file")
    if "deep" in str(header["type"]):
        raise SoftmineError(f"{where}: it is a deep EXR; flatten it")
    (left, top), (right, bottom) = (corner.tolist() for corner in header["dataWindow"])
    check_size(bottom - top + 1, right - left + 1, where)
    full = {c.name: c.xSampling == 1 and c.ySampling == 1 for c in header["channels"]}
    if {"RY", "BY"} & full.keys():
        raise SoftmineError(f"{where}: its colors are luminance and chroma; convert it to RGB")
    order = next((order for order in _EXR_ORDERS if full.keys() >= set(order)), None)
    order = order or (tuple(full) if len(full) == 1 else None)
    if order is None or not all(full[name] for name in order):
        raise SoftmineError(
            f"{where}: its channels are {', '.join(full)}, not RGB, RGBA or Y; save those you want"
        )
    return order
