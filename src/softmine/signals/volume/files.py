"""Reads volume files: the first bytes decide which reader."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.files import NPY, TIFF, check_file, check_unpacked, npy_header
from softmine.signals.memmap import MappedArray
from softmine.signals.volume import folder, nifti, tiff
from softmine.signals.volume.data import VolumeData, check_layout, kept_bytes, last_axis_note


def read(path: Path) -> VolumeData:
    """A NIfTI, NPY, NPZ or TIFF file, or a folder of slices, as a volume; mapped where it is one uncompressed file.

    Raises:
        SoftmineError: the file is missing, damaged, or not one volume that can be read faithfully.
    """
    where = f"cannot read {path}"
    if path.is_dir():
        return folder.read(path, where)
    start = check_file(path, "volume", where)
    if start[128:132] == folder.DICOM:
        raise SoftmineError(f"{where}: it is DICOM; convert its series to NIfTI first, as with dcm2niix")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start.startswith(NPY):
            return _read_npy(path, where)
        if start.startswith(b"PK"):
            return _read_npz(path, where)
        if start.startswith(TIFF):
            return tiff.read(path, where)
        zipped = start.startswith(nifti.GZIP)
        start = nifti.unzipped_start(path, where) if zipped else start
        if nifti.looks_like(start):
            return nifti.read(path, where, start, zipped)
    raise SoftmineError(
        f"{where}: its content is {'gzip data, but no NIfTI' if zipped else 'of no format that is known here'}; "
        "save the volume as NIfTI (.nii, .nii.gz), NPY, NPZ or a TIFF stack"
    )


def _read_npy(path: Path, where: str) -> VolumeData:
    with path.open("rb") as file:
        shape, order, dtype = npy_header(file, where)
        offset = file.tell()
    shape, notes = _without_ones(shape)
    check_layout(shape, dtype, where)
    mapped = MappedArray(path, dtype, shape, offset, order)
    return VolumeData(mapped.array, mapped, notes=notes)


def _without_ones(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape of a volume in an array that may have axes of length 1 beside it, as batches of one have; and a note.

    Example:
        >>> _without_ones((1, 1, 5, 6, 7))[0], _without_ones((5, 6, 7, 1, 1))[0], _without_ones((1, 6, 7))[0]
        ((5, 6, 7), (5, 6, 7), (1, 6, 7))
    """
    found = shape
    while len(found) > 3 and found[0] == 1:
        found = found[1:]
    while len(found) > 3 and found[-1] == 1:
        found = found[:-1]
    if found == shape or shape == (*found, 1):
        return shape, last_axis_note(shape)
    return found, (f"its shape {shape} is taken for {found}", *last_axis_note(found))


def _read_npz(path: Path, where: str) -> VolumeData:
    """The one array of an NPZ; its header is looked at before anything is unpacked."""
    damaged = f"{where}: its archive is truncated or damaged; get a complete copy"
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise SoftmineError(damaged) from error
    with archive:
        members = archive.namelist()
        names = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
        if len(members) != 1 or len(names) != 1:
            found = (
                f"{len(names)} arrays ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"
                if names
                else "no array"
            )
            raise SoftmineError(
                f"{where}: it holds {found} where one is needed; save the volume alone, as NPY"
            )
        if archive.getinfo(members[0]).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SoftmineError(f"{where}: its archive is packed in an unusual way; save it anew")
        try:
            with archive.open(members[0]) as file:
                start = io.BytesIO(file.read(2**16))
                shape, order, dtype = npy_header(start, where)
                shape, notes = _without_ones(shape)
                check_layout(shape, dtype, where)
                size = math.prod(shape) * dtype.itemsize
                check_unpacked(path, size, where, "voxels", peak=kept_bytes(size, dtype, order == "C"))
            with archive.open(members[0]) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except SoftmineError:
            raise
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError) as error:
            raise SoftmineError(damaged) from error
        except (RuntimeError, NotImplementedError) as error:
            raise SoftmineError(
                f"{where}: its archive is encrypted or packed in an unusual way; save it anew"
            ) from error
    return VolumeData(array.reshape(shape), notes=notes)
