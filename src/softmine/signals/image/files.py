"""Reads image files: the first bytes decide which reader."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.files import NPY, TIFF, check_file, npy_header
from softmine.signals.image import pillow, tiff
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import check_layout, check_size
from softmine.signals.libraries import require, silenced
from softmine.signals.memmap import MappedArray

_EXR_ORDERS = (("R", "G", "B", "A"), ("R", "G", "B"), ("Y", "A"), ("Y",))


def read(path: Path) -> np.ndarray | MappedImage:
    """Pixels (H, W) or (H, W, C) of an image file; mapped where the file is uncompressed.

    Raises:
        SoftmineError: the file is missing, damaged, or not one image that can be read faithfully.
    """
    where = f"cannot read {path}"
    start = check_file(path, "image", where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start.startswith(NPY):
            return _read_npy(path, where)
        if start.startswith(TIFF):
            return tiff.read(path, where)
        if start.startswith(b"\x76\x2f\x31\x01"):
            return _read_exr(path, where)
        if start.startswith(b"PK"):
            raise SoftmineError(f"{where}: it is an archive (ZIP or NPZ); save one array as NPY")
        return pillow.read(path, where, start)


def _read_npy(path: Path, where: str) -> MappedImage:
    with path.open("rb") as file:
        shape, order, dtype = npy_header(file, where)
        offset = file.tell()
    return MappedImage(MappedArray(path, dtype, check_layout(shape, dtype, where), offset, order))


def _read_exr(path: Path, where: str) -> np.ndarray:
    """Pixels (H, W, C) of the data window of a one-part EXR file.

    Channels R, G, B and A, or Y and A, are read in that order and others left out; a file with a
    single channel of any name is read as gray.

    Raises:
        SoftmineError: OpenEXR is missing, the file is damaged, or it is not one flat image.
    """
    openexr = require("OpenEXR", "exr", "EXR", where)
    try:
        with silenced(), openexr.File(str(path), separate_channels=True, header_only=True) as file:
            names = _exr_channels(file.header(), len(file.parts), where)
        with silenced(), openexr.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            return np.stack([channels[name].pixels for name in names], axis=-1)
    except SoftmineError:
        raise
    except Exception as error:
        raise SoftmineError(f"{where}: its EXR data is truncated or damaged; get a complete copy") from error


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
