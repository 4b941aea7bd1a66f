"""The compiled loop that computes pixels of a fractal."""

from __future__ import annotations

import math

from softmine.kernels.cpu.jit import compiled, take

SHADES = 2**12
PIXELS = 256
"""Pixels a part."""

_REAL, _IMAGINARY = -0.8, 0.156
_LIMIT = 400
_ESCAPE = 2.0**16
"""Squared distance from the origin; far beyond 4, so that the colors are smooth."""


@compiled
def escape(queue, flat, height, width, scale, shades):
    """Shades (M,), from 0 to SHADES, of the pixels ``flat`` (M,)."""
    count = len(flat)
    while True:
        start = take(queue) * PIXELS
        if start >= count:
            break
        for n in range(start, min(count, start + PIXELS)):
            y = (flat[n] // width + 0.5 - 0.5 * height) * scale
            x = (flat[n] % width + 0.5 - 0.5 * width) * scale
            xx, yy = x * x, y * y
            steps = 0
            while xx + yy < _ESCAPE and steps < _LIMIT:
                y = 2.0 * x * y + _IMAGINARY
                x = xx - yy + _REAL
                xx, yy = x * x, y * y
                steps += 1
            if steps == _LIMIT:
                shades[n] = SHADES
            else:
                smooth = steps + 1.0 - math.log2(0.5 * math.log2(max(xx + yy, 4.0)))
                shades[n] = min(SHADES - 1, int(math.sqrt(max(smooth, 0.0) / _LIMIT) * SHADES))
