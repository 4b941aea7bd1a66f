"""The CPU loops of hash encoding, compiled by numba: encode and its two gradients.

Which thread takes a part decides only when it is worked on, never the order of additions inside it, so results are
the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np

from softmine.kernels.cpu.jit import compiled, take

POINTS = 128
"""Points a block: its rows and weights stay in the first-level cache."""


@compiled
def _prime(axis):
    """The hash's odd factor of an axis, as in the twin."""
    if axis == 0:
        return 1
    if axis == 1:
        return 2654435761
    return 805459861 if axis == 2 else 3674653429


@compiled
def _cells(coords, start, count, resolution, cells, fractions):
    """Cell and position in it, (D, count), of the points (D, N) from ``start`` in a grid of ``resolution`` cells (D,)."""
    one = coords.dtype.type(1)
    for axis in range(len(coords)):
        scale = coords.dtype.type(resolution[axis])
        last = np.int32(resolution[axis] - 1)
        x_of = coords[axis, start : start + count]
        cell_of, fraction_of = cells[axis], fractions[axis]
        for i in range(count):
            x = x_of[i]
            inside = x if x > 0 else coords.dtype.type(0)
            inside = inside if inside < one else one
            position = inside * scale
            cell = np.int32(position)
            cell = cell if cell < last else last
            cell_of[i] = cell
            # NaN sits in cell 0, to stay within the table, but makes the weights NaN.
            fraction_of[i] = position - coords.dtype.type(cell) if x == x else x


@compiled
def _corners(count, resolution, table_size, dense, dims, cells, fractions, rows, weights):
    """Row within the level, and weight, (2^D, count), of the corners of each point's cell."""
    mask = np.uint32(table_size - 1)
    for corner in range(1 << len(dims)):
        stride = np.uint32(1)
        row_of, weight_of = rows[corner], weights[corner]
        for axis in range(len(dims)):
            cell_of, fraction_of = cells[axis], fractions[axis]
            upper = (corner >> axis) & 1
            factor = stride if dense else np.uint32(_prime(axis))
            stride = np.uint32(stride * np.uint32(resolution[axis] + 1))
            # The weight is fraction for the upper corner, 1 - fraction for the lower, without a branch.
            start, slope = weights.dtype.type(1 - upper), weights.dtype.type(2 * upper - 1)
            if axis == 0:
                for i in range(count):
                    weight_of[i] = start + slope * fraction_of[i]
                    row_of[i] = np.uint32(np.uint32(cell_of[i] + upper) * factor)
            elif dense:
                for i in range(count):
                    weight_of[i] *= start + slope * fraction_of[i]
                    row_of[i] += np.uint32(np.uint32(cell_of[i] + upper) * factor)
            else:
                for i in range(count):
                    weight_of[i] *= start + slope * fraction_of[i]
                    row_of[i] ^= np.uint32(np.uint32(cell_of[i] + upper) * factor)
        if not dense:
            for i in range(count):
                row_of[i] &= mask


@compiled
def room_for(coords, dims):
    """Where ``locate`` leaves what it finds for a block of points."""
    corners = 1 << len(dims)
    return (
        np.empty((len(dims), POINTS), np.int32),
        np.empty((len(dims), POINTS), coords.dtype),
        np.empty((corners, POINTS), np.uint32),
        np.empty((corners, POINTS), coords.dtype),
    )


@compiled
def locate(coords, start, count, grid, level, room):
    """Rows within the level and weights, (2^D, count), of the corners around ``count`` points from ``start``."""
    resolutions, _, table_size, dense_levels, dims, _ = grid
    cells, fractions, rows, weights = room
    resolution, dense = resolutions[level], level < dense_levels
    _cells(coords, start, count, resolution, cells, fractions)
    _corners(count, resolution, table_size, dense, dims, cells, fractions, rows, weights)


@compiled
def _slope(count, scale, axis, dims, fractions, values, left, out):
    """Slopes (count,) along an axis of values (2^D, count) at the corners of cells, ``scale`` of them to the unit.

    One axis after the other is done away with: by the difference along ``axis``, by interpolation along the others. What is
    left of the corners is kept in ``left`` (2^(D - 1), count).
    """
    for step in range(len(dims)):
        other = len(dims) - 1 - step
        fraction_of = fractions[other]
        for corner in range(1 << other):
            lower_of = values[corner] if step == 0 else left[corner]
            upper_of = values[corner + (1 << other)] if step == 0 else left[corner + (1 << other)]
            left_of = out if other == 0 else left[corner]
            if other == axis:
                for i in range(count):
                    left_of[i] = (upper_of[i] - lower_of[i]) * scale
            else:
                for i in range(count):
                    left_of[i] = lower_of[i] + fraction_of[i] * (upper_of[i] - lower_of[i])


@compiled
def _mix(count, dims, widths, weights, values, sums):
    """Sums (F, count) of values (F, 2^D, count) weighted by (2^D, count)."""
    for f in range(len(widths)):
        sum_of = sums[f]
        for corner in range(1 << len(dims)):
            weight_of, value_of = weights[corner], values[f, corner]
            if corner == 0:
                for i in range(count):
                    sum_of[i] = weight_of[i] * value_of[i]
            else:
                for i in range(count):
                    sum_of[i] += weight_of[i] * value_of[i]


@compiled
def encode(queue, coords, table, grid, out, slopes):
    """Features (N, L * F) at coordinates (D, N); of ``grid``, ``dims`` and ``widths`` are tuples of D and F items.

    Their slopes along the axes go to ``slopes`` (blocks, D, L * F, POINTS), or (0, ...) for none: the values are at hand here,
    and a pass of the backward would have to fetch them again.
    """
    resolutions, offsets, _, _, dims, widths = grid
    corners = 1 << len(dims)
    width = len(widths)
    sloping = len(slopes) > 0
    room = room_for(coords, dims)
    _, fractions, rows, weights = room
    left = np.empty((corners // 2, POINTS), coords.dtype)
    values = np.empty((width, corners, POINTS), coords.dtype)
    sums = np.empty((width, POINTS), coords.dtype)
    points = coords.shape[1]
    while True:
        start = take(queue) * POINTS
        if start >= points:
            break
        count = min(POINTS, points - start)
        for level in range(len(offsets)):
            locate(coords, start, count, grid, level, room)
            offset = np.uintp(offsets[level])
            for corner in range(corners):
                row_of = rows[corner]
                for i in range(count):
                    for f in range(width):
                        values[f, corner, i] = table[offset + np.uintp(row_of[i]), np.uintp(f)]
            _mix(count, dims, widths, weights, values, sums)
            for i in range(count):
                for f in range(width):
                    out[start + i, level * width + f] = sums[f, i]
            if sloping:
                for axis in range(len(dims)):
                    scale = coords.dtype.type(resolutions[level][axis])
                    for f in range(width):
                        slope_of = slopes[start // POINTS, axis, level * width + f]
                        _slope(count, scale, axis, dims, fractions, values[f], left, slope_of)
        if sloping:
            for axis in range(len(dims)):
                for i in range(start, start + count):
                    if not (coords[axis, i] >= 0 and coords[axis, i] <= 1):
                        slopes[i // POINTS, axis, :, i % POINTS] = 0


@compiled
def along_slopes(queue, grad, slopes, out):
    """Gradient (N, D) of the coordinates, from that of the features (N, K) and their slopes (blocks, D, K, POINTS)."""
    _, axes, features, _ = slopes.shape
    turned = np.empty((features, POINTS), out.dtype)
    sums = np.empty((axes, POINTS), out.dtype)
    while True:
        start = take(queue) * POINTS
        if start >= len(grad):
            break
        count = min(POINTS, len(grad) - start)
        for i in range(count):
            grad_of = grad[start + i]
            # Unsigned, for an index that could be negative costs a test.
            for k in range(features):
                turned[np.uintp(k), np.uintp(i)] = grad_of[np.uintp(k)]
        sums[:] = 0
        for axis in range(axes):
            sum_of = sums[axis]
            for k in range(features):
                grad_of, slope_of = turned[k], slopes[start // POINTS, axis, k]
                for i in range(count):
                    sum_of[i] += grad_of[i] * slope_of[i]
        for i in range(count):
            for axis in range(axes):
                out[start + i, axis] = sums[axis, i]


@compiled
def gradient_of_table(queue, grad, coords, grid, out):
    """Adds to the gradient (R, F) of the table; a part is a level, so no two threads share a row."""
    _, offsets, _, _, dims, widths = grid
    corners = 1 << len(dims)
    room = room_for(coords, dims)
    _, _, rows, weights = room
    points, levels = coords.shape[1], len(offsets)
    while True:
        level = levels - 1 - take(queue)
        if level < 0:
            break
        offset = np.uintp(offsets[level])
        for start in range(0, points, POINTS):
            count = min(POINTS, points - start)
            locate(coords, start, count, grid, level, room)
            for i in range(count):
                for corner in range(corners):
                    row = offset + np.uintp(rows[corner, i])
                    for f in range(len(widths)):
                        out[row, np.uintp(f)] += weights[corner, i] * grad[start + i, level * len(widths) + f]
