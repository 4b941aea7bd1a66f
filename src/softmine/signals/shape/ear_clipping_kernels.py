"""The compiled loop of ``ear_clipping.py``."""

from __future__ import annotations

import numpy as np

from softmine.kernels.cpu.jit import compiled_plainly


@compiled_plainly
def _double(xy, a, b, c):
    """Twice the area of the triangle of three corners, positive where it is counter-clockwise."""
    return (xy[b, 0] - xy[a, 0]) * (xy[c, 1] - xy[a, 1]) - (xy[b, 1] - xy[a, 1]) * (xy[c, 0] - xy[a, 0])


@compiled_plainly
def _blocker(xy, a, b, c, dull, dulls, alive, ends):
    """Which of the corners that are not convex lies in the triangle of three corners or on its sides; -1 for none.

    Corners at the place of ``a`` (``ends`` 1), or of ``a`` and ``c`` (2), do not count: edges there and back have such.
    """
    for i in range(dulls):
        p = dull[i]
        if not alive[p] or p in (a, b, c):
            continue
        x, y = xy[p, 0], xy[p, 1]
        if ends > 0 and x == xy[a, 0] and y == xy[a, 1]:
            continue
        if ends > 1 and x == xy[c, 0] and y == xy[c, 1]:
            continue
        if _double(xy, a, b, p) >= 0.0 and _double(xy, b, c, p) >= 0.0 and _double(xy, c, a, p) >= 0.0:
            return i
    return -1


@compiled_plainly
def _clip_one(xy, epsilon, ends, before, after, alive, dull, triangles, budget):
    """Writes the triangles of one polygon; whether they all face as it does."""
    size = len(xy)
    dulls = 0
    for i in range(size):
        before[i], after[i], alive[i] = (i - 1) % size, (i + 1) % size, True
        if _double(xy, before[i], i, after[i]) <= epsilon:
            dull[dulls] = i
            dulls += 1
    left, tried, b = size, 0, 1
    while left > 3 and tried < left and budget[0] >= 0:
        a, c = before[b], after[b]
        ear = _double(xy, a, b, c) > epsilon
        budget[0] -= 1
        if ear:
            blocker = _blocker(xy, a, b, c, dull, dulls, alive, ends)
            budget[0] -= dulls if blocker < 0 else blocker
            ear = blocker < 0
        if not ear:
            b = c
            tried += 1
            continue
        place = size - left
        triangles[place, 0], triangles[place, 1], triangles[place, 2] = a, b, c
        after[a], before[c], alive[b] = c, a, False
        left -= 1
        tried = 0
        kept = 0
        for i in range(dulls):
            p = dull[i]
            if not alive[p] or (p in (a, c) and _double(xy, before[p], p, after[p]) > epsilon):
                continue
            dull[kept] = p
            kept += 1
        dulls = kept
        # Two in a row would make slivers.
        b = after[c]
    good = left == 3 and _double(xy, before[b], b, after[b]) > epsilon
    a = before[b]
    for place in range(size - left, size - 2):
        c = after[b]
        triangles[place, 0], triangles[place, 1], triangles[place, 2] = a, b, c
        b = c
    return good


@compiled_plainly
def clip_ears(polygons, epsilon, triangles, wrong, budget):
    """Triangles (P, N - 2, 3) of polygons (P, N, 2), and whether some do not face as their polygon does.

    ``budget`` (1,) is lowered by the corners that are looked at; where it falls below 0, what follows is not right.
    """
    size = polygons.shape[1]
    before, after = np.empty(size, np.int64), np.empty(size, np.int64)
    alive, dull = np.empty(size, np.bool_), np.empty(size, np.int64)
    for i in range(len(polygons)):
        done = False
        for ends in (1, 2, 0):
            if not done and budget[0] >= 0:
                done = _clip_one(polygons[i], epsilon, ends, before, after, alive, dull, triangles[i], budget)
        wrong[i] = not done
