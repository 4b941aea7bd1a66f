"""Renders of a trained radiance field for people to keep: images of its views, and films."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from softmine.radiance.cameras import Camera, Pose
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes.scene import Scene
from softmine.runs.files import write_json
from softmine.runs.images import to_bytes, write_image
from softmine.runs.task import Array, Report
from softmine.tasks.film import film
from softmine.tasks.nerf.camera_paths import film_camera, orbit, photo_camera, spiral
from softmine.tasks.nerf.evaluation import LPIPS_NETWORK
from softmine.tasks.nerf.rendering import RenderedView, depth_colors, depth_ends, render_view

LOOKED_AT, COARSE = 5, 64
"""Frames, and pixels of their longer side, from which the scale of a film's depths is taken."""


@dataclass(frozen=True)
class Stage:
    """What is rendered, and how.

    Attributes:
        field: trained.
        scene: what it was trained on.
        background: a gray in [0, 1], for fields that know what is transparent.
        device: where the field is.
        depth: whether depths are written too.
    """

    field: Renderer
    scene: Scene
    background: float
    device: torch.device
    depth: bool

    def render(self, camera: Camera, pose: Pose, pause: Callable[[], None], stride: int = 1) -> RenderedView:
        """One image."""
        return render_view(
            self.field, self.scene, camera, pose,
            background=self.background, device=self.device, stride=stride, pause=pause,
        )  # fmt: skip


def write_photos(
    stage: Stage,
    split: str,
    size: tuple[int | None, int | None],
    folder: Path,
    report: Report,
    lpips: Callable[[int, Array], float] | None = None,
) -> str:
    """Writes what the field shows in place of each photo of a split, as PNGs, and ``views.json``; says what it wrote.

    With depths, ``NAME_depth.png`` holds them in 16 bits, 0 where there is nothing, else in units of ``depth_unit`` of the
    scene's file, which ``views.json`` tells for each; ``NAME_depth_colours.png`` is for the eye. With ``lpips``, which tells
    how far an image is from a photo of the split, its figures and their mean are there too.

    Raises:
        SoftmineError: the size does not fit the photos, or a file cannot be written.
    """
    views = stage.scene.split(split)
    cameras = [photo_camera(view.camera, *size) for view in views]
    entries: list[dict[str, Any]] = []
    for number, (view, camera) in enumerate(zip(views, cameras, strict=True)):
        shot = stage.render(camera, view.pose, lambda number=number: report(number / len(views)))
        name = f"{number:04d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', Path(view.name).with_suffix('').as_posix())[-60:]}"
        write_image(shot.color, folder / f"{name}.png")
        entry: dict[str, Any] = {"file": f"{name}.png", "view": view.name}
        if stage.depth:
            unit = _write_depth(shot.depth, stage.scene.scale, folder / f"{name}_depth.png")
            write_image(depth_colors([shot.depth])[0], folder / f"{name}_depth_colours.png")
            entry |= {"depth_file": f"{name}_depth.png", "depth_unit": unit}
        if lpips:
            entry["lpips"] = lpips(number, shot.color)
        entries.append(entry)
        report((number + 1) / len(views))
    summary: dict[str, Any] = {"split": split}
    wrote = f"{len(views)} views" + (" with their depths" if stage.depth else "")
    if lpips:
        mean = float(np.mean([entry["lpips"] for entry in entries]))
        summary |= {"background": stage.background, "lpips_network": LPIPS_NETWORK, "lpips_mean": mean}
        wrote += f", LPIPS {mean:.4f} on average"
    write_json(folder / "views.json", {**summary, "views": entries})
    return wrote


def write_flight(
    stage: Stage,
    path: str,
    size: tuple[int | None, int | None],
    frames: int,
    rate: Fraction,
    folder: Path,
    report: Report,
) -> str:
    """Writes a film along an ``orbit`` or ``spiral``, ``NAME.mp4``, and one of its depths; says what it wrote.

    Raises:
        SoftmineError: the scene does not allow this path, or a file cannot be written.
    """
    first = stage.scene.split("train")[0].camera
    camera = film_camera(first, *size)
    poses = (
        orbit(stage.scene, frames) if path == "orbit" else spiral(stage.scene, frames, _focus(stage, first))
    )
    with ExitStack() as stack:
        name, add = stack.enter_context(film(folder / f"{path}.mp4", (camera.width, camera.height), rate))
        add_depth = ends = None
        if stage.depth:
            ends = _film_ends(stage, camera, poses)
            depth_file = folder / f"{path}_depth.mp4"
            _, add_depth = stack.enter_context(film(depth_file, (camera.width, camera.height), rate))
        for number, pose in enumerate(poses):
            shot = stage.render(camera, pose, lambda number=number: report(number / frames))
            add(to_bytes(shot.color))
            if add_depth:
                add_depth(to_bytes(depth_colors([shot.depth], ends)[0]))
            report((number + 1) / frames)
    size_words = f"{camera.width} x {camera.height} at {float(rate):g} a second"
    return f"{frames} frames of {size_words} ({name})" + (", and their depths" if stage.depth else "")


def _focus(stage: Stage, camera: Camera) -> float:
    """Distance of what the first training view looks at: the median of its depths, or 1 where it sees nothing."""
    stride = max(1, max(camera.width, camera.height) // COARSE)
    depth = stage.render(camera, stage.scene.split("train")[0].pose, lambda: None, stride).depth
    known = depth[np.isfinite(depth)]
    return float(np.median(known)) if len(known) else 1.0


def _film_ends(stage: Stage, camera: Camera, poses: list[Pose]) -> tuple[float, float]:
    stride = max(1, max(camera.width, camera.height) // COARSE)
    some = poses[:: max(1, len(poses) // LOOKED_AT)]
    return depth_ends([stage.render(camera, pose, lambda: None, stride).depth for pose in some])


def _write_depth(depth: Array, scale: float, path: Path) -> float:
    """Writes depths in 16 bits; returns how much of a unit of the scene's file a step is."""
    known = np.isfinite(depth)
    # The farthest thousandth may be anywhere.
    top = float(np.percentile(depth[known], 99.9)) if known.any() else 1.0
    steps = np.where(known, np.clip(np.where(known, depth, 0) / top * 65535, 1, 65535), 0).round()
    Pillow.fromarray(steps.astype(np.uint16)).save(path)
    return top / 65535 / scale
