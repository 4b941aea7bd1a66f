"""A radiance field as a field over the pixels of a scene's images."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from softmine.domain import Coords, SoftmineError, Values
from softmine.radiance import gpu
from softmine.radiance.background import to_channels
from softmine.radiance.compositing import Rendered
from softmine.radiance.field import RadianceField
from softmine.radiance.ray_types import Counts

CHUNK = 1 << 13
"""Rays at a time when nothing is trained."""


@runtime_checkable
class HasRays(Protocol):
    """What a renderer needs of images; ``softmine.radiance.photos.Photos`` is one."""

    channels: int

    def rays(self, coords: Coords) -> tuple[Tensor, Tensor]:
        """Origins and directions, (N, 3) each, through (view, row, column) coordinates (N, 3)."""
        ...


class Renderer(nn.Module):
    """What a radiance field shows at the pixels of images: coordinates (N, 3) to values (N, C).

    Images with opacity have 4 channels, color before mid-gray and half the opacity, as ``Photos`` gives; others have
    3, their color, and what a ray sees past a field in a box is mid-gray; unbounded fields become opaque.

    In training, points are shifted at random along their rays; in evaluation mode the same coordinates give the same
    values.

    Args:
        field: what is rendered; a submodule.
        photos: gives the rays; no submodule, so that its images are in no checkpoint. It may be changed for other
            images of the scene (``renderer.photos = test``).

    Raises:
        SoftmineError: the images have neither 3 nor 4 channels.
    """

    photos: HasRays

    def __init__(self, field: RadianceField, photos: HasRays) -> None:
        super().__init__()
        if photos.channels not in (3, 4):
            raise SoftmineError(f"images have 3 or 4 channels to be rendered, not {photos.channels}")
        self.field = field
        field.opaque = photos.channels == 3
        self.photos = photos

    def __setattr__(self, name: str, value: Any) -> None:
        # Images are a module too, which nn.Module would register.
        if name == "photos":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at (view, row, column) coordinates (N, 3).

        Differentiable in row and column, if they ask for it: through the rays' directions, to positions and colors.
        """
        if self.training:
            return self.channels_of(self.render(coords))
        parts, costs = [], []
        for part in coords.split(CHUNK):
            parts.append(self.channels_of(self.render(part)))
            costs.append(self.field.costs)
        if len(parts) != 1 and torch.is_grad_enabled():
            self.field.rays.costs = torch.cat(costs)
        return torch.cat(parts) if parts else coords.new_zeros(0, self.photos.channels)

    def render(self, coords: Coords) -> Rendered:
        """All that rays through coordinates (N, 3) see, depth and weights too."""
        return self.field(*self.photos.rays(coords))

    def regularization(self) -> Tensor | None:
        """A loss () that the last forward with gradient asks for besides that of its values, or None."""
        return self.field.regularization()

    def after_step(self, step: int) -> None:
        """To be called after training step ``step`` (the first is 1)."""
        self.field.after_step(step)

    @property
    def costs(self) -> Counts:
        """Points of each ray of the last forward with gradient that have a color, int64 (N,)."""
        return self.field.costs

    @property
    def points(self) -> int:
        """Points of the last forward with gradient."""
        return int(self.costs.sum())

    def channels_of(self, rendered: Rendered) -> Values:
        """Values (N, C) of what rays saw, as the images have them."""
        if gpu.takes(rendered.color):
            return gpu.mid_gray(rendered.color, rendered.opacity, self.photos.channels)
        if self.photos.channels == 4:
            return to_channels(rendered.color, rendered.opacity)
        return rendered.color + (1 - rendered.opacity[:, None]) / 2
