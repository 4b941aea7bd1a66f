"""Reads Wavefront OBJ files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from softmine.signals.shape.polygons import Polygons, damaged
from softmine.signals.shape.text_rows import columns, numbers, read_lines

_OTHER = (b"p", b"l", b"curv", b"curv2", b"surf", b"call")


def read(path: Path, where: str, notes: list[str]) -> Polygons:
    """The faces of all objects and groups; what else a file may hold (points, lines, curves, surfaces) is noted.

    Negative corners count back from the last vertex above their line.

    Raises:
        SoftmineError: a row is no row of numbers, or names vertex 0.
    """
    places, faces, above, others = [], [], [], set()
    for line in read_lines(path):
        if line[:1] == b" ":
            line = line.lstrip()
        if line[:2] == b"v ":
            places.append(line[2:])
        elif line[:2] == b"f ":
            faces.append(line[2:])
            above.append(len(places))
        elif line[:1] in b"plcfs" and line:
            word = line.partition(b" ")[0]
            if word == b"fo":  # of the first version of the format
                faces.append(line[3:])
                above.append(len(places))
            elif word in _OTHER:
                others.add(word.decode())
    if others:
        notes.append(f"only its faces are read, not what else is in it ({', '.join(sorted(others))})")
    vertices, values, widths = columns(places, 3, where, "vertex")
    four = widths == 4
    if four.any() and (values[(np.cumsum(widths) - 1)[four]] != 1).any():
        notes.append("weights (w) of vertices, which only curves use, left out")
    if any(b"/" in face for face in faces):
        # Beside a vertex, a corner may name a texture coordinate and a normal.
        faces = re.sub(rb"/[^ \n]*", b"", b"\n".join(faces)).split(b"\n")
    corners, sizes = numbers(faces, np.int64, where, "face")
    if (corners == 0).any():
        raise damaged(where, "a face names vertex 0, but they are counted from 1")
    back = corners < 0
    if back.any():
        corners[back] += np.repeat(above, sizes)[back] + 1
        if (corners[back] < 1).any():
            raise damaged(where, "a face counts back to before the first vertex")
    return Polygons(vertices, corners - 1, sizes)
