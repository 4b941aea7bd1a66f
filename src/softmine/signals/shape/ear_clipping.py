"""Cuts polygons of the plane into triangles, by clipping ears, in a compiled loop."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

EPSILON = 2e-12
"""Twice the area, in squared sizes of a polygon, up to which a triangle has none."""
MOST_TESTS = 4 * 10**8
"""Corners that may be looked at for one mesh, which takes some seconds."""


def clip(
    polygons: Float[np.ndarray, "p n 2"], epsilon: Float[np.ndarray, " p"], budget: Int[np.ndarray, "1"]
) -> tuple[Int[np.ndarray, "p t 3"], Bool[np.ndarray, " p"]]:
    """The triangles of polygons of about size 1, counter-clockwise, and which polygons cross themselves.

    A corner is an ear if the triangle with its two neighbors faces as the polygon does and holds no other corner; it is
    cut off, until one triangle is left (Meisters 1975). If all triangles face as the polygon does, they fill it exactly:
    together they wind around each point as often as it does. Holes that are joined to the outline by an edge there and
    back are right, too, and so are polygons that touch themselves: where there is no ear, a corner is cut off whose triangle has no
    area, such as the tip of what is left of an edge there and back. Where there is none of these the polygon crosses itself, and
    what is left of it becomes a fan.

    Args:
        polygons: (P, N, 2).
        epsilon: twice the area up to which a triangle of a polygon has none, (P,).
        budget: how many corners may be looked at, which is lowered.

    Returns:
        Corners of N - 2 triangles each, (P, N - 2, 3), -1 for those without area, and whether some triangle does not face as its
        polygon does, (P,).

    Raises:
        TooIntricate: the budget does not suffice.
    """
    # Compiled loops are imported when the first polygon needs them, which few meshes have.
    from softmine.signals.shape.ear_clipping_kernels import clip_ears

    count, size, _ = polygons.shape
    triangles = np.empty((count, size - 2, 3), np.int64)
    wrong = np.zeros(count, np.bool_)
    clip_ears(np.ascontiguousarray(polygons), epsilon, triangles, wrong, budget)
    if budget[0] < 0:
        raise TooIntricate
    return triangles, wrong


class TooIntricate(Exception):
    """Polygons have so many corners that cutting them would take too long."""
