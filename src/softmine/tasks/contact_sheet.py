"""Several pictures as one."""

from __future__ import annotations

import math

import numpy as np

from softmine.runs.task import Array

GAP = 4


def contact_sheet(pictures: list[Array]) -> Array:
    """Pictures (h, w, C) in rows, white between them and beside smaller ones, about as wide as a screen is."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    choices = range(1, len(pictures) + 1)
    across = min(choices, key=lambda across: _misfit(len(pictures), across, width / height))
    down = -(-len(pictures) // across)
    shape = (down * (height + GAP) - GAP, across * (width + GAP) - GAP, pictures[0].shape[2])
    sheet = np.ones(shape, np.float32)
    for place, picture in enumerate(pictures):
        top, left = place // across * (height + GAP), place % across * (width + GAP)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _misfit(count: int, across: int, aspect: float) -> float:
    """How far a sheet with ``across`` pictures in a row is from a screen's aspect; empty places count too."""
    down = -(-count // across)
    return abs(math.log(across * aspect / (1.6 * down))) + down * across - count
