"""What the readers of all kinds of files do first: refuse a path that cannot be read, and know an array's header."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF files begin."""
NPY = b"\x93NUMPY"
"""How NPY files begin."""
START = 4096


def check_file(path: Path, kind: str, where: str) -> bytes:
    """The first 4,096 bytes of a file, or all that it has.

    Args:
        path: the file.
        kind: what it should be, as a person says it: ``picture``.
        where: how the error begins: ``cannot read photo.png``.

    Raises:
        SoftmineError: it is not there, is no ordinary file, may not be read, or is empty.
    """
    try:
        if path.is_dir():
            raise SoftmineError(f"{where}: it is a folder; name one {kind} file in it")
        if not path.exists():
            raise SoftmineError(f"{where}: there is no such file; check the path")
        if not path.is_file():
            raise SoftmineError(f"{where}: it is not an ordinary file; copy it to one")
        with path.open("rb") as file:
            start = file.read(START)
    except PermissionError:
        raise SoftmineError(f"{where}: you are not permitted to; change the file's permissions") from None
    except OSError as error:
        raise SoftmineError(f"{where}: {error.strerror or error}") from error
    if not start:
        raise SoftmineError(f"{where}: it is empty (0 bytes); get a complete copy")
    return start


def npy_header(file: io.BufferedIOBase, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and dtype of an NPY file, which is left where its values begin.

    Raises:
        SoftmineError: the header is damaged.
    """
    header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        return header[version[0]](file)
    except Exception as error:
        raise SoftmineError(
            f"{where}: its NPY header is truncated or damaged; save the array again"
        ) from error
