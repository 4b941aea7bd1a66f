"""Depths as pictures."""

from __future__ import annotations

import matplotlib
import numpy as np

from softmine.runs.task import Array


def depth_colors(depths: list[Array], ends: tuple[float, float] | None = None) -> list[Array]:
    """Depths (h, w) as colors (h, w, 3), on one scale for all: near is yellow, far is blue, and nothing is white.

    The scale is even in 1 / depth, in which the eye judges distance.

    Args:
        depths: infinite where there is nothing.
        ends: 1 / depth of the farthest and the nearest color; those of ``depth_ends`` where not given.
    """
    far, near = ends or depth_ends(depths)
    colors = []
    for depth in depths:
        shade = (1 / np.maximum(depth, 1e-9) - far) / max(near - far, 1e-9)
        picture = matplotlib.colormaps["viridis"](np.clip(shade, 0, 1))[..., :3].astype(np.float32)
        picture[~np.isfinite(depth)] = 1
        colors.append(picture)
    return colors


def depth_ends(depths: list[Array]) -> tuple[float, float]:
    """1 / depth of nearly the farthest and nearly the nearest that there is, so that single floaters decide nothing."""
    known = np.concatenate([depth[np.isfinite(depth)] for depth in depths])
    if not len(known):
        return 0.0, 1.0
    far, near = np.percentile(1 / np.maximum(known, 1e-9), (1, 99))
    return float(far), float(near)
