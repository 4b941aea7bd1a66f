"""Images of surfaces: triangles drawn in parallel projection from four sides, without a graphics card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from softmine.runs.task import Array
from softmine.signals.shape import Shape, mesh_kernels
from softmine.signals.shape.mesh_tree import Faces, Points
from softmine.training.evaluation import values_at

AZIMUTHS = (35.0, 125.0, 215.0, 305.0)
ELEVATION = 20.0
OVERSAMPLE = 2
_CLAY = np.array([0.86, 0.80, 0.72])
_GROUND = np.array([0.965, 0.965, 0.97])


@dataclass(frozen=True)
class View:
    """A parallel projection: rows right, up and towards the viewer of ``axes`` (3, 3); ``size`` pixels show ``extent``."""

    axes: Array
    size: int
    extent: float

    def project(self, points: Points) -> Points:
        """Points (N, 3) of the unit cube as (column, row, depth), the viewer at the least depth."""
        seen = (points - 0.5) @ self.axes.T * [1, -1, -1]
        return seen * (self.size / self.extent) + [self.size / 2, self.size / 2, 0]

    def lift(self, seen: Points) -> Points:
        """Points (N, 3) of the unit cube from (column, row, depth)."""
        return (seen - [self.size / 2, self.size / 2, 0]) * (self.extent / self.size) * [
            1,
            -1,
            -1,
        ] @ self.axes + 0.5


def views(shape: Shape, size: int) -> list[View]:
    """Four views of ``size`` pixels a side that hold the whole shape, y upwards."""
    made = []
    for azimuth in np.radians(AZIMUTHS):
        elevation = np.radians(ELEVATION)
        towards = np.array(
            [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        )
        right = np.cross([0, 1, 0], towards)
        right /= np.linalg.norm(right)
        made.append(np.stack([right, np.cross(towards, right), towards]))
    reach = max(np.abs((shape.vertices - 0.5) @ axes[:2].T).max() for axes in made)
    return [View(axes, size, 2.1 * float(reach)) for axes in made]


def draw(view: View, vertices: Points, faces: Faces) -> tuple[Array, Array]:
    """A shaded image (size, size, 3) in [0, 1] of a surface, and the depth (size, size) at each pixel's center."""
    fine = View(view.axes, view.size * OVERSAMPLE, view.extent)
    depth, place = _rasterize(fine, vertices, faces)
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-300)
    # A lamp over the viewer's left shoulder, and a weak one below.
    lamps = (np.array([-0.45, 0.6, 0.66]) @ view.axes, np.array([0.6, -0.5, 0.62]) @ view.axes)
    shade = 0.22 + 0.84 * (normal @ lamps[0]).clip(0) + 0.2 * (normal @ lamps[1]).clip(0)
    hit = place >= 0
    colors = np.broadcast_to(_GROUND, (*place.shape, 3)).copy()
    colors[hit] = _CLAY * shade[place[hit]][:, None]
    blocks = colors.reshape(view.size, OVERSAMPLE, view.size, OVERSAMPLE, 3)
    depth, _ = _rasterize(view, vertices, faces)
    return blocks.mean((1, 3)).clip(0, 1).astype(np.float32), depth


def deviation(
    view: View, shape: Shape, field: nn.Module, device: torch.device, found: Array, known: Array
) -> Array:
    """How far the surfaces are apart at each pixel, (size, size), in the units of the shape's values, at most a half.

    Where the field has a surface in view, at depth ``found``: its distance from the shape's. Where only the shape
    has, at depth ``known``: what the field says there instead of a half.
    """
    error = np.zeros_like(found, dtype=np.float32)
    hit = np.isfinite(found)
    distance = shape.distance(_points(view, found, hit))[0]
    error[hit] = np.minimum(np.abs(distance) / (2 * shape.band), 0.5)
    missed = np.isfinite(known) & ~hit
    coords = torch.from_numpy(_points(view, known, missed)).float()
    if len(coords):
        error[missed] = (values_at(field, coords, device).squeeze(1) - 0.5).abs().clamp(max=0.5).numpy()
    return error


def _rasterize(view: View, vertices: Points, faces: Faces) -> tuple[Array, Array]:
    depth = np.full((view.size, view.size), np.inf)
    place = np.full((view.size, view.size), -1)
    mesh_kernels.rasterize(np.ascontiguousarray(view.project(vertices)[faces]), depth, place)
    return depth, place


def _points(view: View, depth: Array, where: Array) -> Points:
    row, column = where.nonzero()
    return view.lift(np.stack([column + 0.5, row + 0.5, depth[where]], -1))
