"""Reads meshes, and puts them in order: one entry for all formats."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from softmine.domain import SoftmineError
from softmine.signals.files import check_file
from softmine.signals.shape import gltf, obj, off, ply, stl
from softmine.signals.shape.polygons import check, triangulate

MOST_TRIANGLES = 50_000_000
_READERS = {
    "obj": obj.read,
    "ply": ply.read,
    "stl": stl.read,
    "off": off.read,
    "glb": functools.partial(gltf.read, most=MOST_TRIANGLES),
    "gltf": functools.partial(gltf.read, most=MOST_TRIANGLES),
}
FORMATS = tuple(_READERS)
_PACKED = {b"\x1f\x8b": "gzip", b"PK\3\4": "ZIP", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z"}
"""How packed files begin."""
_BEGIN = {
    "ply": rb"ply\s",
    "glb": b"glTF",
    "stl": rb"\s*(?i:solid)\b[^\0]*\bfacet\s",
    "off": rb"\s*(?:ST)?C?N?OFF\b",
    "gltf": rb"\s*\{[^\0]*\"asset\"",
    "obj": rb"(?:\s*#[^\n]*\n|\s*(?:mtllib|o|g) [^\n]*\n|\s)*v +[-+0-9.]",
}
"""How files of a kind begin, as regular expressions."""
MANY_PARTS = 1000
"""Of more parts none is looked at alone."""
MISSING = 0.25
"""Share of an open mesh's area that may be missing if it is to have an inside."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64, in the units of its file.
        faces: corners of each triangle, counter-clockwise seen from outside, (F, 3).
        closed: whether each edge has exactly two triangles that agree on which side is out.
        notes: what had to be put in order, for people.
        apart: whether no two closed parts may overlap.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    closed: bool = True
    notes: list[str] = field(default_factory=list)
    apart: bool = True


def read(path: Path) -> Mesh:
    """The mesh in an OBJ, PLY, STL, OFF, GLB or GLTF file, in order (see ``tidy``).

    Polygons become triangles; what was chosen, left out or put in order is noted.

    Raises:
        SoftmineError: the file is missing, damaged or no mesh.
    """
    where = f"cannot read {path}"
    start = check_file(path, "mesh", where)
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise SoftmineError(
            f"{where}: no mesh format ends in '{path.suffix}'; give one of {', '.join(FORMATS)}"
        )
    _check_text(start, where)
    notes: list[str] = []
    damaged = f"{where}: it is truncated, damaged or no {kind.upper()} file; get a complete copy"
    try:
        with np.errstate(all="ignore"):  # numbers that are none are refused below
            polygons = _READERS[kind](path, where, notes)
    except MemoryError:
        raise
    except Exception as error:
        _check_kind(start, kind, where)
        if isinstance(error, SoftmineError):
            raise
        raise SoftmineError(damaged) from error
    if not len(polygons.sizes):
        _check_kind(start, kind, where)
        what = (
            "only points, no triangles; make a surface of them first"
            if len(polygons.vertices)
            else f"no triangles; it may be truncated, or no {kind.upper()} file"
        )
        raise SoftmineError("; ".join([f"{where}: it holds {what}", *notes]))
    check(polygons, where)
    return tidy(polygons.vertices, triangulate(polygons, where, notes), where, notes)


def _check_text(start: bytes, where: str) -> None:
    """Refuse what is packed, or text that is none to readers, though it is to people."""
    packed = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
    if packed:
        raise SoftmineError(f"{where}: it is packed ({packed}); unpack it first")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SoftmineError(f"{where}: it is text in UTF-16; save it as UTF-8")


def _check_kind(start: bytes, kind: str, where: str) -> None:
    """Refuse what begins as a file of another kind than its name says."""
    other = next((name for name, magic in _BEGIN.items() if re.match(magic, start, re.DOTALL)), kind)
    if other != kind and {other, kind} != {"gltf", "glb"}:
        raise SoftmineError(
            f"{where}: its name says {kind.upper()}, but it begins as {other.upper()} does; rename it to end in .{other}"
        )


def tidy(vertices: np.ndarray, faces: np.ndarray, where: str, notes: list[str] | None = None) -> Mesh:
    """A mesh whose equal vertices are one, without triangles that have no area or are there twice, facing outwards.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        where: how an error begins.
        notes: what is known of the mesh already.

    Raises:
        SoftmineError: a coordinate is not finite, or no triangle has an area.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or vertices.ndim != 2 or vertices.shape[1] != 3:
        raise SoftmineError(
            f"{where}: vertices are (V, 3) and triangles (F, 3), not {vertices.shape} and {faces.shape}"
        )
    if len(faces) > MOST_TRIANGLES:
        raise SoftmineError(
            f"{where}: it has {len(faces):,} triangles, more than {MOST_TRIANGLES:,}; simplify it"
        )
    if not np.isfinite(vertices[faces]).all():
        raise SoftmineError(f"{where}: some of its coordinates are NaN or infinite; repair it")
    if not len(faces) or np.abs(vertices[faces]).max() > 1e100:
        raise SoftmineError(
            f"{where}: "
            + ("it holds no triangles" if not len(faces) else "its size is beyond 1e100; scale it down")
        )
    vertices, place = np.unique(vertices + 0.0, axis=0, return_inverse=True)
    faces = place.reshape(-1)[faces]
    notes = list(notes or ())
    kept = faces[_has_area(vertices, faces)]
    if not len(kept):
        raise SoftmineError(
            f"{where}: none of its {len(faces):,} triangles has an area; check its units and its precision"
        )
    if len(kept) < len(faces):
        notes.append(f"{len(faces) - len(kept):,} triangles without area left out")
    _, first = np.unique(np.sort(kept, -1), axis=0, return_index=True)
    if len(first) < len(kept):
        notes.append(f"{len(kept) - len(first):,} repeated triangles left out")
    faces = kept[np.sort(first)]
    used, place = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], place.reshape(-1, 3)
    faces, closed, apart = orient(vertices, faces, notes)
    return Mesh(vertices, faces, closed, notes, apart)


def _has_area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which faces (F, 3) are triangles to double precision: not all on a line, of three corners."""
    span = np.ptp(vertices[faces.reshape(-1)], axis=0).max()
    corners = (vertices - vertices[faces[0, 0]])[faces] / (span or 1.0)
    sides = np.roll(corners, -1, 1) - corners
    longest = np.linalg.norm(sides, axis=-1).max(-1)
    double = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1)
    return double > 1e-12 * np.maximum(longest, 1e-12)


def orient(vertices: np.ndarray, faces: np.ndarray, notes: list[str]) -> tuple[np.ndarray, bool, bool]:
    """Turns triangles so that what they enclose lies behind them.

    Args:
        vertices: (V, 3).
        faces: (F, 3), of corners that are each there once.
        notes: what was done is added, for people.

    Returns:
        Faces that agree on which side is out, where they can; whether each edge has exactly two that do; and whether no two
        closed parts may overlap.
    """
    ends = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    forward = ends[:, 0] < ends[:, 1]
    low, high = ends.min(-1), ends.max(-1)
    _, edge, uses = np.unique(low * len(vertices) + high, return_inverse=True, return_counts=True)
    balance = np.bincount(edge.reshape(-1), np.where(forward, 1, -1))
    whole = np.zeros(len(faces), np.int64)
    if (uses == 1).any():
        notes.append(
            f"open, with {int((uses == 1).sum()):,} edges at holes: the winding number decides what is inside"
        )
        # Which side of an open sheet is out, its file alone says.
        turned = _outwards(vertices, faces, whole, notes) if _nearly_closed(vertices, faces) else faces
        return turned, False, True
    if (uses > 2).any():
        notes.append(
            f"not manifold, with {int((uses > 2).sum()):,} edges of three triangles or more: the winding "
            "number decides what is inside"
        )
        return _outwards(vertices, faces, whole, notes), False, True
    pairs = edge.reshape(-1).argsort(kind="stable").reshape(-1, 2)
    same = forward[pairs]
    faces, part, agreed = _agree(faces, pairs // 3, same[:, 0] == same[:, 1])
    if not agreed:
        notes.append("its triangles cannot agree on an outside: the winding number decides what is inside")
        return faces, False, True
    if (balance != 0).any():
        notes.append("triangles turned to face one way")
    faces = _outwards(vertices, faces, part, notes)
    apart = _apart(vertices, faces, part)
    if not apart:
        # Inside one part, the nearest triangle may be a wall of another.
        notes.append(
            f"{part.max() + 1:,} parts, which may overlap: the winding number decides what is inside"
        )
    return faces, True, apart


def _agree(
    faces: np.ndarray, triangles: np.ndarray, differ: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Turns triangles over until neighbors run along their edge in opposite directions.

    Args:
        faces: (F, 3).
        triangles: the two at each edge, (E, 2).
        differ: whether one of them must be turned, (E,).

    Returns:
        Faces, of which as few as can be were turned in each part; the part of each, (F,); and whether it could be done.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_tree, connected_components

    count = len(faces)
    ends = np.concatenate([triangles, triangles[:, ::-1]])
    weight = np.concatenate([differ, differ]) + 1
    graph = coo_array((weight, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    part = connected_components(graph, directed=False)[1]
    if not differ.any():
        return faces, part, True
    # One tree over all parts, from one more node that is joined to the first triangle of each.
    first = np.unique(part, return_index=True)[1]
    ends = np.concatenate([ends, np.stack([np.full_like(first, count), first], -1)])
    weight = np.concatenate([weight, np.ones_like(first)])
    graph = coo_array((weight, (ends[:, 0], ends[:, 1])), shape=(count + 1, count + 1)).tocsr()
    tree = breadth_first_tree(graph, count).tocoo()
    above, turned = np.full(count + 1, count), np.zeros(count + 1, bool)
    above[tree.col], turned[tree.col] = tree.row, tree.data == 2
    # A node's turn is its parent's, changed where the edge between them disagrees: each adds up the changes on a way that
    # doubles, until all ways end at the root.
    while (above != count).any():
        turned ^= turned[above]
        above = above[above]
    turned = turned[:count]
    agreed = bool(((turned[triangles[:, 0]] ^ turned[triangles[:, 1]]) == differ).all())
    turned ^= (np.bincount(part, turned) > np.bincount(part) / 2)[part]
    return np.where(turned[:, None], faces[:, ::-1], faces), part, agreed


def _outwards(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray, notes: list[str]) -> np.ndarray:
    """Faces turned over where all together hold a negative volume, then those of parts (F,) that do and are no cavities.

    A part in the bounding box of another one may be a cavity, and is left as it is, but goes with what it is in. Of more than
    ``MANY_PARTS`` none is looked at alone.
    """
    a, b, c = np.moveaxis((vertices - vertices.mean(0))[faces], 1, 0)
    volume = np.bincount(part, np.einsum("ij,ij->i", a, np.cross(b, c)))
    if volume.sum() < 0:
        notes.append("it was inside out and has been turned")
        faces, volume = np.ascontiguousarray(faces[:, ::-1]), -volume
    if (volume >= 0).all() or len(volume) > MANY_PARTS:
        return faces
    low, high = _boxes(vertices, faces, part)
    wrong = np.zeros(len(volume), bool)
    for each in np.flatnonzero(volume < 0):
        around = (low <= low[each]).all(-1) & (high >= high[each]).all(-1)
        if around.sum() == 1:
            within = (low >= low[each]).all(-1) & (high <= high[each]).all(-1)
            wrong |= within & (volume > 0)
            wrong[each] = True
    if wrong.any():
        notes.append(f"{wrong.sum():,} of {len(wrong):,} parts were inside out and have been turned")
        faces = np.where(wrong[part][:, None], faces[:, ::-1], faces)
    return faces


def _nearly_closed(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether what is missing is little beside what is there, so that the mesh has an inside rather than two sides."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.cross(b - a, c - a)
    return bool(np.linalg.norm(normals.sum(0)) < MISSING * np.linalg.norm(normals, axis=-1).sum())


def _boxes(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest coordinates (P, 3) of the parts, of which each face (F,) belongs to one."""
    corners = vertices[faces[part.argsort(kind="stable")]].reshape(-1, 3)
    starts = 3 * np.cumsum(np.bincount(part))[:-1]
    starts = np.concatenate([[0], starts])
    return np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts)


def _apart(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray) -> bool:
    """Whether the boxes of no two parts meet; with more than ``MANY_PARTS`` they count as meeting."""
    count = part.max() + 1
    if count == 1 or count > MANY_PARTS:
        return bool(count == 1)
    low, high = _boxes(vertices, faces, part)
    return bool(((low[:, None] <= high) & (high[:, None] >= low)).all(-1).sum() == count)
