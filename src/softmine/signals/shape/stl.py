"""Reads STL files, binary and of text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from softmine.signals.shape.polygons import Polygons, damaged
from softmine.signals.shape.text_rows import columns, parse

_HEAD = 84
_ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_NAMES = re.compile(rb"(?<![a-z])((?:end)?solid)\b.*?(?=\bfacet\s+normal\s+[-+.0-9in]|\n|\Z)")
"""A name may hold any word; a number follows on that of a facet."""
_VERTEX = re.compile(rb"vertex\s+(\S+\s+\S+\s+\S+)")


def read(path: Path, where: str, notes: list[str]) -> Polygons:
    """The triangles of all solids of a file.

    It is binary where its length is that of its count of triangles, whatever it begins with; else text if it begins with
    ``solid`` and has facets. Normals and colors are left out: the order of corners tells the side.

    Raises:
        SoftmineError: it is cut off, or is no STL file.
    """
    data = path.read_bytes()
    count = int.from_bytes(data[80:_HEAD], "little")
    promised = _HEAD + count * _ROW.itemsize
    if len(data) != promised:
        start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if start.startswith(b"solid") and (b"facet" in start or b"endsolid" in start or b"\0" not in start):
            return _read_text(data, where)
        if len(data) < max(promised, _HEAD):
            raise damaged(
                where,
                f"it is {len(data):,} bytes long where its header promises {promised:,}",
            )
        notes.append(f"{len(data) - promised:,} bytes after its last triangle left out")
    rows = np.frombuffer(data, _ROW, count, _HEAD)
    return Polygons.triangles(rows["corners"].reshape(-1, 3).astype(np.float64), np.arange(3 * count))


def _read_text(data: bytes, where: str) -> Polygons:
    text = data.lower().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = _NAMES.sub(rb"\1 ", text)
    if text.rfind(b"endsolid") < text.rfind(b"facet"):
        raise damaged(where, "it has no endsolid after its last facet")
    loops = text.split(b"endloop")
    sizes = np.fromiter((loop.count(b"vertex") for loop in loops), np.int64, len(loops))
    if sizes[-1]:
        raise damaged(where, "it ends in its last facet")
    rows = _VERTEX.findall(text)
    if len(rows) != sizes.sum():
        raise damaged(where, "some of its vertices have fewer than three coordinates")
    values = parse(b" ".join(rows), np.float64)
    if values is None:
        columns(rows, 3, where, "vertex")  # which finds the row to show
        raise damaged(where, "some of its numbers cannot be read")
    return Polygons(values.reshape(-1, 3), np.arange(len(rows)), sizes[:-1])
