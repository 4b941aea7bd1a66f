"""The compiled loop of the bilinear look-up: values of cells in memory, and their slopes, in one pass.

In steps of torch a small batch takes twenty calls, each of which costs more than its work.
"""

from __future__ import annotations

import numpy as np

from softmine.kernels.cpu.jit import compiled, compiled_plainly, compiled_sum, take

POINTS = 4096
"""Points a part: waking a second thread for fewer costs more than it saves."""


@compiled_plainly
def _between(x, size, half, zero):
    """The cells before and after a unit coordinate, how far between their centers it lies, and the slope of that.

    Every operation is rounded, as torch's are: of a coordinate at a center the last digit decides between which cells it
    lies.
    """
    free = x * size - half
    last = size - (half + half)
    position = free if free > zero else zero
    position = position if position < last else last
    first = np.int64(position)
    after = min(first + 1, np.int64(last))
    # Beyond the outermost centers the image is constant. NaN lies in the first cell, for some place must be read.
    slope = size if free == position else zero
    return first, after, (position - first if x == x else x), slope


@compiled
def look_up(queue, coords, cells, size, channels, zero, span, values, slopes):
    """``(cell - zero) / span`` (N, C) at unit coordinates (2, N) from flat cells (H * W, C); ``size`` is (H, W).

    ``channels`` is a tuple of C items. The values' slopes along both axes go to ``slopes`` (N, 2, C), or (N, 0, C) for none.
    """
    kind = values.dtype.type
    height, width = kind(size[0]), kind(size[1])
    half, nothing, unit = kind(0.5), kind(0), kind(1) / kind(span)
    points, sloping = len(values), slopes.shape[1] > 0
    while True:
        start = take(queue) * POINTS
        if start >= points:
            break
        for i in range(start, min(points, start + POINTS)):
            upper, lower, down, steep = _between(coords[0, i], height, half, nothing)
            left, right, across, wide = _between(coords[1, i], width, half, nothing)
            steep, wide = steep * unit, wide * unit
            upper, lower = upper * size[1], lower * size[1]
            # Unsigned, for an index that could be negative costs a test.
            before, after = np.uintp(upper + left), np.uintp(upper + right)
            under, beyond = np.uintp(lower + left), np.uintp(lower + right)
            n = np.uintp(i)
            for channel in range(len(channels)):
                c = np.uintp(channel)
                first, third = kind(cells[before, c]), kind(cells[under, c])
                rise, run = kind(cells[after, c]) - first, kind(cells[beyond, c]) - third
                top = first + rise * across
                drop = third + run * across - top
                values[n, c] = (top + drop * down - kind(zero)) / kind(span)
                if sloping:
                    slopes[n, 0, c] = drop * steep
                    slopes[n, 1, c] = (rise + (run - rise) * down) * wide


@compiled_sum
def along_slopes(queue, gradient, slopes, out):
    """Gradient (N, 2) of the coordinates, from that of the values (N, C) and their slopes (N, 2, C)."""
    points, axes, channels = slopes.shape
    while True:
        start = take(queue) * POINTS
        if start >= points:
            break
        for i in range(start, min(points, start + POINTS)):
            gradient_of = gradient[i]
            for axis in range(axes):
                slope_of = slopes[i, axis]
                total = out.dtype.type(0)
                for channel in range(channels):
                    total += gradient_of[channel] * slope_of[channel]
                out[i, axis] = total
