"""Reads triangle meshes, and puts them in order: one entry for all formats that trimesh knows."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from softmine.domain import SoftmineError
from softmine.signals.files import check_file
from softmine.signals.libraries import require, shared, silenced
from softmine.signals.shape.orientation import orient

FORMATS = ("obj", "ply", "stl", "off", "glb", "gltf")
MOST_TRIANGLES = 50_000_000


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

    Raises:
        SoftmineError: the file is missing, damaged or no triangle mesh; or trimesh is not installed.
    """
    where = f"cannot read {path}"
    check_file(path, "mesh", where)
    if path.suffix[1:].lower() not in FORMATS:
        raise SoftmineError(
            f"{where}: no mesh format ends in '{path.suffix}'; give one of {', '.join(FORMATS)}"
        )
    trimesh = require("trimesh", "shape", "meshes", where)
    try:
        with _quiet(), np.errstate(all="ignore"):
            scene = trimesh.load_scene(path, process=False, skip_materials=True)
            parts = [part for part in scene.dump() if hasattr(part, "faces") and len(part.faces)]
            vertices = [np.asarray(part.vertices, np.float64) for part in parts]
            faces = [np.asarray(part.faces, np.int64) for part in parts]
            points = any(len(getattr(part, "vertices", ())) for part in scene.geometry.values())
    except MemoryError:
        raise
    except Exception as error:
        raise SoftmineError(
            f"{where}: it is truncated, damaged or no {path.suffix[1:].upper()} file; get a complete copy"
        ) from error
    if not parts:
        what = (
            "only points, no triangles; make a surface of them first"
            if points
            else f"no triangles; it may be truncated, or no {path.suffix[1:].upper()} file"
        )
        raise SoftmineError(f"{where}: it holds {what}")
    starts = np.cumsum([0, *(len(part) for part in vertices[:-1])])
    if any(part.min() < 0 or part.max() >= len(of) for part, of in zip(faces, vertices, strict=True)):
        raise SoftmineError(f"{where}: its triangles name vertices that are not there; get a complete copy")
    joined = np.concatenate([part + start for part, start in zip(faces, starts, strict=True)])
    return tidy(np.concatenate(vertices), joined, where)


def tidy(vertices: np.ndarray, faces: np.ndarray, where: str) -> Mesh:
    """A mesh whose equal vertices are one, without triangles that have no area or are there twice, facing outwards.

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
    notes: list[str] = []
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


@shared
@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps trimesh, which logs and warns of what it also raises, off the terminal."""
    logger = logging.getLogger("trimesh")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), silenced():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before
