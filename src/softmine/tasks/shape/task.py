"""Fitting a shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from softmine.errors import SoftmineError
from softmine.runs.task import Output, Reconstruction, Report, silent
from softmine.signals.shape import BAND, Shape
from softmine.signals.shape.mesh_tree import Faces, Points
from softmine.tasks.builtin import builtin_name
from softmine.tasks.contact_sheet import in_rows
from softmine.tasks.meshing import marching_cubes, write_mesh
from softmine.tasks.shape import views
from softmine.tasks.shape.evaluation import ShapeEvaluator, chamfer
from softmine.tasks.signal_task import SignalTask
from softmine.training.evaluation import values_at

DEFAULT = "knot"
VIEW_SIDE, VIEW_CELLS = 440, 160
SMALL_SIDE, SMALL_CELLS = 240, 96
"""Pixels a side of each view, and cells a side of the mesh that is shown, for a run and for a comparison."""
OUTPUT_CELLS = 192


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
    chosen = {"target": options.target, "band": options.band}
    del report
    name = builtin_name(path, DEFAULT)
    return ShapeTask(Shape.read(str(path), **chosen) if name is None else Shape.builtin(name, **chosen))


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
            "centre": shape.centre.tolist(),
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
