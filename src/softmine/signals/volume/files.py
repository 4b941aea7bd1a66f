"""Reads volume files: the first bytes decide which reader."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from softmine.domain import SoftmineError
from softmine.signals import tiff_tags
from softmine.signals.files import NPY, TIFF, check_file, check_length, npy_header
from softmine.signals.libraries import logged_errors
from softmine.signals.memmap import MappedArray
from softmine.signals.volume import nifti
from softmine.signals.volume.data import MAX_CHANNELS, VolumeData, check_layout


def read(path: Path) -> VolumeData:
    """A NIfTI, NPY, NPZ or TIFF file as a volume; mapped where it is uncompressed.

    Raises:
        SoftmineError: the file is missing, damaged, or not one volume that can be read faithfully.
    """
    where = f"cannot read {path}"
    start = check_file(path, "volume", where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start.startswith(NPY):
            return _read_npy(path, where)
        if start.startswith(b"PK"):
            return _read_npz(path, where)
        if start.startswith(TIFF):
            return _read_tiff(path, where)
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
    check_layout(shape, dtype, where)
    mapped = MappedArray(path, dtype, shape, offset, order)
    return VolumeData(mapped.array, mapped)


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
        try:
            with archive.open(members[0]) as file:
                start = io.BytesIO(file.read(2**16))
                shape, _, dtype = npy_header(start, where)
                check_layout(shape, dtype, where)
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
    return VolumeData(array)


def _read_tiff(path: Path, where: str) -> VolumeData:
    """A stack of pages of one size, or a page that holds a stack, axes as the file says."""
    damaged = f"{where}: its TIFF data is truncated or damaged; get a complete copy"
    with logged_errors("tifffile") as errors:
        try:
            with tifffile.TiffFile(path) as file:
                data = _tiff_stack(file, path, where)
        except MemoryError:
            raise
        except Exception as error:
            if "imagecodecs" in str(error):
                raise SoftmineError(
                    f"{where}: its compression needs the extra: pip install 'softmine[codecs]'"
                ) from error
            # What is left of a damaged file can look like another kind of stack.
            if isinstance(error, SoftmineError) and not errors:
                raise
            raise SoftmineError(damaged) from error
    if errors:  # tifffile reads on where pages are missing at the end
        raise SoftmineError(damaged)
    return data


def _tiff_stack(file: tifffile.TiffFile, path: Path, where: str) -> VolumeData:
    if len(file.series) > 1:
        sizes = ", ".join(str(series.shape) for series in file.series[:4])
        raise SoftmineError(
            f"{where}: it holds {len(file.series)} stacks of different shapes ({sizes}); save the one you want as a "
            "file"
        )
    series, page = file.series[0], file.pages.first
    if series.is_multifile:
        raise SoftmineError(f"{where}: its stack continues in other files; save it as one file")
    if page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
        colors = getattr(page.photometric, "name", page.photometric)
        raise SoftmineError(f"{where}: its colors are {colors}; save the stack as gray or RGB")
    if series.dtype is None:
        raise SoftmineError(
            f"{where}: it holds {page.bitspersample}-bit samples; convert them to uint8, uint16 or float32"
        )
    axes, shape = series.axes, tuple(int(n) for n in series.shape)
    channel = next((axes.index(letter) for letter in "SC" if letter in axes), None)
    if channel is not None:
        if shape[channel] > MAX_CHANNELS:
            raise SoftmineError(
                f"{where}: it has {shape[channel]} channels, but a volume has 1 to 4; keep four at most"
            )
        if len(shape) == 3:
            raise SoftmineError(f"{where}: it is one flat image in color; fit it with softmine fit image")
        shape = (*shape[:channel], *shape[channel + 1 :], shape[channel])
    check_layout(shape, series.dtype, where)
    ends = [o + n for p in series.pages if p for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)]
    check_length(path, max(ends), where)
    moved = len(shape) - 1 if channel is None else channel
    mapped = None
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
        last = [axis for axis in range(len(shape)) if axis != moved] + [moved]
        mapped = MappedArray(path, dtype, tuple(series.shape), series.dataoffset, "C", last)
    array = mapped.array if mapped else np.moveaxis(series.asarray(), moved, -1)
    return VolumeData(
        array, mapped, nodata=tiff_tags.nodata(page), layers=array.ndim - (3 if channel is None else 4)
    )
