"""Triangle strips, as PLY and glTF files have them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def unroll(corners: Int[np.ndarray, " k"], ends: Int[np.ndarray, " s"]) -> Int[np.ndarray, "f 3"]:
    """The triangles (F, 3) of strips, each of three corners in a row, every second turned over so that all face one way.

    Strips join themselves by corners that are named twice, whose triangles have no area and are left out.

    Args:
        corners: those of all strips, (K,); -1 ends a strip, too, and is no corner.
        ends: where strips end, (S,).
    """
    third = np.arange(2, len(corners))
    last = np.zeros(len(corners) + 1, bool)
    last[ends] = True
    last[1:] |= corners == -1
    begins = np.maximum.accumulate(np.where(last[:-1], np.arange(len(corners)), 0))
    # Places in a strip count from the corner after its beginning, or after the -1 that ended the one before.
    place = third - begins[2:]
    a, b, c = corners[:-2], corners[1:-1], corners[2:]
    kept = (place >= 2) & (c != -1) & (a != b) & (b != c) & (a != c)
    odd = place % 2 == 1
    return np.stack([np.where(odd, b, a), np.where(odd, a, b), c], -1)[kept]
