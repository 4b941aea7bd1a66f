"""What counts as an image: its layout and its values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.grid import survey, widen

DTYPES = ("uint8", "uint16", "float16", "float32", "float64", "bool")
MAX_PIXELS = 2**28
"""Images that must be decoded into memory may claim at most this many pixels."""


def check_size(height: int, width: int, where: str) -> None:
    """Refuse an image that must be decoded and claims more than ``MAX_PIXELS`` pixels.

    Raises:
        SoftmineError: the image has no pixels, or too many.
    """
    if height < 1 or width < 1:
        raise SoftmineError(f"{where}: it has no pixels (its size is {width} x {height})")
    if height * width > MAX_PIXELS:
        raise SoftmineError(
            f"{where}: it claims {width} x {height} pixels, more than the {MAX_PIXELS:,} that are "
            "decoded into memory; save it as an uncompressed TIFF or NPY, which are memory-mapped"
        )


def check_layout(shape: tuple[int, ...], dtype: np.dtype, where: str) -> tuple[int, int, int]:
    """Refuse what is not an image; return its shape (H, W, C).

    Raises:
        SoftmineError: the dtype, the number of axes or of channels is not one of an image.
    """
    if dtype.name not in DTYPES:
        raise SoftmineError(
            f"{where}: its values are {dtype.name}; convert them to one of {', '.join(DTYPES)}"
        )
    if len(shape) not in (2, 3):
        raise SoftmineError(f"{where}: it has shape {shape}, but an image has shape (H, W) or (H, W, C)")
    if min(shape) < 1:
        raise SoftmineError(f"{where}: it has no pixels (its shape is {shape})")
    height, width, channels = (*shape, 1)[:3]
    if channels > 4:
        if height <= 4:
            raise SoftmineError(
                f"{where}: its shape {shape} looks channels-first; move channels last, (H, W, C)"
            )
        raise SoftmineError(
            f"{where}: it has {channels} channels, but an image has 1 to 4; keep four at most"
        )
    return height, width, channels


def value_range(
    view: np.ndarray, where: str, release: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Stored values that map to 0 and to 1, for an image (H, W, C); only floats are read, in blocks.

    Integers use their type's range. Floats use (0, 1) when all lie in it, else (min, max), which
    for a constant is widened to hold 0 and 1. ``release`` is called after each block.

    Raises:
        SoftmineError: a value is NaN or infinite, or the values span more than a float64 holds.
    """
    if view.dtype.kind != "f":
        return 0.0, 1.0 if view.dtype.kind == "b" else float(np.iinfo(view.dtype).max)
    found = survey(view, where, "pixel", ("row", "column"), release=release)
    return (0.0, 1.0) if found.low >= 0 and found.high <= 1 else widen(found.low, found.high)


def orient(view: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image (H, W, C) upright by its EXIF/TIFF orientation 1 to 8; a view, not a copy."""
    if orientation in (5, 6, 7, 8):
        view = view.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        view = view[::-1]
    if orientation in (2, 3, 6, 7):
        view = view[:, ::-1]
    return view
