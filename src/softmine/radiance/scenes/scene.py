"""What every reader of posed pictures gives: views, and the room they look into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Camera, Pose, focus

HOLD_OUT = 8
"""Where a scene names no test views, every eighth is one, beginning with the first (the custom since LLFF)."""
CAMERA_NEAR = 0.05
"""Nearest distance of an unbounded scene, where the cameras lie in the unit ball (the value of nerfacto)."""
CAMERA_FAR = 1000.0


@dataclass(frozen=True, eq=False)
class View:
    """One posed picture.

    Attributes:
        name: its file's path inside the scene.
        camera: of the picture at the scene's ``downscale``.
        pose: (3, 4), from camera to world; the camera looks along its +z with +y down.
        split: what it is for: ``train`` or ``test``.
        image: its file, or None where ``pixels`` are given.
        mask: a picture of the same size whose black pixels do not count, or None.
        pixels: (H, W, 3) RGB or (H, W, 4) RGBA (not premultiplied), or None where there is a file.
    """

    name: str
    camera: Camera
    pose: Pose
    split: str
    image: Path | None
    mask: Path | None = None
    pixels: UInt8[np.ndarray, "h w c"] | None = None


@dataclass(frozen=True)
class Bounds:
    """Where along the rays there is something.

    Attributes:
        kind: ``box``: all of it lies in a box; ``ndc``: so it does in normalized device coordinates, where rays run from
            t = 0 to t = 1; ``unbounded``: it goes on for ever, and the cameras lie in the unit ball.
        near: nearest distance along a ray.
        far: farthest distance along a ray.
        low: lower corner of the box (the unit ball's for ``unbounded``).
        high: upper corner.
    """

    kind: Literal["box", "ndc", "unbounded"]
    near: float
    far: float
    low: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    high: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Ndc:
    """The reference camera of normalized device coordinates: arguments of ``to_ndc``."""

    scale: tuple[float, float]
    near: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Posed pictures of one place.

    Attributes:
        name: what to call it in reports.
        path: its folder or file, or None where it is made here.
        views: all of them, those of ``train`` first.
        has_alpha: whether the pictures say what is background (RGBA), or are photos.
        bounds: where there is something.
        ndc: how rays become those of normalized device coordinates, or None where they do not.
        center: the point of the file's world that is the origin of this one.
        scale: lengths in this world over lengths in the file's (after any rotation, for LLFF).
        downscale: pictures are averaged over blocks of this many pixels a side as they are loaded.
        points: (P, 3) points known to lie on surfaces, in this world, or None.
        files: what was read besides pictures: they belong to the fingerprint.
        notes: what a user may want to know, one sentence each.
    """

    name: str
    path: Path | None
    views: tuple[View, ...]
    has_alpha: bool
    bounds: Bounds
    ndc: Ndc | None = None
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    downscale: int = 1
    points: Float[np.ndarray, "p 3"] | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def split(self, name: str) -> tuple[View, ...]:
        """The views of a split.

        Raises:
            SoftmineError: it is empty.
        """
        chosen = tuple(view for view in self.views if view.split == name)
        if not chosen:
            raise SoftmineError(f"the scene {self.name!r} has no view to {name}: give it some")
        return chosen


def hold_out(views: Sequence[View]) -> list[View]:
    """The views with every eighth, by name, held out for testing; training views first.

    Raises:
        SoftmineError: there are fewer than two.
    """
    if len(views) < 2:
        raise SoftmineError(
            f"the scene has {len(views)} view(s), but one to train on and one to test on are the least; add pictures"
        )
    ordered = sorted(views, key=lambda view: view.name)
    split = [
        replace(view, split="train" if index % HOLD_OUT else "test") for index, view in enumerate(ordered)
    ]
    return sorted(split, key=lambda view: view.split == "test")


def normalize(
    views: Sequence[View], where: str
) -> tuple[tuple[View, ...], tuple[float, float, float], float]:
    """Moves and scales the world so that what the cameras look at is at the origin and they are in the unit ball.

    The origin is their ``focus``; the farthest camera gets distance 1.

    Returns:
        The views in the new world, and its center and scale: new = (old - center) * scale.

    Raises:
        SoftmineError: all cameras stand at one point.
    """
    centers = np.stack([view.pose[:, 3] for view in views])
    mean = centers.mean(0)
    spread = np.linalg.norm(centers - mean, axis=-1).max()
    if not spread > 1e-9 * (1 + np.abs(mean).max()):
        raise SoftmineError(f"{where}: all cameras stand at one point, which shows no depth; check the poses")
    middle = focus([view.pose for view in views])
    scale = float(1 / np.linalg.norm(centers - middle, axis=-1).max())
    moved = tuple(
        replace(
            view, pose=np.concatenate((view.pose[:, :3], (view.pose[:, 3:] - middle[:, None]) * scale), 1)
        )
        for view in views
    )
    x, y, z = middle.tolist()
    return moved, (x, y, z), scale
