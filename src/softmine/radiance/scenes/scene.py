"""What every reader of posed images gives: views, and the space they look into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from softmine.errors import SoftmineError
from softmine.formatting import several
from softmine.radiance.cameras import Camera, Pose, focus

HOLD_OUT = 8
"""Where a scene names no test views, every eighth is one, beginning with the first (the custom since LLFF)."""
CAMERA_NEAR = 0.05
"""Nearest distance of an unbounded scene, where the cameras lie in the unit ball (the value of nerfacto)."""
CAMERA_FAR = 1000.0


@dataclass(frozen=True, eq=False)
class View:
    """One posed image.

    Attributes:
        name: its file's path inside the scene.
        camera: of the image at the scene's ``downscale``.
        pose: (3, 4), from camera to world; the camera looks along its +z with +y down.
        split: what it is for: ``train`` or ``test``.
        image: its file, or None where ``pixels`` are given.
        mask: an image of the same size, or ``mask_factor`` times that, whose black pixels do not count, or None.
        dynamic_mask: one whose pixels that are not black do not count, or None.
        upright: whether the pixels are those that EXIF turns, which the camera is then of, not those that are stored.
        mask_factor: how many times larger than the image its mask is.
        pixels: (H, W, 3) RGB or (H, W, 4) RGBA (not premultiplied), or None where there is a file.
    """

    name: str
    camera: Camera
    pose: Pose
    split: str
    image: Path | None
    mask: Path | None = None
    pixels: UInt8[np.ndarray, "h w c"] | None = None
    dynamic_mask: Path | None = None
    upright: bool = False
    mask_factor: int = 1


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
    """Posed images of one place.

    Attributes:
        name: what to call it in reports.
        path: its folder or file, or None where it is made here.
        views: all of them, those of ``train`` first.
        bounds: where there is something.
        has_alpha: whether the images say what is background (RGBA), or are photos.
        ndc: how rays become those of normalized device coordinates, or None where they do not.
        center: the point of the file's world that is the origin of this one.
        scale: lengths in this world over lengths in the file's (after any rotation, for LLFF).
        downscale: images are averaged over blocks of this many pixels a side as they are loaded.
        points: (P, 3) points known to lie on surfaces, in this world, or None.
        files: what was read besides images: they belong to the fingerprint.
        notes: what a user may want to know, one sentence each.
        divided: what the split into training and test views follows; empty where files of their own say so.
    """

    name: str
    path: Path | None
    views: tuple[View, ...]
    bounds: Bounds
    has_alpha: bool = False
    ndc: Ndc | None = None
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    downscale: int = 1
    points: Float[np.ndarray, "p 3"] | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())
    divided: str = ""

    def split(self, name: str) -> tuple[View, ...]:
        """The views of a split.

        Raises:
            SoftmineError: it is empty.
        """
        chosen = tuple(view for view in self.views if view.split == name)
        if not chosen:
            raise SoftmineError(f"the scene {self.name!r} has no view to {name}: give it some")
        return chosen

    def placed(
        self,
        views: Sequence[View],
        center: Float[np.ndarray, "3"],
        scale: float,
        turn: Float[np.ndarray, "3 3"] | None = None,
    ) -> Scene:
        """The scene with these views, in a world moved to ``center``, turned, and scaled."""

        def moved(pose: Pose) -> Pose:
            pose = np.concatenate((pose[:, :3], pose[:, 3:] - center[:, None]), 1)
            return (pose if turn is None else turn @ pose) * np.array([1, 1, 1, scale])

        x, y, z = center.tolist()
        placed = tuple(replace(view, pose=moved(view.pose)) for view in views)
        return replace(self, views=placed, center=(x, y, z), scale=scale)


def held_out_note(views: Sequence[View]) -> str:
    """The note on ``views`` that were split by ``hold_out``."""
    test = sum(view.split == "test" for view in views)
    return f"no split is given: every eighth view ({test} of {len(views)}) is for testing"


def hold_out(views: Sequence[View]) -> list[View]:
    """The views with every eighth, by name, held out for testing; training views first.

    Raises:
        SoftmineError: there are fewer than two.
    """
    if len(views) < 2:
        raise SoftmineError(
            f"the scene has {several(len(views), 'view')}, but one to train on and one to test on are the least; add images"
        )
    ordered = sorted(views, key=lambda view: view.name)
    split = [
        replace(view, split="train" if index % HOLD_OUT else "test") for index, view in enumerate(ordered)
    ]
    return sorted(split, key=lambda view: view.split == "test")


def box_bounds(views: Sequence[View], half: float, where: str, middle: str = "origin") -> Bounds:
    """Bounds of an object in [-half, half]^3, which cameras see from outside or inside; ``middle`` is its middle's name.

    Raises:
        SoftmineError: no camera looks at the box.
    """
    centers = np.stack([view.pose[:, 3] for view in views])
    axes = np.stack([view.pose[:, 2] for view in views])
    distance = np.linalg.norm(centers, axis=-1)
    reach = half * math.sqrt(3)
    ahead = -(centers * axes).sum(-1)
    if not ((ahead > 0) | (distance < reach)).any():
        raise SoftmineError(
            f"{where}: no camera looks at the {middle}, where the object must be; its axes are not those of OpenGL"
        )
    near = max(CAMERA_NEAR, float(distance.min()) - reach)
    return Bounds("box", near, float(distance.max()) + reach, (-half, -half, -half), (half, half, half))


def unbounded_scene(path: Path, views: Sequence[View], where: str, **more: Any) -> Scene:
    """The scene of cameras in an unbounded world, moved and scaled so that they lie in the unit ball.

    What the cameras look at, their ``focus``, becomes the origin; the farthest of them gets distance 1.

    Args:
        path: the scene's folder or file.
        views: in the world of the file.
        where: what to name in errors.
        **more: further attributes of ``Scene``.

    Raises:
        SoftmineError: all cameras stand at one point.
    """
    centers = np.stack([view.pose[:, 3] for view in views])
    mean = centers.mean(0)
    spread = np.linalg.norm(centers - mean, axis=-1).max()
    if not spread > 1e-9 * (1 + np.abs(mean).max()):
        raise SoftmineError(f"{where}: all cameras stand at one point, which shows no depth; check the poses")
    center = focus([view.pose for view in views])
    scale = float(1 / np.linalg.norm(centers - center, axis=-1).max())
    place = path.resolve()
    name = (place if place.is_dir() else place.parent).name
    bounds = Bounds("unbounded", CAMERA_NEAR, CAMERA_FAR)
    return Scene(name, path, (), bounds=bounds, **more).placed(views, center, scale)
