"""Several images as one."""

from __future__ import annotations

import math

import numpy as np

from softmine.runs.task import Array

GAP = 4
"""Pixels between two images."""


def contact_sheet(images: list[Array], fill: float = 1.0) -> Array:
    """Images (h, w) or (h, w, C) in rows, ``fill`` between them and beside smaller ones, about as wide as a screen."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    choices = range(1, len(images) + 1)
    across = min(choices, key=lambda across: _misfit(len(images), across, width / height))
    return in_rows(images, across, fill)


def in_rows(images: list[Array], across: int, fill: float = 1.0, gap: int = GAP) -> Array:
    """Images (h, w) or (h, w, C), ``across`` of them in a row, each in a place as large as the largest."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    down = -(-len(images) // across)
    shape = (down * (height + gap) - gap, across * (width + gap) - gap, *images[0].shape[2:])
    sheet = np.full(shape, fill, np.float32)
    for place, image in enumerate(images):
        top, left = place // across * (height + gap), place % across * (width + gap)
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def _misfit(count: int, across: int, aspect: float) -> float:
    """How far a sheet with ``across`` images in a row is from a screen's aspect; empty places count too."""
    down = -(-count // across)
    return abs(math.log(across * aspect / (1.6 * down))) + down * across - count
