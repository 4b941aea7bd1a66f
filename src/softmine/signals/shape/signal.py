"""Shapes as signals: the signed distance to a surface, or what is inside it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.domain import Box, Coords, SoftmineError, Values
from softmine.signals.files import hash_array
from softmine.signals.grid import check_coords, coarse_shape
from softmine.signals.shape import files as mesh_files
from softmine.signals.shape.files import Mesh
from softmine.signals.shape.mesh_tree import MeshTree, Places, Points
from softmine.signals.synthetic.formulas import SURFACES, find

RESOLUTION = 256
"""Cells a side of a shape's domain."""
MARGIN = 0.1
"""Space between the shape and the sides of its box."""
BAND = 0.1
TARGETS = ("distance", "occupancy")
_GRID = 48
_REACH = math.sqrt(3) / 2 / _GRID
"""From the center of a cell of the inner grid to its corners."""
_FALLOFF = 0.02


class Shape(torch.nn.Module):
    """A solid in a box, by the exact distance to its surface, or by what is inside.

    The mesh is scaled into the unit cube, its longest side to 0.8, its middle to the cube's. ``distance``: values are
    0.5 + d / (2 band), clipped to [0, 1], where d is the distance to the surface in sides of the cube, negative inside;
    they are exact in double precision. ``occupancy``: 1 inside, 0 outside.

    Values are computed on the CPU, whatever the device of the coordinates, and sent back.

    Args:
        mesh: the surface; see ``softmine.signals.shape.files``.
        name: what to call it in reports.
        target: ``distance`` or ``occupancy``.
        band: distance from the surface at which values reach 0 and 1, in sides of the cube.
        path: the file it came from.

    Attributes:
        channels: 1.
        domain: ``Box((256, 256, 256))``; coordinates are (x, y, z) of the mesh. There is nothing special about the
            centers of its cells.
        center, scale: a point p of the mesh has the coordinates (p - center) * scale + 0.5.
        notes: what was chosen, left out or put in order when the mesh was read, in words.
        auto_options: its defaults of the sampler ``auto``. The error gathers at the surface, but distances count
            everywhere: with a smaller uniform share, those far from it drift between visits.
        tree: the triangles in the unit cube.

    Raises:
        SoftmineError: the target has no such name, or the band is out of range.

    Example:
        >>> shape = Shape.builtin()
        >>> shape(torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])).squeeze(1)  # in the hole, and in a corner
        tensor([0.5830, 1.0000])
    """

    auto_options: ClassVar = {"uniform_share": 0.3}

    def __init__(
        self,
        mesh: Mesh,
        name: str = "shape",
        *,
        target: str = "distance",
        band: float = BAND,
        path: Path | None = None,
    ) -> None:
        super().__init__()
        if target not in TARGETS:
            raise SoftmineError(f"unknown target '{target}': choose one of {', '.join(TARGETS)}")
        if not 1e-4 <= band <= 1:
            raise SoftmineError(f"the band is {band}: it must lie between 0.0001 and 1 side of the cube")
        self.name, self.target, self.band, self.path = name, target, band, path
        self.closed, self.notes = mesh.closed, mesh.notes
        # Otherwise the winding number does.
        self._nearest_tells = mesh.closed and mesh.apart
        self.channels, self.domain = 1, Box((RESOLUTION,) * 3)
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        self.center = low / 2 + high / 2
        self.scale = (1 - 2 * MARGIN) / float((high - low).max())
        self.vertices = (mesh.vertices - self.center) * self.scale + 0.5
        self.faces = mesh.faces
        self.fingerprint = hash_array(mesh.vertices[mesh.faces])
        self.tree = MeshTree(self.vertices, self.faces)
        self._near, self._inside = self._survey()

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, target: str = "distance", band: float = BAND) -> Shape:
        """Read a mesh: OBJ, PLY, STL, OFF, GLB or GLTF. Polygons, concave ones too, become triangles.

        Of meshes with holes, with edges of more than two triangles, whose triangles do not agree on a side, or of several
        parts that may overlap, the inside is where the winding number is over a half; ``notes`` say so.

        Raises:
            SoftmineError: the file is missing, damaged or no mesh.
        """
        path = Path(path)
        return cls(mesh_files.read(path), path.stem, target=target, band=band, path=path)

    @classmethod
    def builtin(cls, name: str = "knot", *, target: str = "distance", band: float = BAND) -> Shape:
        """A shape that is made on the spot, by name: ``knot`` or ``ball``; the same triangles every time.

        Raises:
            SoftmineError: there is none of that name.
        """
        mesh = mesh_files.tidy(*find("shape", name, SURFACES)(), f"cannot make {name}")
        return cls(mesh, name, target=target, band=band)

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, triangles={len(self.faces)}, target={self.target!r}, band={self.band}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, 1) at unit coordinates (N, 3), in [0, 1] and in the dtype of ``coords``.

        Distances are differentiable with respect to ``coords``, occupancy is not. NaN coordinates give NaN.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, 3).
        """
        check_coords(coords, 3, "a shape takes float")
        if coords.requires_grad and self.target == "distance":
            return _Distance.apply(coords, self)  # pyright: ignore[reportReturnType]
        return self._values(coords)[0]

    def distance(self, points: Points, limit: float = np.inf) -> tuple[np.ndarray, Points]:
        """Signed distances (N,) and closest points (N, 3) of points (N, 3) in the unit cube, in its sides.

        Where the surface is farther than ``limit`` the distance is that, with its sign.
        """
        cells = self._cell(points)
        reach = max(limit, _REACH)
        # The closest triangle of a cell's center is close to all that is in the cell.
        distances, nearest, places = self.tree.closest(
            points, limit=reach, seeds=self._near[cells], signed=self._nearest_tells
        )
        if self._nearest_tells:
            # No surface lies between a point without a face in reach and the center of its cell.
            unknown = places < 0
            distances[unknown] *= np.where(self._inside[cells[unknown]] == 1, -1, 1)
            return distances.clip(-limit, limit), nearest
        inside = self._inside[cells]
        unsure = inside < 0
        inside[unsure] = self.tree.winding(points[unsure]) > 0.5
        return np.where(inside == 1, -distances, distances).clip(-limit, limit), nearest

    def edges(self, max_cells: int = 2**18) -> Float[Tensor, "n n n"]:
        """How near the surface is, on at most ``max_cells`` equal cells: exp(-d / 0.02), on the CPU.

        A density of this kind is the share of samples near the surface that signed distances are commonly trained
        with (DeepSDF; instant-ngp draws half of its samples on the surface and three eighths around it).

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        grid = Box(coarse_shape((64,) * 3, max_cells))
        centers = grid.centers(torch.arange(grid.cells), torch.float64).numpy()
        distances = np.abs(self.distance(centers, limit=12 * _FALLOFF)[0])
        return torch.from_numpy(np.exp(-distances / _FALLOFF)).float().reshape(grid.shape)

    def is_inside(self, values: Values) -> Tensor:
        """Which values (N, 1) or (N,) of this kind mean inside."""
        return values < 0.5 if self.target == "distance" else values > 0.5

    def to_mesh(self, points: Points) -> Points:
        """Points (N, 3) of the unit cube in the units of the mesh."""
        return (points - 0.5) / self.scale + self.center

    def _cell(self, points: Points) -> Places:
        cell = (np.nan_to_num(points) * _GRID).clip(0, _GRID - 1).astype(np.int64)
        return (cell[:, 0] * _GRID + cell[:, 1]) * _GRID + cell[:, 2]

    def _survey(self) -> tuple[Places, np.ndarray]:
        """The triangle closest to the center of each cell of a grid, and whether the cell is inside (1), outside (0) or
        has to be evaluated point by point (-1).
        """
        grid = Box((_GRID,) * 3)
        centers = grid.centers(torch.arange(grid.cells), torch.float64).numpy()
        distances, _, near = self.tree.closest(centers, signed=self._nearest_tells)
        if self._nearest_tells:
            return near, (distances < 0).astype(np.int8)
        inside = (self.tree.winding(centers) > 0.5).astype(np.int8)
        # A side may change where there is a triangle, or across a hole: then a neighbor is on the other side.
        cube = np.pad(inside.reshape(grid.shape), 1, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(cube, (3, 3, 3))
        mixed = (windows.min((3, 4, 5)) != windows.max((3, 4, 5))).reshape(-1)
        return near, np.where(mixed | (distances <= _REACH), np.int8(-1), inside)

    def _values(self, coords: Coords, slopes: bool = False) -> tuple[Values, Tensor | None]:
        points = coords.detach().to("cpu", torch.float64).numpy()
        limit = self.band if self.target == "distance" else _REACH
        distances, nearest = self.distance(points, limit)
        distances = torch.from_numpy(distances)
        values = distances / (2 * self.band) + 0.5 if self.target == "distance" else (distances < 0).double()
        values = torch.where(torch.from_numpy(points).isnan().any(-1), torch.nan, values)
        values = values.clamp(0, 1).unsqueeze(-1).to(coords)
        if not slopes:
            return values, None
        along = torch.from_numpy(points - nearest) / distances.unsqueeze(-1)
        known = (distances.abs() < self.band) & (distances != 0)
        return values, torch.where(known.unsqueeze(-1), along / (2 * self.band), 0.0).to(coords)


class _Distance(torch.autograd.Function):
    """Values of a distance whose gradient is the direction from the surface."""

    @staticmethod
    def forward(ctx: Any, coords: Tensor, shape: Shape) -> Tensor:
        values, slopes = shape._values(coords, slopes=True)
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grads[0] * ctx.saved_tensors[0], None
