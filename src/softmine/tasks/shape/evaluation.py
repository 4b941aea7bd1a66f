"""How good a shape's reconstruction is: intersection over union, PSNR, and the distance between surfaces."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from softmine.runs.task import Evaluation
from softmine.signals.shape import Shape
from softmine.signals.shape.mesh_tree import Faces, MeshTree, Points
from softmine.tasks.grids import centers, grid_coords
from softmine.training.evaluation import SUBSET, evaluated_cells, peak_signal_to_noise, values_at

GRID_POINTS = 2**18
SURFACE_POINTS = 2**15


class ShapeEvaluator:
    """Evaluates fields against one shape, always at the same points.

    PSNR is measured at 2^17 points spread uniformly over the box. Intersection over union compares the volumes where
    field and shape say inside: on a grid of about 2^18 points over the box of the mesh, and outside of that at those
    of the 2^17 points that lie there, each for the volume it stands for. Predictions are clipped to [0, 1] first.
    """

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        cells, _ = evaluated_cells(shape.domain)
        spread = shape.domain.centres(cells)
        self.spread = len(spread)
        low, high = (torch.from_numpy(end).float() for end in (shape.vertices.min(0), shape.vertices.max(0)))
        size = (high - low).double().clamp(min=1e-3)
        cell = (size.prod() / GRID_POINTS) ** (1 / 3)
        axes = [
            centers(n) * extent + start
            for start, extent, n in zip(
                low, size, (size / cell).round().clamp(min=4).int().tolist(), strict=True
            )
        ]
        grid = grid_coords(*axes)
        beyond = ((spread < low) | (spread > high)).any(-1)
        self.coords = torch.cat([spread, grid])
        volume = size.prod() / len(grid)
        self.volumes = torch.cat([beyond.double() / len(spread), volume.expand(len(grid))])
        self.target = values_at(shape, self.coords, torch.device("cpu"))
        self._inside = shape.is_inside(self.target).squeeze(1)

    def describe(self) -> str:
        """What is measured, in words."""
        rest = len(self.coords) - self.spread
        return f"PSNR over {SUBSET:,} points of the box, IoU over {rest:,} points of the shape's own box and those beside it"

    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``; leaves its parameters and random numbers untouched."""
        values = values_at(field, self.coords, self.device)
        psnr = peak_signal_to_noise(values[: self.spread].clamp(0, 1), self.target[: self.spread])
        if not bool(values.isfinite().all()):
            psnr = math.nan
        inside = self.shape.is_inside(values).squeeze(1)
        both = self.volumes[inside & self._inside].sum().item()
        either = self.volumes[inside | self._inside].sum().item()
        iou = both / either if either > 0 else 0.0
        return Evaluation(psnr, None, self.spread, True, {"iou": iou})


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
