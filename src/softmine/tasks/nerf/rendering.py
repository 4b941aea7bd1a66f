"""What a radiance field looks like from a camera, in chunks that fit into memory, and depths as colors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import PerSample
from softmine.radiance.background import over_background
from softmine.radiance.cameras import Camera, Cameras, Pose, Rays, strided, to_ndc
from softmine.radiance.renderer import CHUNK, Renderer
from softmine.radiance.scenes.scene import Scene
from softmine.runs.task import Array
from softmine.training.evaluation import at_rest

SOLID = 0.5
"""Opacity from which a pixel has a depth."""


@dataclass(frozen=True)
class RenderedView:
    """One rendered image.

    Attributes:
        color: over the background, clipped to [0, 1], (h, w, 3).
        depth: mean distance from the camera of what is seen, in the scene's units, (h, w); infinite where the field is
            mostly transparent.
    """

    color: Float[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]


@torch.no_grad()
def render_view(
    renderer: Renderer,
    scene: Scene,
    camera: Camera,
    pose: Pose,
    *,
    background: float,
    device: torch.device,
    stride: int = 1,
    pause: Callable[[], None] = lambda: None,
) -> RenderedView:
    """What ``renderer`` shows to a camera at ``pose`` (3, 4), before a gray ``background`` (1 is white).

    Args:
        renderer: the field; left in the mode it was in.
        scene: what the field was trained on: tells whether rays run in normalized device coordinates.
        camera: its size is the image's.
        pose: camera to world.
        background: in [0, 1].
        device: where the field is.
        stride: take every ``stride``-th row and column only.
        pause: called between chunks; may raise.
    """
    cameras = Cameras([camera], [pose])
    rows, columns = strided(camera.height, stride), strided(camera.width, stride)
    pixels = torch.cartesian_prod(rows, columns).float() + 0.5
    colors, depths = [], []
    with at_rest(renderer):
        for part in pixels.split(CHUNK):
            pause()
            rays = cameras.rays(torch.zeros(len(part), dtype=torch.int64), part)
            seen, depth = render_rays(renderer, scene, rays, device)
            colors.append(over_background(seen, background).clamp_(0, 1))
            depths.append(depth)
    size = (len(rows), len(columns))
    return RenderedView(torch.cat(colors).view(*size, 3).numpy(), torch.cat(depths).view(size).numpy())


def render_rays(
    renderer: Renderer, scene: Scene, rays: Rays, device: torch.device
) -> tuple[Float[Tensor, "n c"], PerSample]:
    """Channels (N, C) as ``renderer`` gives them, and depths (N,) in the scene's units, on the CPU.

    ``rays`` are in the world, with directions of length 1.
    """
    inside = to_ndc(rays, scene.ndc.scale, scene.ndc.near) if scene.ndc else rays
    rendered = renderer.field(*(part.to(device) for part in inside))
    channels = renderer.channels_of(rendered)
    opacity = rendered.opacity.cpu()
    depth = rendered.depth.cpu() / opacity.clamp(min=1e-6)
    if scene.ndc:
        # From t, which reaches infinity at 1, to distance: z = 2 near / (z' - 1).
        z = 2 * scene.ndc.near / (inside.origins[:, 2] + depth * inside.directions[:, 2] - 1).clamp(max=-1e-6)
        depth = (z - rays.origins[:, 2]) / rays.directions[:, 2]
    return channels.cpu(), depth.masked_fill(opacity < SOLID, math.inf)


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
        image = matplotlib.colormaps["viridis"](np.clip(shade, 0, 1))[..., :3].astype(np.float32)
        image[~np.isfinite(depth)] = 1
        colors.append(image)
    return colors


def depth_ends(depths: list[Array]) -> tuple[float, float]:
    """1 / depth of nearly the farthest and nearly the nearest that there is, so that single floaters decide nothing."""
    known = np.concatenate([depth[np.isfinite(depth)] for depth in depths])
    if not len(known):
        return 0.0, 1.0
    far, near = np.percentile(1 / np.maximum(known, 1e-9), (1, 99))
    return float(far), float(near)
