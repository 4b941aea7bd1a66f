"""An untrained radiance field that suits a scene."""

from __future__ import annotations

import math

import numpy as np

from softmine.errors import SoftmineError
from softmine.radiance.field import field_for
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes import Scene
from softmine.training.settings import FieldSettings


def make_renderer(scene: Scene, photos: Photos, settings: FieldSettings) -> Renderer:
    """A field whose cells and steps are about as fine as the photos' pixels, rendered along their rays.

    Raises:
        SoftmineError: another field than a hash grid is asked for.
    """
    if settings.field != "hashgrid":
        raise SoftmineError(f"--field is {settings.field}, but a radiance field is learned by hashgrid alone")
    across = pixels_across(scene)
    radiance = field_for(
        scene.bounds,
        log2_table_size=settings.log2_table_size,
        finest_resolution=2 ** round(math.log2(min(max(2 * across, 128), 2048))),
        steps=round(min(max(1.25 * across, 128), 1024)),
    )
    return Renderer(radiance, photos)


def pixels_across(scene: Scene) -> float:
    """How many of a photo's pixels the field's cube is wide, seen from where the cameras stand (the median of them)."""
    views, bounds = scene.split("train"), scene.bounds
    side = max(high - low for low, high in zip(bounds.low, bounds.high, strict=True))
    if bounds.kind == "ndc":
        # What a camera sees is 2 wide.
        return float(np.median([view.camera.width for view in views])) * side / 2
    if bounds.kind == "unbounded":
        # All of space is drawn into a ball of twice the size.
        side *= 2
    center = (np.array(bounds.low) + np.array(bounds.high)) / 2
    distances = [float(np.linalg.norm(view.pose[:, 3] - center)) for view in views]
    return side * float(
        np.median([view.camera.focal[0] / max(d, 1e-3) for view, d in zip(views, distances, strict=True)])
    )
