"""What counts as an image: its layout and its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.grid import Number, Survey, survey, widen

_BITS = (8, 16, 32, 64)
DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("uint", "int") for bits in _BITS))
DTYPES += ("float16", "float32", "float64")
_DARK = 1 / 255
"""Floats in (0, 1) that are all below this would be black in an image of bytes."""
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


def survey_pixels(
    view: np.ndarray,
    where: str,
    nodata: Number | None = None,
    mask: np.ndarray | None = None,
    release: Callable[[], None] = lambda: None,
) -> Survey:
    """Stored values that map to 0 and to 1, for an image (H, W, C), and which pixels hold data.

    Bytes, and uint16 without a value that means "no data", map by their type's range, bools by theirs: unless pixels may
    be missing, none is read. Floats use (0, 1) when all lie in it. All others, as of measurements, use their own (min, max),
    which for a constant is widened to hold 0 and 1.

    Args:
        view: the stored values.
        where: how an error begins.
        nodata: the stored value that means "no data", beside NaN.
        mask: which pixels may hold data, (H, W); None is all.
        release: called after each block that was read.

    Raises:
        SoftmineError: a value is infinite, none holds data, or the values span more than a float64 holds.
    """
    kind, bits = view.dtype.kind, 8 * view.dtype.itemsize
    measured = kind in "if" or bits > 16 or (bits == 16 and nodata is not None)
    full = 1.0 if kind in "bf" else float(np.iinfo(view.dtype).max)
    if not measured and nodata is None and mask is None:
        return Survey(0.0, full)
    found = survey(
        view, where, "pixel", ("row", "column"), gaps=True, nodata=nodata, mask=mask, release=release
    )
    fits = kind == "f" and found.low >= 0 and found.high <= 1
    low, high = widen(found.low, found.high) if measured and not fits else (0.0, full)
    notes = found.notes
    if fits and found.high < _DARK:
        notes += (
            f"no value is above {found.high:.3g}, of a range of 0 to 1: scale them up unless they are to stay dark",
        )
    return replace(found, low=low, high=high, notes=notes)


def orient(view: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image (H, W, C) upright by its EXIF/TIFF orientation 1 to 8; a view, not a copy."""
    if orientation in (5, 6, 7, 8):
        view = view.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        view = view[::-1]
    if orientation in (2, 3, 6, 7):
        view = view[:, ::-1]
    return view


def turned(orientation: int) -> str:
    """The note on an image that was turned upright by its EXIF/TIFF orientation."""
    return f"turned upright, as its orientation {orientation} says"
