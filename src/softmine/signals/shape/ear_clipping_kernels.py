"""The compiled loop of ``ear_clipping.py``."""

from __future__ import annotations

import numpy as np

from softmine.kernels.cpu.jit import compiled_plainly


@compiled_plainly
def _double(xy, a, b, c):
    """Twice the area of the triangle of three corners, positive where it is counter-clockwise."""
    return (xy[b, 0] - xy[a, 0]) * (xy[c, 1] - xy[a, 1]) - (xy[b, 1] - xy[a, 1]) * (xy[c, 0] - xy[a, 0])


@compiled_plainly
def _same(xy, a, b):
    """Whether two corners are at one place."""
    return xy[a, 0] == xy[b, 0] and xy[a, 1] == xy[b, 1]


@compiled_plainly
def _blocker(xy, a, b, c, dull, dulls, alive, ends, slack):
    """Which of the corners that are not convex lies in the triangle of three corners or on its sides; -1 for none.

    Corners at the place of ``a`` (``ends`` 1), or of ``a`` and ``c`` (2), do not count: edges there and back have such. Up to
    ``slack``, twice the area with a side, a corner outside counts as one on it.
    """
    for i in range(dulls):
        p = dull[i]
        if not alive[p] or p in (a, b, c):
            continue
        if (ends > 0 and _same(xy, p, a)) or (ends > 1 and _same(xy, p, c)):
            continue
        if (
            _double(xy, a, b, p) >= -slack
            and _double(xy, b, c, p) >= -slack
            and _double(xy, c, a, p) >= -slack
        ):
            return i
    return -1


@compiled_plainly
def _find_dull(xy, epsilon, before, after, alive, dull):
    """Writes the corners that are not convex; how many they are."""
    dulls = 0
    for i in range(len(xy)):
        if alive[i] and _double(xy, before[i], i, after[i]) <= epsilon:
            dull[dulls] = i
            dulls += 1
    return dulls


@compiled_plainly
def _without_area(xy, epsilon, before, after, b, left):
    """A corner whose triangle has no area, best one whose neighbors are at one place; -1 for none."""
    found = -1
    for _ in range(left):
        if _same(xy, before[b], after[b]):
            return b
        if found < 0 and abs(_double(xy, before[b], b, after[b])) <= epsilon:
            found = b
        b = after[b]
    return found


@compiled_plainly
def _clip_one(xy, epsilon, slack, ends, before, after, alive, dull, triangles, budget):
    """Writes the triangles of one polygon, -1 for those without area; whether they all face as it does."""
    size = len(xy)
    for i in range(size):
        before[i], after[i], alive[i] = (i - 1) % size, (i + 1) % size, True
    dulls = _find_dull(xy, epsilon, before, after, alive, dull)
    left, tried, b = size, 0, 1
    while left > 3 and budget[0] >= 0:
        a, c, flat = before[b], after[b], False
        ear = _double(xy, a, b, c) > epsilon
        budget[0] -= 1
        if ear:
            blocker = _blocker(xy, a, b, c, dull, dulls, alive, ends, slack)
            budget[0] -= dulls if blocker < 0 else blocker
            ear = blocker < 0
        if not ear:
            tried += 1
            if tried < left:
                b = c
                continue
            b = _without_area(xy, epsilon, before, after, b, left)
            budget[0] -= left
            if b < 0:
                b = c
                break
            a, c, flat = before[b], after[b], True
        place = size - left
        triangles[place, 0], triangles[place, 1], triangles[place, 2] = (-1, -1, -1) if flat else (a, b, c)
        after[a], before[c], alive[b] = c, a, False
        left -= 1
        tried = 0
        if flat:
            # What was convex may not be any more.
            dulls = _find_dull(xy, epsilon, before, after, alive, dull)
            budget[0] -= size
            b = c
            continue
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
    a, last = before[b], _double(xy, before[b], b, after[b])
    flat = left == 3 and abs(last) <= epsilon
    for place in range(size - left, size - 2):
        c = after[b]
        triangles[place, 0], triangles[place, 1], triangles[place, 2] = (-1, -1, -1) if flat else (a, b, c)
        b = c
    return flat or (left == 3 and last > epsilon)


@compiled_plainly
def clip_ears(polygons, epsilon, triangles, wrong, budget):
    """Triangles (P, N - 2, 3) of polygons (P, N, 2), -1 for those without area, and whether some do not face as their polygon does.

    ``epsilon`` (P,) is twice the area up to which a triangle of each has none. ``budget`` (1,) is lowered by the corners that
    are looked at; where it falls below 0, what follows is not right.
    """
    size = polygons.shape[1]
    before, after = np.empty(size, np.int64), np.empty(size, np.int64)
    alive, dull = np.empty(size, np.bool_), np.empty(size, np.int64)
    for i in range(len(polygons)):
        done = False
        for attempt in range(6):
            # What is on a side up to rounding is on it; if that leads nowhere, what is on it exactly.
            ends, slack = (1, 2, 0)[attempt % 3], epsilon[i] if attempt < 3 else 0.0
            if not done and budget[0] >= 0:
                done = _clip_one(
                    polygons[i], epsilon[i], slack, ends, before, after, alive, dull, triangles[i], budget
                )
        wrong[i] = not done
