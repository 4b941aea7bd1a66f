"""Reads and writes NIfTI volumes through nibabel's headers; voxels are kept as they are stored."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.files import DEFLATE_MOST, check_unpacked
from softmine.signals.libraries import logged_errors, require
from softmine.signals.memmap import MappedArray
from softmine.signals.volume.data import MAX_CHANNELS, VolumeData, check_layout, last_axis_note

GZIP = b"\x1f\x8b"
_SIZES = (348, 540)
_MOST_AFTER = 2**28
"""Bytes that may follow the voxels in a packed file, where nothing should."""
_MOST_HEADER = 2**24
"""Bytes that are looked at for a header and its extensions."""
_LENGTHS = {1: "m", 2: "mm", 3: "um"}
"""The units that the lowest three bits of ``xyzt_units`` stand for."""


def looks_like(start: bytes) -> bool:
    """Whether a file that begins with these bytes, unzipped, claims to be NIfTI-1 or NIfTI-2, or a piece of it."""
    size = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    magic = any(word in start[:348] for word in (b"n+1\0", b"n+2\0", b"ni1\0", b"ni2\0"))
    return bool(size & set(_SIZES)) and (magic or len(start) < 348)


def unzipped_start(path: Path, where: str) -> bytes:
    """The first bytes inside a gzip file."""
    try:
        with gzip.open(path) as file:
            return file.read(1024)
    except (OSError, EOFError, zlib.error) as error:
        raise SoftmineError(f"{where}: its gzip data is truncated or damaged; get a complete copy") from error


def read(path: Path, where: str, start: bytes, zipped: bool) -> VolumeData:
    """A NIfTI-1 or NIfTI-2 file in one piece (``.nii``, ``.nii.gz``); mapped where it is not compressed.

    Values are as stored: the header's slope and intercept are left to whoever reads the reconstruction, which gets
    the same header.

    Raises:
        SoftmineError: nibabel is missing, or the file is damaged, in two pieces, or not a volume of numbers.
    """
    nibabel = require("nibabel", "volume", "NIfTI", where)
    header = _header(nibabel, path, where, start, zipped)
    shape = tuple(int(n) for n in header.get_data_shape())
    dtype, notes = header.get_data_dtype(), ()
    if sum(n != 1 for n in shape[3:]) <= 1:
        # NIfTI keeps the fourth axis for time and puts vectors on the fifth.
        vectors = len(shape) > 4 and shape[3] == 1
        shape = (*shape[:3], *(n for n in shape[3:] if n != 1))
        if not vectors and shape[3:] and shape[3] <= MAX_CHANNELS:
            notes = last_axis_note(shape)
        elif not vectors and shape[3:]:
            notes = (f"its fourth axis, of {shape[3]}, is time",)
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept or 0) != (1, 0):
        note = f"values are as stored: the scale of {slope:g} and offset of {intercept or 0:g} stay in its header"
        notes = (*notes, note)
    spatial, _ = check_layout(shape, dtype, where)
    offset, count = int(header.get_data_offset()), math.prod(shape) * dtype.itemsize
    mapped = None if zipped else MappedArray(path, dtype, shape, offset, "F")
    if mapped:
        array, more = mapped.array, path.stat().st_size - offset - count
    else:
        values, more = _unzip(path, where, offset, count, dtype)
        array = values.reshape(shape, order="F")
    if more > 0:
        notes = (*notes, f"{more:,} bytes after its voxels left out")
    voxel_size = tuple(float(size) for size in header.get_zooms()[:3])
    known = all(0 < size < math.inf for size in voxel_size)
    thickest = None
    if known:
        # Scanners stack slices along the axis of the thickest voxels; among equals, of the fewest.
        thickest = max(range(3), key=lambda axis: (round(voxel_size[axis], 3), -spatial[axis]))
    return VolumeData(
        array,
        mapped,
        layers=thickest,
        voxel_size=voxel_size if known else None,
        length_unit=_LENGTHS.get(int(header["xyzt_units"]) & 7, ""),
        orientation=_orientation(nibabel, header),
        nifti=header,
        notes=notes,
    )


def write_header(header: Any, file: io.BufferedIOBase) -> None:
    """Writes the header of a file that was read, up to where its voxels begin; they follow in Fortran order."""
    header.write_to(file)
    file.write(bytes(int(header.get_data_offset()) - file.tell()))


def _header(nibabel: Any, path: Path, where: str, start: bytes, zipped: bool) -> Any:
    from nibabel.imageglobals import LoggingOutputSuppressor

    if b"ni1\0" in start[:348] or b"ni2\0" in start[:348]:
        raise SoftmineError(
            f"{where}: its voxels lie in a file of their own (.img); save both as one .nii file"
        )
    second = 540 in {int.from_bytes(start[:4], order) for order in ("little", "big")}
    kind = nibabel.nifti2.Nifti2Header if second else nibabel.nifti1.Nifti1Header
    try:
        with (
            LoggingOutputSuppressor(),
            logged_errors("nibabel.global"),
            gzip.open(path) if zipped else path.open("rb") as file,
        ):
            # Extensions of a packed file may claim any length.
            end = kind(start[: kind.sizeof_hdr], check=False).get_data_offset()
            header = kind.from_fileobj(io.BytesIO(file.read(min(max(end, len(start)), _MOST_HEADER))))
            header.get_data_dtype(), header.get_best_affine(), header.get_slope_inter()
    except Exception as error:
        raise SoftmineError(
            f"{where}: its NIfTI header is truncated or damaged; get a complete copy"
        ) from error
    if header.get_data_offset() < 352:
        raise SoftmineError(
            f"{where}: its header says that its voxels begin at byte {header.get_data_offset()}, which is in the header "
            "(vox_offset); put 352 there if they follow it"
        )
    if min(header.get_data_shape(), default=0) < 0:
        raise SoftmineError(f"{where}: its NIfTI header is damaged; get a complete copy")
    return header


def _unzip(path: Path, where: str, offset: int, count: int, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Voxels of ``count`` bytes, and how many bytes follow them."""
    size = path.stat().st_size
    data, found, more = np.empty(0, np.uint8), 0, 0
    if offset + count <= size * DEFLATE_MOST:  # else it cannot be there
        # They are stored the other way round than they are kept.
        check_unpacked(path, offset + count, where, "voxels", peak=offset + 2 * count)
        try:
            with gzip.open(path) as file:
                file.seek(offset)
                data = np.empty(count, np.uint8)
                while found < count and (length := file.readinto(data[found:].data)):
                    found += length
                while more <= _MOST_AFTER and (
                    block := file.read(2**20)
                ):  # at the end, gzip checks all that it unpacked
                    more += len(block)
        except (OSError, EOFError, zlib.error) as error:
            raise SoftmineError(
                f"{where}: its gzip data is truncated or damaged; get a complete copy"
            ) from error
    if more > _MOST_AFTER:
        raise SoftmineError(
            f"{where}: it is damaged, it holds {_MOST_AFTER:,} bytes or more after its voxels; save it again"
        )
    if found < count:
        raise SoftmineError(
            f"{where}: it is truncated, its header promises {count:,} bytes of voxels that are not there; get a "
            "complete copy"
        )
    return data.view(dtype), more


def _orientation(nibabel: Any, header: Any) -> tuple[str, ...] | None:
    """Where the axes point, if the file says how they lie in a body."""
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        return None
    affine = header.get_best_affine()
    if not np.isfinite(affine).all():
        return None
    codes = nibabel.aff2axcodes(affine)
    return None if None in codes else tuple(codes)
