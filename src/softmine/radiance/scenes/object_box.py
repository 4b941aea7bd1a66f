"""The box in which an object of a transparent scene lies, in whatever unit its world has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from softmine.errors import SoftmineError
from softmine.radiance.cameras import Cameras, focus
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.opacity import object_radius
from softmine.radiance.scenes.scene import Bounds, Scene, View, box_bounds, unbounded_scene

HALF_SIDE = 1.5
"""Objects of NeRF-Synthetic lie in [-1.5, 1.5]^3, which is the box of every scene here once it is scaled."""
SHARE = HALF_SIDE / 4
"""Half the side of that box over the distance of its cameras (4.03)."""
ALIKE = 0.01
"""Relative difference from that box up to which it is taken as it is."""
SMALL, MARGIN = 0.5, 1.1
"""Objects smaller than such a share of the box, and larger ones, get a box of their own; wider than they look by a factor."""
NEAR_ORIGIN = 0.1
"""Share of the cameras' distance up to which what they look at is taken to be the origin."""

Box = tuple[Float[np.ndarray, "3"], float]
"""Middle and half the side."""


def box_scene(
    path: Path, views: Sequence[View], where: str, stated: Box | None, notes: Sequence[str], **more: Any
) -> Scene:
    """The scene of an object in a box, moved and scaled so that the box is [-1.5, 1.5]^3.

    The box follows the cameras: its middle is the world's origin, or what they look at where most of them do not see the
    origin; half its side is 3/8 of their distance from there (the median), as in NeRF-Synthetic. Where the object is seen to
    reach out of that, or to fill less than half of it, the box is as large as the object. All of that scales with the world,
    so that its unit does not matter. Where most cameras look away from that middle the scene is unbounded.

    Args:
        path: the scene's folder.
        views: in the world of the file.
        where: what to name in errors.
        stated: the box that the file states, which goes before all that.
        notes: to which one on the box is added, unless it is that of NeRF-Synthetic.
        **more: further attributes of ``Scene``.

    Raises:
        SoftmineError: no camera looks at the box.
    """
    train = [view for view in views if view.split == "train"]
    center = stated[0] if stated else _middle(train)
    name = f"point {_shown(center)}" if center.any() else "origin"
    ahead = [bool(view.pose[:, 2] @ (center - view.pose[:, 3]) > 0) for view in train]
    if not stated and any(ahead) and 2 * sum(ahead) < len(ahead):
        note = "the cameras do not look at one place, so the scene is unbounded"
        return unbounded_scene(path, views, where, notes=(*notes, note), has_alpha=True, **more)
    distance, radius = _distance(train, center), object_radius(train, center)
    if stated:
        half, reason = stated[1], "as its aabb_scale says"
        if radius > half:
            reason += (
                f", though the photos show it reach {radius:.4g} from there: what lies outside is cut off"
            )
    else:
        if not (distance > 0 and any(ahead)):
            raise SoftmineError(
                f"{where}: no camera looks at the {name}, where the object must be; its axes are not those of OpenGL"
            )
        half, reason = SHARE * distance, "which follows the cameras"
        if radius > half or 0 < radius < SMALL * half:
            half, reason = radius * MARGIN, "which follows what the photos show"
        elif abs(half / HALF_SIDE - 1) < ALIKE:
            half = HALF_SIDE
    if half != HALF_SIDE or center.any():
        notes = (*notes, f"the object's box reaches {half:.4g} each way from the {name}, {reason}")
    scene = Scene(path.resolve().name, path, (), Bounds("box", 0.0, 1.0), True, notes=tuple(notes), **more)
    scene = scene.placed(views, center, HALF_SIDE / half)
    return replace(scene, bounds=box_bounds(scene.views, HALF_SIDE, where, name))


def stated_box(content: dict[str, Any], where: str) -> Box | None:
    """The box of instant-ngp's ``aabb_scale``, with its ``scale`` and ``offset``; None where a file has none.

    A position p of the file is scale p + offset there, and the box has the side ``aabb_scale`` around (0.5, 0.5, 0.5).

    Raises:
        SoftmineError: one of these is not what it should be.
    """
    if content.get("aabb_scale") is None:
        return None
    side = checks.positive(checks.number(content, "aabb_scale", where), "aabb_scale", where)
    scale = checks.positive(checks.number(content, "scale", where, 0.33), "scale", where)
    offset = content.get("offset", [0.5, 0.5, 0.5])
    if not isinstance(offset, list) or len(offset) != 3:
        raise SoftmineError(f"{where}: 'offset' must be three numbers")
    middle = [0.5 - checks.number({"offset": each}, "offset", where) for each in offset]
    return np.array(middle) / scale, side / 2 / scale


def _middle(views: Sequence[View]) -> Float[np.ndarray, "3"]:
    origin, center = np.zeros(3), focus([view.pose for view in views])
    near = np.linalg.norm(center) < NEAR_ORIGIN * _distance(views, origin)
    return origin if near or _most_see(views, origin) else center


def _distance(views: Sequence[View], point: Float[np.ndarray, "3"]) -> float:
    """From a point to the cameras, the median."""
    return float(np.median([np.linalg.norm(view.pose[:, 3] - point) for view in views]))


def _most_see(views: Sequence[View], point: Float[np.ndarray, "3"]) -> bool:
    """Whether a point is in the image of at least half of the views."""
    cameras = Cameras([view.camera for view in views], [view.pose for view in views])
    points = torch.from_numpy(point).float().expand(len(views), 3)
    pixels, depth = cameras.project(torch.arange(len(views)), points)
    size = torch.tensor([(view.camera.height, view.camera.width) for view in views])
    seen = (depth > 0) & (pixels >= 0).all(-1) & (pixels < size).all(-1)
    return bool(seen.float().mean() >= 0.5)


def _shown(point: Float[np.ndarray, "3"]) -> str:
    return "(" + ", ".join(f"{each:.3g}" for each in point) + ")"
