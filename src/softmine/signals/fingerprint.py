"""Hashes that say whether two runs saw the same data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

WHOLE_BYTES = 256 * 2**20
"""Files up to this size are hashed whole."""


def hash_file(path: Path) -> str:
    """Hash of a file's content.

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
