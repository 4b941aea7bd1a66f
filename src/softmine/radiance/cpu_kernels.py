"""The CPU loops of a radiance field, compiled by numba: marching, what is visible, compositing and its gradient.

As in ``kernels/cpu/encode_loops.py`` threads share the rays through ``queue[0]``. A ray is worked on by one
thread alone, from front to back, so that results are the same bits for any number of threads.

Rays are in the unit cube: origins and directions (N, 3). Points are packed: those of ray ``n`` are ``starts[n]`` up to
``starts[n + 1]``.
"""

from __future__ import annotations

import math

from softmine.kernels.cpu.jit import compiled, take

RAYS = 32
"""Rays a part."""


@compiled
def _entry(origin, direction, near):
    """Distances at which a ray enters and leaves the unit cube; the second is not above the first if it misses."""
    enter, leave = near, math.inf
    for axis in range(3):
        o, d = float(origin[axis]), float(direction[axis])
        if d == 0.0:
            if o < 0.0 or o > 1.0:
                leave = -math.inf
        else:
            one, other = (0.0 - o) / d, (1.0 - o) / d
            enter = max(enter, min(one, other))
            leave = min(leave, max(one, other))
    return enter, leave


@compiled
def _cell_of(position, side):
    """Index along an axis of ``side`` cells."""
    return min(max(int(position * side), 0), side - 1)


@compiled
def march(queue, origins, directions, occupied, step, near, jitter, starts, fill, distances, points, rays):
    """Counts (``fill`` is False) or writes the points of rays that lie in occupied cells.

    A count goes to ``starts[n + 1]``; the caller adds them up between the two calls.
    """
    side = occupied.shape[0]
    cell, steps = 1.0 / side, 1.0 / step
    total = len(origins)
    while True:
        first = take(queue) * RAYS
        if first >= total:
            break
        for n in range(first, min(total, first + RAYS)):
            # Known from counting: most rays have no points, and the others' end before they leave the cube.
            end = starts[n + 1] if fill else math.inf
            at = starts[n] if fill else 0
            if at == end:
                continue
            enter, leave = _entry(origins[n], directions[n], near)
            if leave > enter:
                ox, oy, oz = float(origins[n, 0]), float(origins[n, 1]), float(origins[n, 2])
                dx, dy, dz = float(directions[n, 0]), float(directions[n, 1]), float(directions[n, 2])
                # A division costs as much as all else in a cell; along an axis that does not change, none is reached.
                ix = 1.0 / dx if dx != 0.0 else math.inf
                iy = 1.0 / dy if dy != 0.0 else math.inf
                iz = 1.0 / dz if dz != 0.0 else math.inf
                shift = float(jitter[n])
                last = math.ceil((leave - enter) / step)
                k = 0
                while k < last and at < end:
                    t = enter + (k + shift) * step
                    if t >= leave:
                        break
                    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
                    i, j, m = _cell_of(x, side), _cell_of(y, side), _cell_of(z, side)
                    if occupied[i, j, m]:
                        if fill:
                            distances[at] = t
                            points[at, 0] = x
                            points[at, 1] = y
                            points[at, 2] = z
                            rays[at] = n
                        at += 1
                        k += 1
                    else:
                        # To where the ray leaves the cell, or just before: rounding must not skip a point.
                        way = math.inf
                        if dx != 0.0:
                            way = min(way, ((i + (dx > 0.0)) * cell - ox) * ix)
                        if dy != 0.0:
                            way = min(way, ((j + (dy > 0.0)) * cell - oy) * iy)
                        if dz != 0.0:
                            way = min(way, ((m + (dz > 0.0)) * cell - oz) * iz)
                        k = max(k + 1, math.floor((way - enter) * steps - shift - 1e-6))
            if not fill:
                starts[n + 1] = at


@compiled
def visible(queue, density, widths, starts, threshold, counts):
    """How many of each ray's points come before the transmittance has fallen below ``threshold``."""
    total = len(starts) - 1
    bound = -math.log(threshold)
    while True:
        first = take(queue) * RAYS
        if first >= total:
            break
        for n in range(first, min(total, first + RAYS)):
            depth = 0.0
            i = starts[n]
            while i < starts[n + 1] and depth <= bound:
                depth += density[i] * widths[i]
                i += 1
            counts[n] = i - starts[n]


@compiled
def composite(queue, density, colors, widths, distances, starts, weights, out):
    """Weights (P,) of the points; colors, opacity and depth (N, C + 2) of the rays."""
    total = len(starts) - 1
    channels = colors.shape[1]
    while True:
        first = take(queue) * RAYS
        if first >= total:
            break
        for n in range(first, min(total, first + RAYS)):
            transmittance = 1.0
            row = out[n]
            row[:] = 0
            for i in range(starts[n], starts[n + 1]):
                alpha = -math.expm1(-float(density[i]) * float(widths[i]))
                weight = transmittance * alpha
                transmittance *= 1.0 - alpha
                weights[i] = weight
                for c in range(channels):
                    row[c] += weight * colors[i, c]
                row[channels] += weight
                row[channels + 1] += weight * distances[i]


@compiled
def composite_backward(
    queue,
    density,
    colors,
    widths,
    distances,
    starts,
    weights,
    of_weights,
    of_out,
    of_density,
    of_colors,
    of_widths,
    of_distances,
):
    """Gradients of density, colors, widths and distances from those of the weights and the rays' values.

    With G the gradient of the weights through all that is made of them, and a = density * width:
    d / d a_i = G_i T_(i+1) - sum over j > i of G_j w_j.
    """
    total = len(starts) - 1
    channels = colors.shape[1]
    while True:
        first = take(queue) * RAYS
        if first >= total:
            break
        for n in range(first, min(total, first + RAYS)):
            row = of_out[n]
            behind, transmittance = 0.0, 1.0
            for i in range(starts[n], starts[n + 1]):
                gradient = float(of_weights[i]) + row[channels] + row[channels + 1] * distances[i]
                for c in range(channels):
                    gradient += row[c] * colors[i, c]
                    of_colors[i, c] = row[c] * weights[i]
                of_distances[i] = row[channels + 1] * weights[i]
                transmittance *= math.exp(-float(density[i]) * float(widths[i]))
                # For now what stands before the sum, which is known only from behind.
                of_density[i] = gradient * transmittance
                of_widths[i] = gradient * weights[i]
            for k in range(starts[n + 1] - starts[n]):
                i = starts[n + 1] - 1 - k
                own = of_widths[i]
                of_optical = of_density[i] - behind
                behind += own
                of_density[i] = of_optical * widths[i]
                of_widths[i] = of_optical * density[i]
