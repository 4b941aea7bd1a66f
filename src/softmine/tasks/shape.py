"""Fitting a shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn
from tyro.conf import arg

from softmine import fields
from softmine.errors import SoftmineError
from softmine.signals.shape import BAND, Shape
from softmine.signals.shape.mesh_tree import Faces, Points
from softmine.tasks import shape_views
from softmine.tasks.builtin import builtin_name
from softmine.tasks.meshing import marching_cubes, write_mesh
from softmine.tasks.shape_evaluation import ShapeEvaluator, chamfer
from softmine.training.evaluation import values_at
from softmine.training.settings import FieldSettings
from softmine.training.task import Array, Output, Reconstruction, Report, silent

DEFAULT = "knot"
VIEW_SIDE, VIEW_CELLS = 440, 160
SMALL_SIDE, SMALL_CELLS = 240, 96
"""Pixels a side of each view, and cells a side of the mesh that is shown, for a run and for a comparison."""
OUTPUT_CELLS = 192


@dataclass(frozen=True)
class Options:
    """Flags that only shapes take."""

    target: Annotated[str, arg(metavar="NAME")] = "distance"
    """What is learned: distance (signed, within the band) or occupancy (inside or not)."""
    band: Annotated[float, arg(metavar="SIDES")] = BAND
    """Distance from the surface at which distances are cut off, in sides of the box."""


def read(path: str | None, options: Options) -> ShapeTask:
    """The shape that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None."""
    chosen = {"target": options.target, "band": options.band}
    name = builtin_name(path, DEFAULT)
    return ShapeTask(Shape.read(str(path), **chosen) if name is None else Shape.builtin(name, **chosen))


class ShapeTask:
    """A shape to be fitted (see ``training/task.py``)."""

    kind = "shape"
    unit = "cells"
    snaps = False
    batch_size = None

    def __init__(self, shape: Shape) -> None:
        self.signal = shape

    def size(self) -> str:
        """As in ``23,062 triangles, signed distance``; all that had to be put in order in the mesh is said too."""
        shape = self.signal
        what = "signed distance" if shape.target == "distance" else "occupancy"
        return "; ".join([f"{len(shape.faces):,} triangles, {what}", *shape.notes])

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its shape; ``centre`` and ``scale`` lead from the mesh to the unit cube."""
        shape = self.signal
        return {
            "name": shape.name,
            "path": str(shape.path) if shape.path else None,
            "shape": [*shape.domain.shape, shape.channels],
            "fingerprint": shape.fingerprint,
            "triangles": len(shape.faces),
            "closed": shape.closed,
            "notes": shape.notes,
            "centre": shape.centre.tolist(),
            "scale": shape.scale,
        }

    def make_field(self, settings: FieldSettings) -> nn.Module:
        """An untrained field over x, y and z."""
        return fields.create(
            settings.field,
            self.signal.domain.shape,
            self.signal.channels,
            log2_table_size=settings.log2_table_size,
        )

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
        for view in shape_views.views(shape, side):
            target, known = shape_views.draw(view, shape.vertices, shape.faces)
            values, found = shape_views.draw(view, vertices, faces)
            parts.append((values, target, shape_views.deviation(view, shape, field, device, found, known)))
        values, target, error = (_two_by_two(part) for part in zip(*parts, strict=True))
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


def _two_by_two(parts: tuple[Array, ...]) -> Array:
    return np.concatenate([np.concatenate(parts[:2], 1), np.concatenate(parts[2:], 1)], 0)
