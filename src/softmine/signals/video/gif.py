"""How long the frames of a GIF file last, which FFmpeg assumes without a word where the file does not say (GIF89a, 1990)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

MAGIC = (b"GIF87a", b"GIF89a")
LEAST, ASSUMED = 2, 10
"""Hundredths of a second: FFmpeg takes less than the first as if it were the second."""


def delays(path: Path) -> list[int | None]:
    """Hundredths of a second that each frame stays, None where none is given; as far as the file is whole."""
    data = path.read_bytes()
    place = 13 + _table(data[10:11])
    found: list[int | None] = []
    delay: int | None = None
    while place < len(data):
        kind = data[place]
        if kind == 0x21:  # an extension
            if data[place + 1 : place + 2] == b"\xf9":
                delay = int.from_bytes(data[place + 4 : place + 6], "little") or None
            place = _behind_blocks(data, place + 2)
        elif kind == 0x2C:  # a frame
            found.append(delay)
            delay = None
            place = _behind_blocks(data, place + 11 + _table(data[place + 9 : place + 10]))
        else:  # the end
            break
    return found


def rate(found: list[int | None]) -> Fraction:
    """Frames a second, the mean, as FFmpeg shows them."""
    shown = [delay if delay is not None and delay >= LEAST else ASSUMED for delay in found]
    return Fraction(100 * len(shown), sum(shown))


def notes(found: list[int | None], seen: int | None) -> list[str]:
    """What to say of a file's delays, and of frames that were not decoded; ``seen`` is None where not all were to be."""
    said = []
    if untimed := sum(delay is None or delay < LEAST for delay in found):
        said.append(
            f"{untimed} of its {len(found)} frames do not say how long they last: a tenth of a second is assumed"
        )
    if seen is not None and seen < len(found):
        said.append(
            f"{len(found) - seen} of its {len(found)} frames left out: FFmpeg joins those without a time of their own to others; "
            "save it anew, with times"
        )
    return said


def _table(flags: bytes) -> int:
    """Bytes of the color table that the flags of a screen or frame announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _behind_blocks(data: bytes, place: int) -> int:
    """Where a row of blocks ends, each after its length, the last of which is 0."""
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1
