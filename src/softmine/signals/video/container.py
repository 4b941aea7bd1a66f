"""Whether a video file is as long as its container says, which decoders do not tell: they just end earlier."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from softmine.signals.files import check_length

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_EBML = b"\x1a\x45\xdf\xa3"


def check_complete(path: Path, where: str) -> None:
    """Refuse an MP4, MOV, Matroska, WebM or AVI file that ends before its last part does.

    Other containers, and parts whose size is left open (live recordings), are taken as they are.

    Raises:
        SoftmineError: the file is too short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[4:8] in _BOXES:
            promised = _end_of_boxes(file, size)
        elif start.startswith(_EBML):
            promised = _end_of_elements(file, size)
        elif start.startswith(b"RIFF"):
            promised = _end_of_chunks(file, size)
        else:
            return
    check_length(path, promised, where)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last top-level box of an ISO media file (ISO/IEC 14496-12, 4.2) ends."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length, smallest = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, smallest = int.from_bytes(head[8:], "big"), 16
        if length == 0:  # up to the end of the file
            return size
        if length < smallest:  # no box: what players would skip
            return size
        position += length
    return position


def _end_of_elements(file: BinaryIO, size: int) -> int:
    """Where the last top-level element of an EBML file (RFC 8794, 6) ends."""
    position = 0
    while position < size:
        file.seek(position)
        _vint(file, keep_marker=True)
        length = _vint(file, keep_marker=False)
        if length is None:  # open, as in a live recording
            return size
        position = file.tell() + length
    return position


def _vint(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """A number of variable length; None where its bits are all one, which means unknown, or there is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = int.from_bytes(first + file.read(more), "big")
    marker = 1 << (7 * (more + 1))
    if keep_marker:
        return bits
    return None if bits == 2 * marker - 1 else bits - marker


def _end_of_chunks(file: BinaryIO, size: int) -> int:
    """Where the last top-level chunk of a RIFF file ends; chunks begin at even positions."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or length in (0, 2**32 - 1):
            return size
        position += 8 + length
        if position < size:
            position += length % 2
    return position
