"""What is left of a fitted radiance field besides its colours: depths as pictures, and figures of every view."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from softmine.runs.files import write_json
from softmine.runs.task import Array
from softmine.tasks.nerf_evaluation import ViewQuality, mean_psnr, mean_ssim, over_all


def depth_colours(depths: list[Array], ends: tuple[float, float] | None = None) -> list[Array]:
    """Depths (h, w) as colours (h, w, 3), on one scale for all: near is yellow, far is blue, and nothing is white.

    The scale is even in 1 / depth, in which the eye judges distance.

    Args:
        depths: infinite where there is nothing.
        ends: 1 / depth of the farthest and the nearest colour; those of ``depth_ends`` where not given.
    """
    far, near = ends or depth_ends(depths)
    colours = []
    for depth in depths:
        shade = (1 / np.maximum(depth, 1e-9) - far) / max(near - far, 1e-9)
        picture = matplotlib.colormaps["viridis"](np.clip(shade, 0, 1))[..., :3].astype(np.float32)
        picture[~np.isfinite(depth)] = 1
        colours.append(picture)
    return colours


def depth_ends(depths: list[Array]) -> tuple[float, float]:
    """1 / depth of nearly the farthest and nearly the nearest that there is, so that single floaters decide nothing."""
    known = np.concatenate([depth[np.isfinite(depth)] for depth in depths])
    if not len(known):
        return 0.0, 1.0
    far, near = np.percentile(1 / np.maximum(known, 1e-9), (1, 99))
    return float(far), float(near)


def write_views(quality: list[ViewQuality], background: float, path: Path) -> None:
    """Writes PSNR and SSIM of each view, their means, and the PSNR over all pixels, as JSON."""
    views = [{"name": view.name, "psnr": view.psnr, "ssim": view.ssim} for view in quality]
    write_json(
        path,
        {
            "background": background,
            "psnr_mean": mean_psnr(quality),
            "ssim_mean": mean_ssim(quality),
            "psnr_in_all": over_all(quality),
            "views": views,
        },
    )
