"""Scenes whose training views are dirty, made from clean ones, always the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from softmine.errors import ArgumentError
from softmine.radiance.photo_files import read_pixels
from softmine.radiance.scenes.scene import Scene, View
from softmine.signals.corruptions import Corruption

LEAST_SIDE, MOST_SIDE = 0.25, 0.5
"""Sides of a patch, as shares of its image's."""
DARKEST, BRIGHTEST = 0.6, 1.6
"""Factors of an exposure."""

Change = Callable[[np.ndarray, np.random.Generator], None]
"""Changes pixels (H, W, C), of which the largest value is that of their type, in place."""


def corrupt_scene(scene: Scene, corruption: Corruption) -> Scene:
    """A copy of a scene in which a share of the training views, at least one, is dirty; test views and masks stay.

    A patch is a rectangle at a random place, a quarter to a half of the image a side, opaque and of one random color. Another
    exposure multiplies the stored colors by one factor between 0.6 and 1.6, drawn uniformly by its logarithm; what gets too
    bright is cut off.

    Raises:
        SoftmineError: the corruption is for other signals, or an image is damaged.
    """
    changes: dict[str, Change] = {"patches": _patch, "exposure": _expose}
    if corruption.name not in changes:
        raise ArgumentError(
            "{corrupt} is {given}: on scenes choose patches=0.05 or exposure=0.1", given=str(corruption)
        )
    random = corruption.random()
    train = [index for index, view in enumerate(scene.views) if view.split == "train"]
    count = round(corruption.amount * len(train)) or int(corruption.amount > 0 and bool(train))
    views = list(scene.views)
    for index in sorted(random.choice(train, count, replace=False).tolist() if count else []):
        views[index] = _changed(views[index], changes[corruption.name], random)
    return replace(scene, views=tuple(views))


def _changed(view: View, change: Change, random: np.random.Generator) -> View:
    pixels = read_pixels(view).copy()
    change(pixels if pixels.ndim == 3 else pixels[..., None], random)
    return replace(view, image=None, pixels=pixels)


def _patch(pixels: np.ndarray, random: np.random.Generator) -> None:
    height, width, channels = pixels.shape
    top, left, bottom, right = _rectangle(height, width, random)
    most = _most(pixels)
    patch = pixels[top:bottom, left:right]
    patch[...] = np.rint(random.random(channels) * most).astype(pixels.dtype)
    if channels in (2, 4):
        patch[..., -1] = most


def _rectangle(height: int, width: int, random: np.random.Generator) -> tuple[int, int, int, int]:
    rows, columns = (max(1, round(side * random.uniform(LEAST_SIDE, MOST_SIDE))) for side in (height, width))
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    return top, left, top + rows, left + columns


def _expose(pixels: np.ndarray, random: np.random.Generator) -> None:
    factor = np.exp(random.uniform(np.log(DARKEST), np.log(BRIGHTEST)))
    colors = pixels[..., : pixels.shape[2] - (pixels.shape[2] in (2, 4))]
    colors[...] = np.rint(np.clip(colors * factor, 0, _most(pixels))).astype(pixels.dtype)


def _most(pixels: np.ndarray) -> float:
    return float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
