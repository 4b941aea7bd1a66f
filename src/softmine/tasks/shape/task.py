"""Fitting a shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from softmine.domain import Values
from softmine.errors import SoftmineError
from softmine.runs.task import Output, Reconstruction, Report, silent
from softmine.signals.shape import BAND, Shape
from softmine.signals.shape.mesh_tree import Faces, MeshTree, Points
from softmine.tasks.contact_sheet import in_rows
from softmine.tasks.evaluation import CellEvaluator
from softmine.tasks.grids import centers, grid_coords
from softmine.tasks.meshing import marching_cubes, write_mesh
from softmine.tasks.shape import views
from softmine.tasks.signal_task import SignalTask, read_signal
from softmine.training.evaluation import values_at

DEFAULT = "knot"
VIEW_SIDE, VIEW_CELLS = 440, 160
SMALL_SIDE, SMALL_CELLS = 240, 96
"""Pixels a side of each view, and cells a side of the mesh that is shown, for a run and for a comparison."""
OUTPUT_CELLS = 192
GRID_POINTS = 2**18
SURFACE_POINTS = 2**15


@dataclass(frozen=True)
class Options:
    """What only shapes take.

    Attributes:
        target: what is learned: ``distance`` (signed, within the band) or ``occupancy`` (inside or not).
        band: distance from the surface at which distances are cut off, in sides of the box.
    """

    target: str = "distance"
    band: float = BAND


def read(path: str | None, options: Options, report: Report = silent) -> ShapeTask:
    """The shape that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None."""
    del report
    return ShapeTask(read_signal(Shape, path, DEFAULT, target=options.target, band=options.band))


class ShapeTask(SignalTask[Shape]):
    """A shape to be fitted (see ``runs/task.py``)."""

    kind = "shape"
    unit = "cells"
    snaps = False

    def size(self) -> str:
        """As in ``23,062 triangles, signed distance``; all that had to be put in order in the mesh is said too."""
        shape = self.signal
        what = "signed distance" if shape.target == "distance" else "occupancy"
        return "; ".join([f"{len(shape.faces):,} triangles, {what}", *shape.notes])

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its shape; ``centre`` and ``scale`` lead from the mesh to the unit cube."""
        shape = self.signal
        return super().describe() | {
            "triangles": len(shape.faces),
            "closed": shape.closed,
            "notes": shape.notes,
            "centre": shape.center.tolist(),
            "scale": shape.scale,
        }

    def make_evaluator(self, device: torch.device) -> ShapeEvaluator:
        """PSNR and intersection over union."""
        return ShapeEvaluator(self.signal, device)

    def mesh(
        self, field: nn.Module, device: torch.device, resolution: int, report: Report = silent
    ) -> tuple[Points, Faces]:
        """The field's surface in the unit cube: vertices (V, 3) and triangles (F, 3).

        Raises:
            SoftmineError: the field has no surface.
        """
        sign = -1.0 if self.signal.target == "distance" else 1.0

        def inside(coords: torch.Tensor) -> torch.Tensor:
            return sign * (values_at(field, coords, device).squeeze(1) - 0.5)

        return marching_cubes(inside, resolution, report)

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Reconstruction:
        """The field's surface from four sides beside the shape's."""
        shape = self.signal
        side, cells = (SMALL_SIDE, SMALL_CELLS) if small else (VIEW_SIDE, VIEW_CELLS)
        note = f"4 views, meshed on {cells}^3 cells"
        try:
            vertices, faces = self.mesh(field, device, cells, report)
        except SoftmineError:
            vertices, faces = np.empty((0, 3)), np.empty((0, 3), np.int64)
            note = "the field has no surface yet"
        parts = []
        for view in views.views(shape, side):
            target, known = views.draw(view, shape.vertices, shape.faces)
            values, found = views.draw(view, vertices, faces)
            parts.append((values, target, views.deviation(view, shape, field, device, found, known)))
        values, target, error = (in_rows(list(part), 2, gap=0) for part in zip(*parts, strict=True))
        return Reconstruction(values, target, error, None, note)

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """``mesh.ply``, the field's surface in the units of the shape's file; nothing where it has none."""
        del result
        try:
            vertices, faces = self.mesh(field, device, OUTPUT_CELLS, report)
        except SoftmineError:
            return []
        write_mesh(folder / "mesh.ply", self.signal.to_mesh(vertices), faces)
        apart = chamfer(self.signal, vertices, faces)
        label = f"mesh of {len(faces):,} triangles, on average {apart:.5f} sides of its box from the shape (Chamfer)"
        return [Output("mesh.ply", label)]

    def export(
        self, field: nn.Module, path: Path, device: torch.device, resolution: int, report: Report = silent
    ) -> str:
        """Writes the field's surface at ``resolution``^3 cells to ``path``; says what it wrote."""
        vertices, faces = self.mesh(field, device, resolution, report)
        write_mesh(path, self.signal.to_mesh(vertices), faces)
        return f"{len(vertices):,} vertices and {len(faces):,} triangles"


class ShapeEvaluator(CellEvaluator):
    """Evaluates fields against one shape, always at the same points.

    PSNR is measured at 2^17 points spread uniformly over the box. Intersection over union compares the volumes where
    field and shape say inside: on a grid of about 2^18 points over the box of the mesh, and outside of that at those
    of the 2^17 points that lie there, each for the volume it stands for.
    """

    def __init__(self, shape: Shape, device: torch.device) -> None:
        low, high = (torch.from_numpy(end).float() for end in (shape.vertices.min(0), shape.vertices.max(0)))
        size = (high - low).double().clamp(min=1e-3)
        cell = (size.prod() / GRID_POINTS) ** (1 / 3)
        counts = (size / cell).round().clamp(min=4).int().tolist()
        axes = [centers(n) * extent + start for start, extent, n in zip(low, size, counts, strict=True)]
        grid = grid_coords(*axes)
        super().__init__(
            shape,
            "points of the box",
            device,
            more=self._overlap,
            beside=grid,
            beside_words=f", IoU over {len(grid):,} points of the shape's own box and those beside it",
        )
        spread = self.coords[: self.counted]
        beyond = ((spread < low) | (spread > high)).any(-1)
        volume = size.prod() / len(grid)
        self.volumes = torch.cat([beyond.double() / len(spread), volume.expand(len(grid))])
        self.shape = shape

    def _overlap(self, prediction: Values, target: Values) -> dict[str, float]:
        inside, known = (self.shape.is_inside(values).squeeze(1) for values in (prediction, target))
        both = self.volumes[inside & known].sum().item()
        either = self.volumes[inside | known].sum().item()
        return {"iou": both / either if either > 0 else 0.0}


def chamfer(shape: Shape, vertices: Points, faces: Faces) -> float:
    """Mean distance between a shape's surface and another in the unit cube, in sides of the cube.

    2^15 points are spread over each surface by area, with a fixed seed; the result is the mean of their mean distances
    to the other surface (not squared), both ways.

    Raises:
        SoftmineError: the other surface has no area.
    """
    random = np.random.default_rng(0)
    there = shape.tree.closest(sample(vertices, faces, random), signed=False)[0].mean()
    other = MeshTree(vertices, faces)
    back = other.closest(sample(shape.vertices, shape.faces, random), signed=False)[0].mean()
    return float(there + back) / 2


def sample(vertices: Points, faces: Faces, random: np.random.Generator) -> Float[np.ndarray, "sample 3"]:
    """2^15 points, uniform over a surface's area."""
    corners = vertices[faces]
    sides = corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1)
    chosen = random.choice(len(faces), SURFACE_POINTS, p=area / area.sum())
    weights = random.random((SURFACE_POINTS, 2))
    # The other half of the parallelogram is folded back.
    weights = np.where(weights.sum(-1, keepdims=True) > 1, 1 - weights, weights)
    return corners[chosen, 0] + (weights[..., None] * sides[chosen]).sum(1)
