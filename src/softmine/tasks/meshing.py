"""The surface of a field as a triangle mesh: marching cubes, a slab at a time, and files of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from softmine.checks import out_of_range
from softmine.errors import SoftmineError
from softmine.runs.files import replacing
from softmine.runs.task import Report, silent
from softmine.signals.libraries import require
from softmine.signals.shape.mesh_tree import Faces, Points
from softmine.tasks.grids import grid_coords

MOST = 2048
"""Cells a side of a mesh, at most."""
SLAB = 16
FORMATS = ("ply", "obj", "glb", "stl")
Colors = UInt8[np.ndarray, "n 3"]
"""Red, green and blue of vertices or points, (N, 3), in sRGB."""
_LEAST = 1e-4


class NoSurface(SoftmineError):
    """A function has one sign everywhere."""


def marching_cubes(
    inside: Callable[[torch.Tensor], torch.Tensor], resolution: int, report: Report = silent
) -> tuple[Points, Faces]:
    """Where ``inside(coords (N, 3)) -> (N,)`` is zero in the unit cube, as vertices (V, 3) and outward triangles (F, 3).

    ``inside`` is positive inside; all that touches the sides of the cube is closed there. It is evaluated at the corners of
    ``resolution``^3 cells, in slabs, so memory grows with the surface and with one slab, not with the cube. Values
    closer to zero than 1e-4 are moved to that, so that no two vertices fall on one another. Source: Lewiner et al. 2003,
    by scikit-image.

    Raises:
        SoftmineError: the resolution is out of range.
        NoSurface: the function has one sign everywhere.

    Example:
        >>> ball = lambda coords: 0.3 - (coords - 0.5).norm(dim=-1)
        >>> vertices, faces = marching_cubes(ball, 32)
        >>> bool(np.abs(np.linalg.norm(vertices - 0.5, axis=-1) - 0.3).max() < 0.002)
        True
    """
    from skimage.measure import marching_cubes as march

    check_resolution(resolution)
    side = resolution + 1
    line = (torch.arange(side, dtype=torch.float64) / resolution).clamp(max=1 - 2**-24).float()
    vertices, faces, count = [], [], 0
    last: np.ndarray | None = None
    for start in range(0, resolution, SLAB):
        stop = min(start + SLAB, resolution)
        # The plane that two slabs share is evaluated once, so that both see the same numbers.
        planes = [] if last is None else [last]
        first = start if last is None else start + 1
        planes += [_plane(inside, line, x, resolution) for x in range(first, stop + 1)]
        last = planes[-1]
        values = np.stack(planes)
        if values.min() < 0 < values.max():
            corners, triangles, _, _ = march(values, 0.0, gradient_direction="ascent")
            vertices.append(corners.astype(np.float64) + np.array([start, 0, 0]))
            faces.append(triangles.astype(np.int64) + count)
            count += len(corners)
        report(stop / resolution)
    if not vertices:
        raise NoSurface("the field has no surface: it is inside or outside everywhere; train it for longer")
    return _join(np.concatenate(vertices), np.concatenate(faces), resolution)


def check_resolution(resolution: int) -> None:
    """Raises SoftmineError if no mesh can be made of so many cells a side."""
    if not 2 <= resolution <= MOST:
        raise out_of_range("resolution", resolution, f"give a number of cells from 2 to {MOST}")


def check_smallest(smallest: int) -> None:
    """Raises SoftmineError if no piece can have so few triangles."""
    if smallest < 0:
        raise out_of_range("smallest", smallest, "give a number of triangles, 0 or more")


def _plane(
    inside: Callable[[torch.Tensor], torch.Tensor], line: torch.Tensor, x: int, resolution: int
) -> np.ndarray:
    """Values at the corners of one plane of cells, (side, side); negative at the sides of the cube."""
    side = len(line)
    if x in (0, resolution):
        return np.full((side, side), -_LEAST, np.float32)
    values = (
        inside(grid_coords(line[x : x + 1], line, line)).reshape(side, side).float().numpy(force=True).copy()
    )
    values[:, [0, -1]] = values[[0, -1], :] = -_LEAST
    return np.where(values > 0, values.clip(_LEAST), values.clip(max=-_LEAST))


def _join(vertices: Points, faces: Faces, resolution: int) -> tuple[Float[np.ndarray, "joined 3"], Faces]:
    """One mesh of the slabs': vertices on the planes between them, which both have, become one."""
    border = (vertices[:, 0] % SLAB == 0).nonzero()[0]
    plane = vertices[border]
    # Such a vertex lies on an edge between two corners of cells; which one, tells its neighbor.
    fraction = np.abs(plane[:, 1:] - plane[:, 1:].round())
    along = fraction.argmax(-1)
    edge = plane[:, 1:].round()
    edge[np.arange(len(edge)), along] = np.floor(plane[np.arange(len(edge)), along + 1])
    key = np.concatenate([plane[:, :1], edge, along[:, None]], -1).astype(np.int64)
    _, first, group = np.unique(key, axis=0, return_index=True, return_inverse=True)
    place = np.arange(len(vertices))
    place[border] = border[first[group.reshape(-1)]]
    used, faces = np.unique(place[faces], return_inverse=True)
    return vertices[used] / resolution, faces.reshape(-1, 3)


def write_mesh(path: Path, vertices: Points, faces: Faces, colors: Colors | None = None) -> None:
    """Writes a mesh as PLY, OBJ, GLB or STL, told by the name's end; all but PLY need the extra ``softmine[shape]``.

    Args:
        path: the file.
        vertices: (V, 3).
        faces: (F, 3).
        colors: of the vertices, (V, 3); STL cannot hold them.

    Raises:
        SoftmineError: the name ends in something else, or trimesh is not installed.
    """
    kind = _format_of(path)
    if kind == "ply":
        _write_ply(path, vertices, faces, colors)
        return
    trimesh = _trimesh(path)
    # What glTF keeps in vertices is light, not its sRGB code.
    shown = _to_light(colors) if kind == "glb" and colors is not None else colors
    data = trimesh.Trimesh(vertices, faces, vertex_colors=shown, process=False).export(file_type=kind)
    content = data.encode() if isinstance(data, str) else data
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_points(path: Path, points: Points, colors: Colors) -> None:
    """Writes points (N, 3) with colors (N, 3) as PLY."""
    _write_ply(path, points, None, colors)


def _write_ply(path: Path, vertices: Points, faces: Faces | None, colors: Colors | None) -> None:
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    if colors is None:
        content = [vertices.astype("<f4").tobytes()]
    else:
        header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
        row = np.empty(len(vertices), [("place", "<f4", 3), ("color", "u1", 3)])
        row["place"], row["color"] = vertices, colors
        content = [row.tobytes()]
    if faces is not None:
        header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\n"
        rows = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
        rows["count"], rows["corners"] = 3, faces
        content.append(rows.tobytes())
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(f"{header}end_header\n".encode())
        for part in content:
            file.write(part)


def _to_light(colors: Colors) -> Colors:
    """Linear light, (N, 3), of sRGB colors (IEC 61966-2-1)."""
    share = colors / 255.0
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return (light * 255).round().astype(np.uint8)


def check_writable(path: Path) -> None:
    """Raises SoftmineError if a file's name asks for a format that cannot be written, or not without trimesh."""
    if _format_of(path) != "ply":
        _trimesh(path)


def _trimesh(path: Path) -> Any:
    return require("trimesh", "shape", "meshes", f"cannot write {path}")


def _format_of(path: Path) -> str:
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise SoftmineError(
            f"cannot write {path}: its name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    return kind
