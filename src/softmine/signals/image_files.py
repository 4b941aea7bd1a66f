"""Reads picture files: one entry that tells the format by its first bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals import exr, pillow, tiff
from softmine.signals.mapped import Mapped
from softmine.signals.pixels import check_layout

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read(path: Path) -> np.ndarray | Mapped:
    """Pixels (H, W) or (H, W, C) of a picture file; mapped where the file is uncompressed.

    Raises:
        SoftmineError: the file is missing, damaged, or not one picture that can be read faithfully.
    """
    where = f"cannot read {path}"
    start = _first_bytes(path, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start.startswith(b"\x93NUMPY"):
            return _read_npy(path, where)
        if start.startswith(_TIFF):
            return tiff.read(path, where)
        if start.startswith(b"\x76\x2f\x31\x01"):
            return exr.read(path, where)
        if start.startswith(b"PK"):
            raise SoftmineError(f"{where}: it is an archive (ZIP or NPZ); save one array as NPY")
        return pillow.read(path, where, start)


def _first_bytes(path: Path, where: str) -> bytes:
    try:
        if path.is_dir():
            raise SoftmineError(f"{where}: it is a folder; name one picture file in it")
        if not path.exists():
            raise SoftmineError(f"{where}: there is no such file; check the path")
        if not path.is_file():
            raise SoftmineError(f"{where}: it is not an ordinary file; copy it to one")
        with path.open("rb") as file:
            start = file.read(4096)
    except PermissionError:
        raise SoftmineError(f"{where}: you are not permitted to; change the file's permissions") from None
    except OSError as error:
        raise SoftmineError(f"{where}: {error.strerror or error}") from error
    if not start:
        raise SoftmineError(f"{where}: it is empty (0 bytes); get a complete copy")
    return start


def _read_npy(path: Path, where: str) -> Mapped:
    header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = header[version[0]](file)
            offset = file.tell()
    except Exception as error:
        raise SoftmineError(
            f"{where}: its NPY header is truncated or damaged; save the array again"
        ) from error
    if dtype.hasobject:
        raise SoftmineError(
            f"{where}: it holds pickled objects, which are never loaded; save an array of numbers"
        )
    height, width, channels = check_layout(shape, dtype, where)
    return Mapped(path, dtype, (height, width, channels), offset, "F" if fortran else "C")
