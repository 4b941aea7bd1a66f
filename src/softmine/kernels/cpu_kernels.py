"""The CPU loops of hash encoding, compiled by numba: encode and its two gradients.

Each loop runs in every thread of a team (``team.py``) on the same arguments; ``queue[0]`` counts the parts
that are taken. The part that a thread takes decides only when it is worked on, never the order of additions
inside it, so results are the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np

from softmine.kernels.compiling import compiled, compiled_sum, take

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
def locate(coords, block, resolution, table_size, dense, dims, cells, fractions, rows, weights):
    """Rows within the level and weights, (2^D, count), of the corners around a block (start, count) of the points."""
    start, count = block
    _cells(coords, start, count, resolution, cells, fractions)
    _corners(count, resolution, table_size, dense, dims, cells, fractions, rows, weights)


@compiled
def _steepness(count, resolution, dims, fractions, weights):
    """How much each corner's value counts, (D, 2^D, count), in the slopes along the axes."""
    for axis in range(len(dims)):
        for corner in range(1 << len(dims)):
            weight_of = weights[axis, corner]
            scale = weights.dtype.type(resolution[axis])
            scale = scale if (corner >> axis) & 1 else -scale
            for i in range(count):
                weight_of[i] = scale
            for other in range(len(dims)):
                if other != axis:
                    fraction_of, upper = fractions[other], (corner >> other) & 1
                    start, slope = weights.dtype.type(1 - upper), weights.dtype.type(2 * upper - 1)
                    for i in range(count):
                        weight_of[i] *= start + slope * fraction_of[i]


@compiled
def _mix(count, dims, widths, weights, values, sums):
    """Sums (F, count) of values (2^D, F, count) weighted by (2^D, count)."""
    for f in range(len(widths)):
        sum_of = sums[f]
        for corner in range(1 << len(dims)):
            weight_of, value_of = weights[corner], values[corner, f]
            if corner == 0:
                for i in range(count):
                    sum_of[i] = weight_of[i] * value_of[i]
            else:
                for i in range(count):
                    sum_of[i] += weight_of[i] * value_of[i]


@compiled
def encode(queue, coords, table, resolutions, offsets, table_size, dense_levels, dims, widths, out, slopes):
    """Features (N, L * F) at coordinates (D, N); ``dims`` and ``widths`` are tuples of D and F items.

    Their slopes along the axes go to ``slopes`` (N, D, L * F), or (N, 0, L * F) for none: the values are at hand here,
    and a pass of the backward would have to fetch them again.
    """
    corners = 1 << len(dims)
    width = len(widths)
    sloping = slopes.shape[1] > 0
    cells = np.empty((len(dims), POINTS), np.int32)
    fractions = np.empty((len(dims), POINTS), coords.dtype)
    rows = np.empty((corners, POINTS), np.uint32)
    weights = np.empty((corners, POINTS), coords.dtype)
    steepness = np.empty((len(dims), corners, POINTS), coords.dtype)
    values = np.empty((corners, width, POINTS), coords.dtype)
    sums = np.empty((1 + len(dims), width, POINTS), coords.dtype)
    points = coords.shape[1]
    while True:
        start = take(queue) * POINTS
        if start >= points:
            break
        count = min(POINTS, points - start)
        for level in range(len(offsets)):
            block, dense = (start, count), level < dense_levels
            locate(
                coords, block, resolutions[level], table_size, dense, dims, cells, fractions, rows, weights
            )
            offset = np.uintp(offsets[level])
            for corner in range(corners):
                row_of = rows[corner]
                for i in range(count):
                    for f in range(width):
                        values[corner, f, i] = table[offset + np.uintp(row_of[i]), np.uintp(f)]
            _mix(count, dims, widths, weights, values, sums[0])
            for i in range(count):
                for f in range(width):
                    out[start + i, level * width + f] = sums[0, f, i]
            if sloping:
                _steepness(count, resolutions[level], dims, fractions, steepness)
                for axis in range(len(dims)):
                    _mix(count, dims, widths, steepness[axis], values, sums[1 + axis])
                for i in range(count):
                    for axis in range(len(dims)):
                        for f in range(width):
                            slopes[start + i, axis, level * width + f] = sums[1 + axis, f, i]
        if sloping:
            for axis in range(len(dims)):
                for i in range(start, start + count):
                    if not (coords[axis, i] >= 0 and coords[axis, i] <= 1):
                        slopes[i, axis] = 0


@compiled_sum
def along_slopes(queue, grad, slopes, out):
    """Gradient (N, D) of the coordinates, from that of the features (N, L * F) and their slopes (N, D, L * F)."""
    points, axes, features = slopes.shape
    while True:
        start = take(queue) * POINTS
        if start >= points:
            break
        for i in range(start, min(points, start + POINTS)):
            grad_of = grad[i]
            for axis in range(axes):
                slope_of = slopes[i, axis]
                total = out.dtype.type(0)
                for k in range(features):
                    total += grad_of[k] * slope_of[k]
                out[i, axis] = total


@compiled
def gradient_of_table(queue, grad, coords, resolutions, offsets, table_size, dense_levels, dims, widths, out):
    """Adds to the gradient (R, F) of the table; a part is a level, so no two threads share a row."""
    corners = 1 << len(dims)
    cells = np.empty((len(dims), POINTS), np.int32)
    fractions = np.empty((len(dims), POINTS), coords.dtype)
    rows = np.empty((corners, POINTS), np.uint32)
    weights = np.empty((corners, POINTS), coords.dtype)
    points, levels = coords.shape[1], len(offsets)
    while True:
        level = levels - 1 - take(queue)
        if level < 0:
            break
        offset = np.uintp(offsets[level])
        for start in range(0, points, POINTS):
            count = min(POINTS, points - start)
            block, dense = (start, count), level < dense_levels
            locate(
                coords, block, resolutions[level], table_size, dense, dims, cells, fractions, rows, weights
            )
            for i in range(count):
                for corner in range(corners):
                    row = offset + np.uintp(rows[corner, i])
                    for f in range(len(widths)):
                        out[row, np.uintp(f)] += weights[corner, i] * grad[start + i, level * len(widths) + f]
