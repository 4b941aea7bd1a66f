"""What libsndfile leaves out of a file without a word: recordings behind the first, loop points, bytes nothing tells of."""

from __future__ import annotations

import re
from pathlib import Path

_FLAC = re.compile(rb"fLaC[\x00\x80]\0\0\x22")
_MPEG_BITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_BITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Thousands of bits a second by index, of layer III (ISO/IEC 11172-3, 2.4.2.3, and 13818-3)."""
_MPEG_RATES = (44_100, 48_000, 32_000)
_STREAMS = ("OGG", "FLAC", "MP3", "MPEG")
_PADDED = 6
"""Frames that encoders add at both ends, and a little more."""


def left_out(path: Path, kind: str, length: int, log: str) -> list[str]:
    """What to note of a file, a line each.

    Args:
        path: the file.
        kind: its format, as libsndfile names it.
        length: samples that were read.
        log: what libsndfile noted of it.
    """
    notes, recordings = [], 1
    if kind in _STREAMS:
        data = path.read_bytes()
        if kind == "OGG":
            groups = _ogg_groups(data)
            recordings = len(groups)
            if groups and groups[0] > 1:
                notes.append(f"one of its {groups[0]} streams")
        elif kind == "FLAC":
            recordings = len(_FLAC.findall(data))
        elif (whole := _mpeg_samples(data)) > length + _PADDED * 1152:
            notes.append(f"{whole - length:,} samples behind its first recording left out")
    if recordings > 1:
        notes.append(f"the first of its {recordings} recordings, which follow each other in the file")
    if re.search(r"^(?:smpl|cue |INST|MARK|LIST ?: ?\d+ adtl) *:", log, re.MULTILINE):
        notes.append("its loop points and markers left out")
    stray = re.search(r"Unknown chunk marker .* at position (\d+)", log)
    size = path.stat().st_size
    if stray and (bytes_behind := size - int(stray[1])) > 0:
        notes.append(
            f"{bytes_behind:,} bytes behind its samples, of which its header does not tell, left out"
        )
    return notes


def _ogg_groups(data: bytes) -> list[int]:
    """How many streams begin together in an Ogg file, for each time that some begin (RFC 3533, sections 4 and 6)."""
    place, groups, beginning = 0, [], False
    while data[place : place + 4] == b"OggS" and place + 27 <= len(data):
        if data[place + 5] & 2:
            groups = [*groups[:-1], groups[-1] + 1] if beginning else [*groups, 1]
        beginning = bool(data[place + 5] & 2)
        segments = data[place + 27 : place + 27 + data[place + 26]]
        place += 27 + len(segments) + sum(segments)
    return groups


def _mpeg_samples(data: bytes) -> int:
    """Samples in all frames of layer III of a file, one behind another; tags between them do not count."""
    place, total = 0, 0
    while place + 4 <= len(data):
        if data[place : place + 3] == b"ID3" and place + 10 <= len(data):
            size = data[place + 6 : place + 10]
            place += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
        elif data[place : place + 3] == b"TAG":
            place += 128
        elif (frame := _mpeg_frame(data[place : place + 4])) is not None:
            place += frame[0]
            total += frame[1]
        else:
            break
    return total


def _mpeg_frame(head: bytes) -> tuple[int, int] | None:
    """Bytes and samples of a frame of layer III, by its header; None for what is none."""
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer != 1 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    samples = 1152 if first else 576
    hertz = _MPEG_RATES[rate] // (1 if first else 2 if version == 2 else 4)
    thousands = (_MPEG_BITS if first else _MPEG2_BITS)[bits]
    return samples // 8 * 1000 * thousands // hertz + (head[2] >> 1 & 1), samples
