"""Rays through a box: points at equal steps in occupied cells, and none behind what hides them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from softmine.radiance.compositing import Rendered, composite, visible
from softmine.radiance.marching import march, shorten
from softmine.radiance.occupancy import OccupancyGrid
from softmine.sampling.random import RandomStream

if TYPE_CHECKING:
    from softmine.radiance.field import RadianceField

LEAST_ALPHA = 0.01
"""Opacity over the finest step below which a cell is taken to be empty (instant-ngp's)."""
FIRST_LOOK = 64
"""Step at which the whole grid is looked into for the first time; before it nothing is left out."""
EVERY = 16
"""Steps between two looks into a part of it,"""
CELLS = 1 << 16
"""which has this many cells: a few milliseconds a step."""
POINTS = 16
"""Points a ray that a step of training should not exceed: while the grid is full, its steps are longer instead."""
LONGEST = 8
"""Times the finest step."""
HIDDEN = 1e-4
"""Transmittance below which points have no say."""


class BoundedRays(nn.Module):
    """Chooses points in a box by an occupancy grid, and renders them.

    A density pass without gradient comes first; the points behind what is opaque are dropped before all else.

    Args:
        near: distance before which there is nothing, in sides of the cube.
        steps: points along the diagonal at the finest step.
        seed: of the points' shifts in training.
    """

    stride: Tensor

    def __init__(self, near: float, steps: int, *, seed: int | None = None) -> None:
        super().__init__()
        self.near = near
        self.step = math.sqrt(3) / steps
        self.occupancy = OccupancyGrid(threshold=-math.log1p(-LEAST_ALPHA) / self.step)
        self.random = RandomStream(seed)
        # Of the finest step, in training.
        self.register_buffer("stride", torch.tensor(LONGEST))
        self.costs = torch.zeros(0, dtype=torch.int64)
        self._marched = 0.0

    def forward(
        self, field: RadianceField, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> Rendered:
        """See ``RadianceField.forward``."""
        lengths = directions.detach().norm(dim=-1)
        directions = functional.normalize(directions, dim=-1)
        origins = field.to_unit(origins)
        step, jitter = self.step, None
        if self.training:
            step *= int(self.stride)
            jitter = self.random.uniform(len(origins), 1, origins.dtype)[:, 0]
        packed = march(origins, directions, self.occupancy.occupied, step=step, near=self.near, jitter=jitter)
        with torch.no_grad():
            widths = torch.full_like(packed.distances, step)
            counts = visible(field.density(packed.points), widths, packed.starts, HIDDEN)
        if torch.is_grad_enabled():
            self._marched, self.costs = len(packed.rays) / max(1, len(origins)), counts
        packed, _ = shorten(packed, counts)
        points = packed.points
        if origins.requires_grad or directions.requires_grad:
            points = torch.addcmul(
                origins.index_select(0, packed.rays),
                packed.distances[:, None],
                directions.index_select(0, packed.rays),
            )
        density, geometry = field.geometry(points)
        colors = field.colors(geometry, directions, packed.rays)
        distances = packed.distances * (field.side / lengths)[packed.rays]
        return composite(density, colors, widths[: len(density)], distances, packed.starts)

    def regularization(self) -> None:
        """Nothing: an occupancy grid has no loss."""

    def after_step(self, field: RadianceField, step: int) -> None:
        """Looks into the grid when it is time, and shortens the steps as it empties."""
        if step == FIRST_LOOK:
            self.occupancy.sweep(field.density)
        elif step > FIRST_LOOK and step % EVERY == 0:
            self.occupancy.refresh(field.density, CELLS)
        if step % EVERY == 0:
            fine = self._marched * int(self.stride)
            self.stride.fill_(min(LONGEST, max(1, math.ceil(fine / POINTS))))
