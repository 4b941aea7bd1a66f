"""Decoders for tifffile that stop where a strip or tile is full.

Without imagecodecs, tifffile unpacks all that a piece of a file holds, and then looks how much of it there should be: a
megabyte may be a gigabyte of zeros.
"""

from __future__ import annotations

import lzma
import zlib
from typing import Any

from tifffile import _imagecodecs


def zlib_decode(data: bytes, /, *, out: Any = None) -> bytes:
    """At most ``out`` bytes, and one more where there are more."""
    if not isinstance(out, int) or out < 0:
        return zlib.decompress(data)
    return _up_to(out, zlib.decompressobj(), data, zlib.error)


def lzma_decode(data: bytes, /, *, out: Any = None) -> bytes:
    """At most ``out`` bytes, and one more where there are more."""
    if not isinstance(out, int) or out < 0:
        return lzma.decompress(data)
    return _up_to(out, lzma.LZMADecompressor(), data, lzma.LZMAError)


def _up_to(most: int, stream: Any, data: bytes, error: type[Exception]) -> bytes:
    # With one byte more than there should be, what ends in time has its checksum tested.
    found = stream.decompress(data, most + 1)
    if len(found) <= most and not stream.eof:
        raise error("incomplete or truncated stream")
    return found


def install() -> None:
    """Makes tifffile use these in the place of its own, which do the same where a file is as it should be."""
    _imagecodecs.zlib_decode, _imagecodecs.lzma_decode = zlib_decode, lzma_decode
