"""What a radiance field shows to a browser's camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes.scene import Scene
from softmine.runs.images import to_bytes
from softmine.tasks.nerf.rendering import depth_colors, render_view
from softmine.viewing.browser_camera import BrowserCamera

NOWHERE = 160.0
"""Depth where there is nothing: near the largest that the page can be told."""
BACKWARDS = -1e-2
"""In normalized device coordinates, rays whose z is above this see nothing."""

Rgb = UInt8[np.ndarray, "_ _ 3"]
"""8-bit RGB; of no size in particular, since one is made from another."""
Depth = Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class Frame:
    """An image for a browser.

    Attributes:
        color: (h, w, 3), 8 bits.
        depth: distance along the camera's axis in the world's units, (h, w), 160 where there is nothing; None where the
            cameras and other things on the page need not be hidden behind the image.
    """

    color: Rgb
    depth: Depth | None = None


@dataclass(frozen=True)
class Style:
    """How radiance is shown.

    Attributes:
        background: gray behind everything, 0 to 1.
        depth: show distances as colors, near is yellow and far is blue, instead of colors.
        occlude: give the depth with the image, so that it hides what lies behind.
    """

    background: float = 1.0
    depth: bool = False
    occlude: bool = False


class Unwanted(Exception):
    """An image is not wanted any more."""


def render(
    field: Renderer,
    scene: Scene,
    look: BrowserCamera,
    side: int,
    style: Style,
    *,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> Frame | None:
    """An image of ``field``, or None where ``stop()``, asked every few thousand rays, says that it is not wanted any more.

    Args:
        field: left in the mode it was in; its random numbers and its parameters are untouched.
        scene: what it was trained on.
        look: the camera.
        side: pixels along the longer side of the image.
        style: background, and colors or distances.
        device: where the field is.
        stop: whether to give up.
    """
    camera, pose = look.camera(side), look.pose()

    def pause() -> None:
        if stop():
            raise Unwanted

    try:
        shot = render_view(
            field, scene, camera, pose, background=style.background, device=device, pause=pause
        )
    except Unwanted:
        return None
    across = (np.arange(camera.width) + 0.5 - camera.center[0]) / camera.focal[0]
    down = (np.arange(camera.height) + 0.5 - camera.center[1]) / camera.focal[1]
    x, y = np.meshgrid(across, down)
    # From distances along the rays to those along the camera's axis.
    depth = shot.depth / np.sqrt(1 + x * x + y * y)
    there = np.isfinite(depth) & (depth > 0)
    color = shot.color
    if scene.ndc:
        seen = (np.stack((x, y, np.ones_like(x)), -1) @ pose[2, :3]) < BACKWARDS
        there, color = there & seen, np.where(seen[..., None], color, style.background)
    if style.depth:
        color = depth_colors([np.where(there, depth, np.inf)])[0]
    hiding = np.where(there, depth, NOWHERE).clip(0, NOWHERE).astype(np.float32)
    return Frame(to_bytes(color), hiding if style.occlude else None)
