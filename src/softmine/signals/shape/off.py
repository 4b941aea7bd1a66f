"""Reads OFF files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.shape.polygons import Polygons, damaged
from softmine.signals.shape.text_rows import columns, numbers, read_lines, spread, whole

_HEADER = re.compile(rb" *(ST)?(C)?(N)?(4)?(n)?OFF(?: *(BINARY)|)(.*)")


def read(path: Path, where: str, notes: list[str]) -> Polygons:
    """The faces of an OFF, COFF, NOFF or STOFF file; colors, normals and texture coordinates are no part of a shape.

    The counts may follow on the line of the word OFF, even without a space, as in ModelNet.

    Raises:
        SoftmineError: it is binary, or not of three dimensions; it ends early; or a row is no row of numbers.
    """
    del notes
    lines = [line for line in read_lines(path) if line.strip()]
    header = _HEADER.match(lines[0]) if lines else None
    if header is None:
        raise damaged(where, "it does not begin with the word OFF")
    if header[6]:
        raise SoftmineError(f"{where}: it is a binary OFF file; convert it to PLY")
    if header[4] or header[5]:
        raise SoftmineError(
            f"{where}: its vertices are not of three coordinates (4OFF or nOFF); convert it to PLY"
        )
    rows = [header[7], *lines[1:]] if header[7].strip() else lines[1:]
    counts, _ = numbers(rows[:1], np.int64, where, "line of counts")
    if len(counts) < 2 or counts.min() < 0:
        raise damaged(where, "it does not say how many vertices and faces it has")
    points, faces = (int(count) for count in counts[:2])
    if len(rows) < 1 + points + faces:
        raise damaged(
            where, f"it is {len(rows) - 1:,} rows long where its header promises {points + faces:,}"
        )
    vertices, _, _ = columns(rows[1 : 1 + points], 3, where, "vertex")
    # Colors, which may follow the corners, need not be integers.
    first, values, widths = columns(rows[1 + points : 1 + points + faces], 1, where, "face")
    sizes = whole(first[:, 0])
    if faces and ((sizes >= widths) | (sizes < 0)).any():
        raise damaged(where, "some of its faces have fewer corners than they promise")
    corners = values[spread(np.cumsum(widths) - widths + 1, sizes)]
    return Polygons(vertices, whole(corners), sizes)
