"""Reads picture files: one entry that tells the format by its first bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.files import NPY, TIFF, check_file, npy_header
from softmine.signals.image import exr, pillow, tiff
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import check_layout


def read(path: Path) -> np.ndarray | MappedImage:
    """Pixels (H, W) or (H, W, C) of a picture file; mapped where the file is uncompressed.

    Raises:
        SoftmineError: the file is missing, damaged, or not one picture that can be read faithfully.
    """
    where = f"cannot read {path}"
    start = check_file(path, "picture", where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start.startswith(NPY):
            return _read_npy(path, where)
        if start.startswith(TIFF):
            return tiff.read(path, where)
        if start.startswith(b"\x76\x2f\x31\x01"):
            return exr.read(path, where)
        if start.startswith(b"PK"):
            raise SoftmineError(f"{where}: it is an archive (ZIP or NPZ); save one array as NPY")
        return pillow.read(path, where, start)


def _read_npy(path: Path, where: str) -> MappedImage:
    with path.open("rb") as file:
        shape, fortran, dtype = npy_header(file, where)
        offset = file.tell()
    if dtype.hasobject:
        raise SoftmineError(
            f"{where}: it holds pickled objects, which are never loaded; save an array of numbers"
        )
    height, width, channels = check_layout(shape, dtype, where)
    return MappedImage(path, dtype, (height, width, channels), offset, "F" if fortran else "C")
