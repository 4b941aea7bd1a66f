"""Whether photos have opacity, and what it says of the object they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from softmine.radiance.cameras import Cameras
from softmine.radiance.photo_files import read_pixels
from softmine.radiance.scenes.checks import Size
from softmine.radiance.scenes.scene import View

VIEWS = 12
"""Views that are looked at, spread evenly,"""
SIDE = 128
"""in about so many rows and columns."""
OPAQUE = 250 / 255
"""Opacity from which it counts as whole: programs round 1 down, and blur edges."""
VISIBLE = 10 / 255
"""Opacity above which there is something."""
STRAY = 0.001
"""Share of what is seen that may lie farther out: single wrong pixels."""
CUT = 0.01
"""Share of the frame from which what is seen counts as cut off by it."""


def opacity(views: Sequence[View], sizes: Mapping[Path, Size]) -> tuple[bool, tuple[str, ...]]:
    """Whether a photo has a pixel that is not opaque, or nearly, and a note where a channel of opacity never says so."""
    channels = [view for view in views if view.image and sizes[view.image].header.has_alpha]
    least = 1.0
    for alpha in map(_alpha, channels):
        least = least if alpha is None else min(least, float(alpha.min() / _opaque(alpha)))
        if least < OPAQUE:
            return True, ()
    if not channels:
        return False, ()
    nearly = "" if least == 1 else f" up to {1 - least:.1%}"
    return False, (
        f"the opacity of the photos is not used: all {len(channels)} that have it are opaque{nearly}",
    )


def object_radius(views: Sequence[View], center: Float[np.ndarray, "3"]) -> float:
    """How far from ``center`` what the photos show reaches, seen from the side, by their opacity.

    The radius of the ball around it that looks as large as the object does, in the view where that is largest. Where the frame
    cuts the object off, the ball that just fits the frame is taken. Views that look away from ``center`` tell nothing.
    """
    chosen = [views[round(each)] for each in np.linspace(0, len(views) - 1, min(VIEWS, len(views)))]
    cameras = Cameras([view.camera for view in chosen], [view.pose for view in chosen])
    largest = 0.0
    for index, view in enumerate(chosen):
        camera = view.camera
        step = max(1, max(camera.width, camera.height) // SIDE)
        rows, columns = (
            torch.arange(min(step // 2, side - 1), side, step) for side in (camera.height, camera.width)
        )
        pixels = torch.cartesian_prod(rows, columns) + 0.5
        directions = cameras.rays(torch.full((len(pixels),), index), pixels).directions.double().numpy()
        ahead = center - view.pose[:, 3]
        distance = float(np.linalg.norm(ahead))
        if not view.pose[:, 2] @ ahead > 0:
            continue
        cosine = directions @ ahead / max(distance, 1e-12)
        aside = distance * np.where(cosine > 0, np.sqrt((1 - cosine**2).clip(0)), 1.0)
        aside = aside.reshape(len(rows), len(columns))
        alpha = _alpha(view)
        if alpha is None:
            alpha = np.ones((camera.height, camera.width), bool)
        # The camera is of the image at the scene's downscale, the pixels are not.
        down, across = (
            size // own for size, own in zip(alpha.shape, (camera.height, camera.width), strict=True)
        )
        there = alpha[(rows * down)[:, None], columns * across] > VISIBLE * _opaque(alpha)
        if not there.any():
            continue
        frame = np.ones_like(there)
        frame[1:-1, 1:-1] = False
        reach = float(np.quantile(aside[there], 1 - STRAY))
        if there[frame].mean() > CUT:
            reach = min(reach, float(aside[frame].min()))
        largest = max(largest, reach)
    return largest


def _alpha(view: View) -> np.ndarray | None:
    """Opacity (H, W) of all pixels of a view as it is stored, or None where it has none."""
    pixels = read_pixels(view)
    return pixels[..., -1] if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else None


def _opaque(alpha: np.ndarray) -> float:
    """The value of what is opaque."""
    return float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind == "u" else 1.0
