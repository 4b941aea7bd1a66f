"""What a reader hands over of a volume, and what counts as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.grid import Number
from softmine.signals.memmap import MappedArray

_BITS = (8, 16, 32, 64)
DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("uint", "int") for bits in _BITS))
DTYPES += ("float16", "float32", "float64")
MAX_CHANNELS = 4


@dataclass(frozen=True)
class VolumeData:
    """A volume as its file holds it.

    Attributes:
        array: the stored values; axes as in the file, channels last where the file says which axis they are.
        mapped: the file that ``array`` lies in, or None where it is in memory.
        nodata: the stored value that means "no data here", beside NaN.
        mask: which of the values are data, shape of ``array``; None is all but those.
        notes: what was chosen, converted or left out, one sentence each.
        layers: the axis people look along, one slice after the other, where the file says so.
        voxel_size: length of a voxel along the spatial axes, in ``length_unit``, where the file says so.
        length_unit: such as ``mm``; empty where it is not known.
        orientation: where each spatial axis points in a body, such as ``("R", "A", "S")``, where the file says so.
        nifti: the header of a NIfTI file, which what is reconstructed gets again.
        tiff: how a TIFF lays its voxels out, for the same reason.
        files: where the voxels are in several files.
    """

    array: np.ndarray
    mapped: MappedArray | None = None
    nodata: Number | None = None
    mask: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    layers: int | None = None
    voxel_size: tuple[float, ...] | None = None
    length_unit: str = ""
    orientation: tuple[str, ...] | None = None
    nifti: Any = None
    tiff: Any = None
    files: tuple[Path, ...] = ()


def check_layout(shape: tuple[int, ...], dtype: np.dtype, where: str) -> tuple[tuple[int, ...], int]:
    """Refuse what is not a volume; return the cells along each axis of its domain, and its channels.

    Raises:
        SoftmineError: the dtype or the number of axes is not one of a volume.
    """
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


def last_axis_note(shape: tuple[int, ...]) -> tuple[str, ...]:
    """What the last of four axes is taken for, where its file does not say that."""
    if len(shape) < 4 or shape[3] == 1:
        return ()
    kind = "channels" if shape[3] <= MAX_CHANNELS else "a fourth coordinate, such as time"
    return (f"its last axis, of {shape[3]}, is taken for {kind}",)


def kept_bytes(size: int, dtype: np.dtype, straight: bool) -> int:
    """Bytes of memory that values of ``size`` bytes need at most until they are kept as torch keeps them.

    Args:
        size: theirs.
        dtype: of any byte order.
        straight: whether they are in the order in which they are kept.
    """
    as_they_are = straight and dtype.isnative and not (dtype.kind == "u" and dtype.itemsize > 1)
    return size if as_they_are else 2 * size
