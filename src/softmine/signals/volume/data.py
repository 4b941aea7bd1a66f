"""What a reader hands over of a volume, what counts as one, and the range and gaps of its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.memmap import MappedArray

_BITS = (8, 16, 32, 64)
DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("uint", "int") for bits in _BITS))
DTYPES += ("float16", "float32", "float64")
MAX_CHANNELS = 4
BLOCK_VALUES = 2**21
"""Values read at a time when a volume is streamed."""


@dataclass(frozen=True)
class VolumeData:
    """A volume as its file holds it.

    Attributes:
        array: the stored values; axes as in the file, channels last where the file says which axis they are.
        mapped: the file that ``array`` lies in, or None where it is in memory.
        nodata: the stored value that means "no data here", beside NaN.
        layers: the axis people look along, one slice after the other, where the file says so.
        voxel_size: length of a voxel along the spatial axes, in ``length_unit``, where the file says so.
        length_unit: such as ``mm``; empty where it is not known.
        orientation: where each spatial axis points in a body, such as ``("R", "A", "S")``, where the file says so.
        nifti: the header of a NIfTI file, which what is reconstructed gets again.
    """

    array: np.ndarray
    mapped: MappedArray | None = None
    nodata: float | None = None
    layers: int | None = None
    voxel_size: tuple[float, ...] | None = None
    length_unit: str = ""
    orientation: tuple[str, ...] | None = None
    nifti: Any = None


@dataclass(frozen=True)
class Survey:
    """What one pass over a volume tells: the range of its values and, where some are missing, which are there."""

    low: float
    high: float
    valid: np.ndarray | None


def check_layout(shape: tuple[int, ...], dtype: np.dtype, where: str) -> tuple[tuple[int, ...], int]:
    """Refuse what is not a volume; return the cells along each axis of its domain, and its channels.

    Raises:
        SoftmineError: the dtype or the number of axes is not one of a volume.
    """
    if dtype.hasobject:
        raise SoftmineError(
            f"{where}: it holds pickled objects, which are never loaded; save an array of numbers"
        )
    if dtype.name not in DTYPES:
        kind = {"c": "complex numbers", "V": "records (such as RGB triples)"}.get(dtype.kind, dtype.name)
        raise SoftmineError(
            f"{where}: its values are {kind}; save plain integers or floats, channels along a last axis"
        )
    if len(shape) not in (3, 4):
        raise SoftmineError(
            f"{where}: it has {len(shape)} {'axis' if len(shape) == 1 else 'axes'} (its shape is {shape}), but a "
            f"volume has 3, or 4 with channels or time last; save it as one"
        )
    if min(shape) < 1:
        raise SoftmineError(f"{where}: it has no voxels (its shape is {shape}); save it with some")
    if len(shape) == 4 and shape[3] <= MAX_CHANNELS:
        return shape[:3], shape[3]
    return shape, 1


def slowest_axis(array: np.ndarray) -> int:
    """The spatial axis of a volume (..., C) along which a block is one piece of memory, or nearly."""
    return int(np.argmax(np.abs(array.strides[:-1])))


def block_ranges(shape: tuple[int, ...], axis: int) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) along ``axis`` of at most ``BLOCK_VALUES`` values, or one layer; ``shape`` is (..., C)."""
    step = max(1, BLOCK_VALUES * shape[axis] // math.prod(shape))
    for start in range(0, shape[axis], step):
        yield start, min(start + step, shape[axis])


def along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    """The index that cuts [start, stop) out of ``axis``."""
    return (*[slice(None)] * axis, slice(start, stop))


def survey(
    array: np.ndarray, nodata: float | None, where: str, release: Callable[[], None] = lambda: None
) -> Survey:
    """Range and gaps of a volume (..., C), in one pass; a voxel counts as missing where any channel is.

    Raises:
        SoftmineError: a value is infinite, none is there, or they span more than a float64 holds.
    """
    low, high, valid, axis = np.inf, -np.inf, None, slowest_axis(array)
    for start, stop in block_ranges(array.shape, axis):
        cut = along(axis, start, stop)
        block = array[cut]
        missing = np.zeros(block.shape, bool)
        if block.dtype.kind == "f":
            missing |= np.isnan(block)
        if nodata is not None:
            missing |= block == nodata
        _refuse_infinite(block, missing, axis, start, where)
        if missing.any():
            valid = np.ones(array.shape[:-1], bool) if valid is None else valid
            valid[cut] = ~missing.any(-1)
            block = block[valid[cut]]
        if block.size:
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        release()
    if low > high:
        raise SoftmineError(
            f"{where}: it has no data, every voxel is NaN or its no-data value; check the file"
        )
    if not np.isfinite(high - low):
        raise SoftmineError(f"{where}: its values span more than a float64 holds; scale them down")
    if high - low < np.finfo(np.float64).tiny:  # constant: a span that can be divided by
        low, high = min(low, 0.0), max(high, 1.0)
    return Survey(low, high, valid)


def _refuse_infinite(block: np.ndarray, missing: np.ndarray, axis: int, start: int, where: str) -> None:
    if block.dtype.kind != "f":
        return
    infinite = np.isinf(block) & ~missing
    if infinite.any():
        first = [int(index) for index in np.argwhere(infinite)[0][:-1]]
        first[axis] += start
        raise SoftmineError(
            f"{where}: its voxel {tuple(first)} (counted from 0) is infinite; replace such values with numbers, or "
            "with NaN where there is no data"
        )
