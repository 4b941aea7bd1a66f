"""What the readers of all kinds of files share: paths that cannot be read, lengths, NPY headers and content hashes."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF files begin."""
NPY = b"\x93NUMPY"
"""How NPY files begin."""
START = 4096
UNPACKED_BYTES = 2**29
"""Any file may unpack to this many bytes."""
DEFLATE_MOST = 1032
"""Beyond, to this many times its own size: no deflated byte holds more."""
SMALL_BYTES = 2**20
"""Files smaller than this are small."""
SMALL_MEMORY = 3 * 2**28
"""Reading a small file takes no more memory than this at a time, beside what libraries take for a row or a block."""
WHOLE_BYTES = 256 * 2**20
"""Files up to this size are hashed whole."""


def check_file(path: Path, kind: str, where: str) -> bytes:
    """The first 4,096 bytes of a file, or all that it has.

    Args:
        path: the file.
        kind: what it should be, in a word: ``image``.
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


def check_length(path: Path, end: int, where: str) -> None:
    """Raise a SoftmineError if a file ends before byte ``end``."""
    size = path.stat().st_size
    if size < end:
        raise SoftmineError(
            f"{where}: it is truncated, {size:,} bytes long where its header promises {end:,}; get a complete copy"
        )


def check_unpacked(path: Path, size: int, where: str, what: str = "values", peak: int = 0) -> None:
    """Refuse a packed file that claims to hold so much more than its own size that it is more likely to be made to fill memory.

    Args:
        path: the file.
        size: bytes that it unpacks to.
        where: how the error begins.
        what: what unpacks, for the error.
        peak: bytes that reading takes at a time, where that is more: conversions need what they convert, too.

    Raises:
        SoftmineError: it is more than ``UNPACKED_BYTES`` and more than ``DEFLATE_MOST`` times the file; its peak is more than that, or
            of a file smaller than ``SMALL_BYTES`` more than ``SMALL_MEMORY``; or it is more than the machine's memory.
    """
    own, peak = path.stat().st_size, max(size, peak)
    most = SMALL_MEMORY if own < SMALL_BYTES else DEFLATE_MOST * own
    if size > max(UNPACKED_BYTES, DEFLATE_MOST * own) or peak > most:
        raise SoftmineError(
            f"{where}: its {own:,} bytes claim to unpack to {size / 2**30:.1f} GiB of {what}, more than a file so small is "
            "trusted with; if that is right, save them uncompressed"
        )
    if peak > physical_memory():
        raise SoftmineError(
            f"{where}: to unpack its {size / 2**30:.1f} GiB of {what} takes {peak / 2**30:.1f} GiB of memory, more than this "
            "machine has; save them uncompressed"
        )


def physical_memory() -> int:
    """Bytes of memory the machine has; without a way to tell, more than any file."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**62


def npy_header(file: io.BufferedIOBase, where: str) -> tuple[tuple[int, ...], str, np.dtype]:
    """Shape, order (``C`` or ``F``) and dtype of an NPY file, which is left where its values begin.

    Raises:
        SoftmineError: the header is damaged, or the file holds pickled objects.
    """
    header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = header[version[0]](file)
    except Exception as error:
        raise SoftmineError(
            f"{where}: its NPY header is truncated or damaged; save the array again"
        ) from error
    if dtype.hasobject:
        raise SoftmineError(
            f"{where}: it holds pickled objects, which are never loaded; save an array of numbers"
        )
    return shape, "F" if fortran else "C", dtype


def hash_file(path: Path) -> str:
    """Hash of a file's content, the same wherever the content is.

    Up to ``WHOLE_BYTES``: the SHA-256 of its bytes, in hex. Larger files: ``sampled-`` and the
    SHA-256 of the size, the first and the last MB, and 64 evenly spaced blocks of 64 KB.
    """
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            while block := file.read(2**20):
                digest.update(block)
            return digest.hexdigest()
        digest.update(str(size).encode())
        blocks = [(0, 2**20), (size - 2**20, 2**20)]
        blocks += [((size - 2**16) * i // 63, 2**16) for i in range(64)]
        for start, length in blocks:
            file.seek(start)
            digest.update(file.read(length))
    return f"sampled-{digest.hexdigest()}"


def hash_array(array: np.ndarray) -> str:
    """SHA-256, in hex, of an array's dtype, shape and bytes (row-major, little-endian)."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape} ".encode())
    digest.update(array.data)
    return digest.hexdigest()
