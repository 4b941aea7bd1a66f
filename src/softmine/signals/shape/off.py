"""Reads OFF files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.shape.polygons import Polygons, damaged
from softmine.signals.shape.text_rows import columns, numbers, parse, read_lines, spread, whole

_HEADER = re.compile(rb" *(ST)?(C)?(N)?(4)?(n)?(?:OFF|off)(?: *(BINARY)|)(.*)")
_COUNTS = re.compile(rb" *[0-9]+ +[0-9]+( +[0-9]+)? *$")


def read(path: Path, where: str, notes: list[str]) -> Polygons:
    """The faces of an OFF, COFF, NOFF or STOFF file; colors, normals and texture coordinates are no part of a shape.

    The counts may follow on the line of the word OFF, even without a space, as in ModelNet. Where vertices and faces have no
    lines of their own, they are read one after another; then no colors may follow.

    Raises:
        SoftmineError: it is binary, or not of three dimensions; it ends early; or a row is no row of numbers.
    """
    lines = [line for line in read_lines(path) if line.strip()]
    header = _HEADER.match(lines[0]) if lines else None
    if header is None:
        if not lines or not _COUNTS.match(lines[0]):
            raise damaged(where, "it does not begin with the word OFF")
        notes.append("it does not begin with the word OFF, but with counts, as old files do")
        rows = lines
    elif header[6]:
        raise SoftmineError(f"{where}: it is a binary OFF file; convert it to PLY")
    elif header[4] or header[5]:
        raise SoftmineError(
            f"{where}: its vertices are not of three coordinates (4OFF or nOFF); convert it to PLY"
        )
    else:
        rows = [header[7], *lines[1:]] if header[7].strip() else lines[1:]
    rows = _counts_first(rows)
    counts, _ = numbers(rows[:1], np.int64, where, "line of counts")
    if len(counts) < 2 or counts.min() < 0:
        raise damaged(where, "it does not say how many vertices and faces it has")
    points, faces = (int(count) for count in counts[:2])
    try:
        return _read_rows(rows[1:], points, faces, where, notes)
    except SoftmineError:
        plain = header is None or not (header[1] or header[2] or header[3])
        found = _read_free(rows[1:], points, faces) if plain else None
        if found is None:
            raise
        return found


def _counts_first(rows: list[bytes]) -> list[bytes]:
    """Rows, of which the first holds no more than the three counts."""
    words = rows[0].split() if rows else []
    return rows if len(words) < 6 else [b" ".join(words[:3]), b" ".join(words[3:]), *rows[1:]]


def _read_rows(rows: list[bytes], points: int, faces: int, where: str, notes: list[str]) -> Polygons:
    """Vertices and faces, each on a line of its own."""
    if len(rows) < points + faces:
        raise damaged(where, f"it is {len(rows):,} rows long where its header promises {points + faces:,}")
    vertices, _, _ = columns(rows[:points], 3, where, "vertex")
    # Colors, which may follow the corners, need not be integers.
    first, values, widths = columns(rows[points : points + faces], 1, where, "face")
    sizes = whole(first[:, 0])
    if faces and ((sizes >= widths) | (sizes < 0)).any():
        raise damaged(where, "some of its faces have fewer corners than they promise")
    if len(rows) > points + faces:
        notes.append(f"{len(rows) - points - faces:,} rows after its last face left out")
    corners = values[spread(np.cumsum(widths) - widths + 1, sizes)]
    return Polygons(vertices, whole(corners), sizes)


def _read_free(rows: list[bytes], points: int, faces: int) -> Polygons | None:
    """Vertices and faces one after another, whatever lines they are on; None where they are not all that is there."""
    values = parse(b" ".join(rows), np.float64)
    if values is None or len(values) < 3 * points + faces:
        return None
    vertices, values = values[: 3 * points].reshape(-1, 3), values[3 * points :]
    starts, place = np.empty(faces, np.int64), 0
    for face in range(faces):
        if place >= len(values) or not 0 <= values[place] < len(values) - place:
            return None
        starts[face] = place
        place += 1 + int(values[place])
    if place < len(values):
        return None
    sizes = whole(values[starts])
    return Polygons(vertices, whole(values[spread(starts + 1, sizes)]), sizes)
