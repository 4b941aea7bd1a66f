"""A video that needs no file: textured discs that move before a gradient."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import UInt8

# Centre (row, column), reach of the path, radius, turns in the whole clip, cells of the texture: in heights.
_DISCS = (
    (0.50, 0.40, 0.22, 0.20, 1.0, 9.0),
    (0.45, 0.95, 0.28, 0.15, -1.0, 21.0),
    (0.62, 0.68, 0.30, 0.10, 2.0, 34.0),
    (0.30, 0.70, 0.15, 0.06, -3.0, 55.0),
)
_COLOURS = np.array([[0.9, 0.25, 0.2], [0.15, 0.55, 0.9], [0.95, 0.8, 0.2], [0.2, 0.75, 0.4]], np.float32)


def moving_discs(
    frames: int = 32, height: int = 120, width: int = 160
) -> UInt8[np.ndarray, "frames height width 3"]:
    """The clip, (frames, height, width, 3): fine and coarse textures, smooth ground, sharp moving borders."""
    row, column = (np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)) / np.float32(height)
    ground = np.stack([0.15 + 0.3 * row, 0.2 + 0.2 * column, 0.5 - 0.3 * row], -1).astype(np.float32)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for index in range(frames):
        picture = ground
        for (middle, across, reach, radius, turns, fineness), colour in zip(_DISCS, _COLOURS, strict=True):
            angle = 2 * math.pi * turns * (index + 0.5) / frames
            down = row - (middle + reach * math.sin(angle))
            right = column - (across + reach * math.cos(angle))
            # The texture turns with the disc; the border is a pixel wide, so that it moves smoothly.
            along = math.cos(angle) * down + math.sin(angle) * right
            over = math.cos(angle) * right - math.sin(angle) * down
            waves = np.sin(math.pi * fineness * along) * np.sin(math.pi * fineness * over)
            shade = 0.7 + 0.3 * np.tanh(4 * waves)
            cover = np.clip((radius - np.hypot(down, right)) * height + 0.5, 0, 1)[..., None]
            picture = picture * (1 - cover) + cover * shade[..., None] * colour
        clip[index] = np.rint(picture * 255)
    return clip
