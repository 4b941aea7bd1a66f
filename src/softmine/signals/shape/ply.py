"""Reads PLY files: text and binary, little- and big-endian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from softmine.signals.shape.polygons import Polygons, damaged
from softmine.signals.shape.strips import unroll
from softmine.signals.shape.text_rows import parse, spread, whole

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"},
    **{"double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4"},
    **{"uint32": "u4", "int64": "i8", "uint64": "u8", "float16": "f2", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_WANTED = {
    "vertex": ("x", "y", "z"),
    "face": ("vertex_indices", "vertex_index"),
    "tristrips": ("vertex_indices", "vertex_index"),
}
_LONGEST_HEADER = 2**20


class _Property(NamedTuple):
    """A number of type ``dtype``, or a list of such numbers after its length, of type ``counts``."""

    name: str
    dtype: np.dtype
    counts: np.dtype | None


@dataclass
class _Element:
    name: str
    rows: int
    properties: list[_Property] = field(default_factory=list)


class _Column(NamedTuple):
    """A property of all rows: its values one after another, and how many each row has."""

    values: np.ndarray
    sizes: np.ndarray


class _Body:
    """What follows a header: numbers of a text, or bytes, which elements take one after another."""

    def __init__(self, data: bytes, text: bool, order: str, where: str) -> None:
        self.text, self.where, self.place = text, where, 0
        self.order: Literal["little", "big"] = "big" if order == ">" else "little"
        if text:
            units = parse(data, np.float64)
            if units is None:
                raise damaged(where, "something after its header is no number")
            self.units = units
        else:
            self.units = np.frombuffer(data, np.uint8)
        self._count_at: Callable[[int, np.dtype], int] = self._number if text else self._integer
        self.data = data

    def width(self, dtype: np.dtype) -> int:
        """Units that a number takes."""
        return 1 if self.text else dtype.itemsize

    def take(self, element: _Element) -> dict[str, _Column]:
        """The wanted columns of the next element, by name.

        Raises:
            SoftmineError: there is less than its rows need.
        """
        if not element.rows or not element.properties:
            return {}
        lists = [each for each in element.properties if each.counts is not None]
        # Mostly all rows are as long as the first.
        lengths = self._lengths(element, self.place)
        found = self._take_equal(element, lengths)
        if found is None and lists:
            found = self._take_one_by_one(element)
        if found is None:
            raise self.truncated()
        return found

    def truncated(self) -> Exception:
        """What to say where an element needs more than there is."""
        return damaged(
            self.where, f"it has fewer {'numbers' if self.text else 'bytes'} than its header promises"
        )

    def _lengths(self, element: _Element, place: int) -> list[int]:
        """Numbers of each property in the row that begins at a place; 1 of what is no list."""
        lengths = []
        for each in element.properties:
            length = 1
            if each.counts is not None:
                length = self._count_at(place, each.counts)
                place += self.width(each.counts)
            lengths.append(length)
            place += length * self.width(each.dtype)
        return lengths

    def _take_equal(self, element: _Element, lengths: list[int]) -> dict[str, _Column] | None:
        """Columns where lists are as long in all rows as in the first, else None."""
        heads = [0 if each.counts is None else self.width(each.counts) for each in element.properties]
        widths = [
            head + length * self.width(each.dtype)
            for head, length, each in zip(heads, lengths, element.properties, strict=True)
        ]
        end = self.place + element.rows * sum(widths)
        if end > len(self.units):
            return None
        table = self.units[self.place : end].reshape(element.rows, sum(widths))
        found, start = {}, 0
        for each, head, width, length in zip(element.properties, heads, widths, lengths, strict=True):
            if (
                each.counts is not None
                and (self._decode(table[:, start : start + head], each.counts) != length).any()
            ):
                return None
            if each.name in _WANTED.get(element.name, ()):
                values = self._decode(table[:, start + head : start + width], each.dtype)
                found[each.name] = _Column(values, np.full(element.rows, length))
            start += width
        self.place = end
        return found

    def _take_one_by_one(self, element: _Element) -> dict[str, _Column] | None:
        """Columns where lists differ in length; None where the rows go on beyond the end."""
        wanted = _WANTED.get(element.name, ())
        steps = [
            (
                each.counts,
                self.width(each.counts) if each.counts else 0,
                self.width(each.dtype),
                each.name in wanted,
            )
            for each in element.properties
        ]
        starts, sizes = [], []
        place, end, count_at = self.place, len(self.units), self._count_at
        for _ in range(element.rows):
            for counts, head, width, kept in steps:
                length = 1
                if counts is not None:
                    length = count_at(place, counts)
                    place += head
                if kept:
                    starts.append(place)
                    sizes.append(length)
                place += length * width
            if place > end:
                return None
        self.place = place
        names = [(each.name, each.dtype) for each in element.properties if each.name in wanted]
        found = {}
        for index, (name, dtype) in enumerate(names):
            size = np.array(sizes[index :: len(names)], np.int64)
            units = self.units[
                spread(np.array(starts[index :: len(names)], np.int64), size * self.width(dtype))
            ]
            found[name] = _Column(self._decode(units[None], dtype), size)
        return found

    def _decode(self, units: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Numbers (N,) of rows of units."""
        return units.reshape(-1) if self.text else np.ascontiguousarray(units).reshape(-1).view(dtype)

    def _number(self, place: int, dtype: np.dtype) -> int:
        del dtype
        return self._checked(int(whole(self.units[place : place + 1])[0]) if place < len(self.units) else -2)

    def _integer(self, place: int, dtype: np.dtype) -> int:
        """The integer at a byte, which is the length of a list."""
        if place + dtype.itemsize > len(self.data):
            raise self.truncated()
        if dtype.itemsize == 1 and dtype.kind == "u":
            return self.data[place]
        found = self.data[place : place + dtype.itemsize]
        return self._checked(int.from_bytes(found, self.order, signed=dtype.kind == "i"))

    def _checked(self, length: int) -> int:
        if length == -2:
            raise self.truncated()
        if length < 0:
            raise damaged(self.where, "the length of a list in it is negative or no integer")
        return length


def read(path: Path, where: str, notes: list[str]) -> Polygons:
    """The faces of a PLY file, whatever their sizes, and its triangle strips; all else in it is no part of a shape.

    Raises:
        SoftmineError: the header is damaged, or promises more or less than the file has.
    """
    data = path.read_bytes()
    order, elements, start = _parse_header(data, where)
    body = _Body(data[start:], order == "=", order, where)
    tables = {element.name: body.take(element) for element in elements}
    beyond = len(body.units) - body.place
    if beyond and body.text:
        raise damaged(where, f"it has {beyond:,} numbers more than its header promises")
    if beyond:
        notes.append(f"{beyond:,} bytes after its last element left out")
    vertex = tables.get("vertex", {})
    empty = _Column(np.empty(0, np.int64), np.empty(0, np.int64))
    if any(element.name == "vertex" and element.rows for element in elements) and len(vertex) < 3:
        raise damaged(where, "its vertices have no x, y and z")
    places = [vertex.get(axis, empty).values.astype(np.float64) for axis in "xyz"]
    faces, strips = (next(iter(tables.get(name, {}).values()), empty) for name in ("face", "tristrips"))
    if any(each.name == "face" and each.rows for each in elements) and not len(faces.sizes):
        raise damaged(where, "its faces have no list vertex_indices")
    corners, sizes = whole(faces.values), faces.sizes
    if len(strips.sizes):
        triangles = unroll(strips.values.astype(np.int64), np.cumsum(strips.sizes))
        corners = np.concatenate([corners, triangles.reshape(-1)])
        sizes = np.concatenate([sizes, np.full(len(triangles), 3)])
    return Polygons(np.stack(places, -1), corners, sizes)


def _parse_header(data: bytes, where: str) -> tuple[str, list[_Element], int]:
    """Byte order (``=`` for text), elements, and where their rows begin."""
    elements: list[_Element] = []
    order, place = None, 0
    while True:
        end = data.find(b"\n", place, _LONGEST_HEADER)
        if end < 0:
            raise damaged(where, "its header has no end")
        words = data[place:end].decode("utf-8", "replace").removeprefix("\ufeff").split()
        first, place = place == 0, end + 1
        try:
            match words:
                case ["ply"] if first:
                    pass
                case _ if first:
                    raise ValueError
                case [] | ["comment" | "obj_info", *_]:
                    pass
                case ["format", name, _]:
                    order = _ORDERS[name]
                case ["element", name, count] if order and int(count) >= 0:
                    elements.append(_Element(name, int(count)))
                case ["property", "list", counts, kind, name] if _TYPES[counts][0] != "f":
                    types = [np.dtype(f"{order}{_TYPES[each]}") for each in (kind, counts)]
                    elements[-1].properties.append(_Property(name, types[0], types[1]))
                case ["property", kind, name]:
                    elements[-1].properties.append(_Property(name, np.dtype(f"{order}{_TYPES[kind]}"), None))
                case ["end_header"] if order:
                    return order, elements, place
                case _:
                    raise ValueError
        except (ValueError, KeyError, IndexError):
            raise damaged(
                where, f"its header has the line {' '.join(words)[:60]!r}, which no PLY file has there"
            ) from None
