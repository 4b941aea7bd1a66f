"""What a reader hands over of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softmine.signals.grid import Number
from softmine.signals.image.memmap import MappedImage
from softmine.signals.tiff_tags import Tags


@dataclass(frozen=True)
class ImageData:
    """An image as its file holds it.

    Attributes:
        pixels: (H, W) or (H, W, C), upright.
        nodata: the stored value that means "no data here", beside NaN.
        mask: which pixels hold data, (H, W); None is all but those.
        icc_profile: of the colors, for what is reconstructed.
        layout: how tifffile is to write such pixels again, where channels are not as usual.
        tags: further ones that a TIFF of its pixels gets again.
        notes: what was chosen, converted or left out, one sentence each.
    """

    pixels: np.ndarray | MappedImage
    nodata: Number | None = None
    mask: np.ndarray | None = None
    icc_profile: bytes | None = None
    layout: dict[str, Any] | None = None
    tags: Tags = ()
    notes: tuple[str, ...] = ()


def fitting_profile(profile: bytes | None, colors: int, notes: list[str]) -> bytes | None:
    """An ICC profile if it is one of gray (1) or RGB (3) colors; else None, which is noted where there was one."""
    if not profile:
        return None
    space = profile[16:20].decode("latin-1").strip()
    if space == {1: "GRAY", 3: "RGB"}.get(colors):
        return profile
    notes.append(
        f"its ICC profile, of {space or 'no known'} colors, is not that of what was read, and is left out"
    )
    return None
