"""Numbers as colors: errors, densities of samples and plain values as 8-bit images."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from jaxtyping import Float, UInt8

COLOR_MAPS = {"error": "magma", "samples": "RdBu_r"}
"""What is drawn in which of matplotlib's color maps."""
DENSITY_RANGE = 8.0
"""Times the mean density that gets the last color; the first is for one over that."""

Values = npt.NDArray[Any]
Map = Float[np.ndarray, "h w"]
Bytes = UInt8[np.ndarray, "..."]
Rgb = UInt8[np.ndarray, "h w 3"]


def to_bytes(values: Values) -> Bytes:
    """Values in [0, 1] as uint8 of the same shape, rounded; what lies outside is clipped, NaN is 0."""
    return (np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)


def error_colors(error: Map, scale: float) -> Rgb:
    """Errors (h, w) from black, none, to the brightest color at ``scale``."""
    return matplotlib.colormaps[COLOR_MAPS["error"]](np.clip(error / scale, 0, 1), bytes=True)[..., :3]


def density_colors(density: Map) -> Rgb:
    """Samples a cell over their mean, (h, w), on a logarithmic scale: an eighth is blue, one white, eight times red."""
    shade = np.log2(np.clip(density, 1 / DENSITY_RANGE, DENSITY_RANGE)) / np.log2(DENSITY_RANGE)
    return matplotlib.colormaps[COLOR_MAPS["samples"]](0.5 + 0.5 * shade, bytes=True)[..., :3]
