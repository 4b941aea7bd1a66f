"""What counts as a picture: its layout and its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from softmine.domain import SoftmineError

DTYPES = ("uint8", "uint16", "float16", "float32", "float64", "bool")
MAX_PIXELS = 2**28
"""Pictures that must be decoded into memory may claim at most this many pixels."""
BLOCK_VALUES = 2**21
"""Values read at a time when a picture is streamed: 8 MB as float32, which stays in the cache."""


def check_size(height: int, width: int, where: str) -> None:
    """Refuse a picture that must be decoded and claims more than ``MAX_PIXELS`` pixels.

    Raises:
        SoftmineError: the picture has no pixels, or too many.
    """
    if height < 1 or width < 1:
        raise SoftmineError(f"{where}: it has no pixels (its size is {width} x {height})")
    if height * width > MAX_PIXELS:
        raise SoftmineError(
            f"{where}: it claims {width} x {height} pixels, more than the {MAX_PIXELS:,} that are "
            "decoded into memory; save it as an uncompressed TIFF or NPY, which are memory-mapped"
        )


def check_layout(shape: tuple[int, ...], dtype: np.dtype, where: str) -> tuple[int, int, int]:
    """Refuse what is not a picture; return its shape (H, W, C).

    Raises:
        SoftmineError: the dtype, the number of axes or of channels is not one of a picture.
    """
    if dtype.name not in DTYPES:
        raise SoftmineError(
            f"{where}: its values are {dtype.name}; convert them to one of {', '.join(DTYPES)}"
        )
    if len(shape) not in (2, 3):
        raise SoftmineError(f"{where}: it has shape {shape}, but a picture has shape (H, W) or (H, W, C)")
    if min(shape) < 1:
        raise SoftmineError(f"{where}: it has no pixels (its shape is {shape})")
    height, width, channels = (*shape, 1)[:3]
    if channels > 4:
        if height <= 4:
            raise SoftmineError(
                f"{where}: its shape {shape} looks channels-first; move channels last, (H, W, C)"
            )
        raise SoftmineError(
            f"{where}: it has {channels} channels, but a picture has 1 to 4; keep four at most"
        )
    return height, width, channels


def blocks(view: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a picture (H, W, C) into blocks of rows, or of columns where those lie together.

    Yields (first row, first column, block) with at most ``BLOCK_VALUES`` values a block, if a
    single row or column is not longer.
    """
    axis = 0 if abs(view.strides[0]) >= abs(view.strides[1]) else 1
    step = max(1, BLOCK_VALUES * view.shape[axis] // view.size)
    for start in range(0, view.shape[axis], step):
        if axis == 0:
            yield start, 0, view[start : start + step]
        else:
            yield 0, start, view[:, start : start + step]


def value_range(
    view: np.ndarray, where: str, release: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Raw values that map to 0 and to 1, for a picture (H, W, C); floats are checked in blocks.

    Integers use their type's range. Floats use (0, 1) when all lie in it, else (min, max), which
    for a constant is widened to hold 0 and 1. ``release`` is called after each block.

    Raises:
        SoftmineError: a value is NaN or infinite, or the values span more than a float64 holds.
    """
    if view.dtype.kind == "b":
        return 0.0, 1.0
    if view.dtype.kind == "u":
        return 0.0, float(np.iinfo(view.dtype).max)
    low, high, bad, first = math.inf, -math.inf, 0, (view.shape[0], 0)
    for row, column, block in blocks(view):
        least, most = float(block.min()), float(block.max())
        if math.isfinite(least) and math.isfinite(most):
            low, high = min(low, least), max(high, most)
        else:
            rows, columns = np.nonzero(~np.isfinite(block).all(-1))
            bad += len(rows)
            first = min(first, (row + int(rows[0]), column + int(columns[0])))
        release()
    if bad:
        raise SoftmineError(
            f"{where}: {bad:,} of its pixels are NaN or infinite, the first at row {first[0]}, "
            f"column {first[1]} (counted from 0); replace them with numbers"
        )
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if not math.isfinite(high - low):
        raise SoftmineError(f"{where}: its values span more than a float64 holds; scale them down")
    if high - low < np.finfo(np.float64).tiny:  # constant: a span that can be divided by
        return min(low, 0.0), max(high, 1.0)
    return low, high


def orient(view: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture (H, W, C) upright by its EXIF/TIFF orientation 1 to 8; a view, not a copy."""
    if orientation in (5, 6, 7, 8):
        view = view.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        view = view[::-1]
    if orientation in (2, 3, 6, 7):
        view = view[:, ::-1]
    return view
