"""Volumes as signals: voxels on three axes, or four with time."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import SoftmineError
from softmine.signals.files import hash_array, hash_file
from softmine.signals.grid import (
    GridSignal,
    Number,
    along,
    as_stored,
    block_ranges,
    coarse_shape,
    declare_nodata,
    slowest_axis,
    survey,
    to_numpy,
    unstored_note,
    widen,
)
from softmine.signals.memmap import stays_in_file
from softmine.signals.synthetic.formulas import find, phantom
from softmine.signals.volume import files as volume_files
from softmine.signals.volume.data import DTYPES, VolumeData, check_layout


class Volume(GridSignal):
    """A volume, linear between its voxels.

    An array of three axes has one channel. Of four axes, a last one of 1 to 4 holds channels; a longer one is a
    fourth coordinate, such as time. Coordinates come in the order of the axes.

    Where there is no data (NaN, or the value that the file declares for it, in any channel, of unsigned integers in all; what a masked array masks), the
    domain is masked: such voxels are never trained on or measured. The weights of the other voxels around a coordinate are scaled to a sum
    of 1; where none of those with a weight holds data, the value is 0.

    Args:
        voxels: the volume, 3 or 4 axes; integers, floats or bool.
        name: what to call it in reports.
        nodata: a stored value that means "no data", beside NaN.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.
        copy: whether to copy the voxels; if not, they must not be changed afterwards.

    Attributes:
        shape: cells along the axes of the domain, then C.
        channels: C.
        notes: what was chosen, converted or left out when the file was read, one sentence each.
        domain: ``Box`` over the voxels, masked where there is no data.
        valid: which voxels hold data, bool over the domain's shape; None where all do.
        dtype: name of the stored type, such as ``int16``.
        value_range: stored values that map to 0 and to 1: the least and the greatest of the volume, for integers
            too, because few volumes fill their type (a constant's are widened to hold 0 and 1; of bools False, True).
        data: what the file says beside the values: voxel size, orientation and more.

    Raises:
        SoftmineError: the voxels are not a volume, some are infinite, or none holds data.

    Example:
        >>> volume = Volume(np.array([0, 0, 255, 255, 0, 0, 255, 255], dtype=np.uint8).reshape(2, 2, 2))
        >>> volume(torch.tensor([[0.5, 0.25, 0.5], [0.5, 0.5, 0.5]]))
        tensor([[0.0000],
                [0.5000]])
    """

    takes: ClassVar[str] = "a volume takes float"

    def __init__(
        self,
        voxels: np.ndarray | Tensor | VolumeData,
        name: str = "volume",
        *,
        nodata: Number | None = None,
        path: Path | None = None,
        fingerprint: str | None = None,
        copy: bool = True,
    ) -> None:
        where = f"cannot read {path}" if path else f"cannot use the voxels of {name!r}"
        if not isinstance(voxels, VolumeData):
            voxels = _to_data(voxels, nodata, where)
        mapped, array, mask = voxels.mapped, voxels.array, voxels.mask
        spatial, channels = check_layout(array.shape, array.dtype, where)
        array = array.reshape((*spatial, channels))
        if mask is not None:
            mask = np.asarray(mask.reshape(array.shape).all(-1))
        nodata = as_stored(voxels.nodata, array.dtype)
        release = mapped.release if mapped else lambda: None
        found = survey(
            array, where, "voxel", ("voxel",), gaps=True, nodata=nodata, mask=mask, release=release
        )
        super().__init__(
            name,
            array.shape,
            array.dtype,
            (0.0, 1.0) if array.dtype.kind == "b" else widen(found.low, found.high),
            path=path,
            fingerprint=fingerprint or hash_array(array),
            stored=None if mapped else array,
            copy=copy,
            source=mapped,
            mask=found.valid,
            nodata=nodata,
            notes=(*voxels.notes, *unstored_note(voxels.nodata, nodata, array.dtype), *found.notes),
        )
        # The buffer, or the file, holds the values.
        self.data = replace(voxels, array=np.empty(0, array.dtype), mask=None)

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, in_memory: bool | None = None, nodata: Number | None = None
    ) -> Volume:
        """Read a volume file: NIfTI (``.nii``, ``.nii.gz``), NPY, NPZ with one array, or a TIFF stack; or a folder of slices.

        The format follows from the content, not by the file's name. NIfTI needs the extra ``softmine[volume]``. Slices are
        images of one format, size and type, whose names differ in a number alone.

        Args:
            path: the file or folder.
            in_memory: whether to load an uncompressed file into memory or leave its voxels there; by default what is
                larger than ``softmine.signals.memmap.LOAD_BYTES`` stays.
            nodata: a stored value that means "no data", instead of the one that the file declares.

        Raises:
            SoftmineError: the file is missing, damaged or not one volume; the message says which file, what is
                wrong with it and what to do.
        """
        path = Path(path)
        data = volume_files.read(path)
        stays = stays_in_file(path, data.mapped, in_memory, "uncompressed NPY, NIfTI and TIFF files")
        data = declare_nodata(data if stays else replace(data, mapped=None), nodata, data.array.dtype)
        if data.files:
            name, together = path.resolve().name, "".join(hash_file(file) for file in data.files)
            fingerprint = hashlib.sha256(together.encode()).hexdigest()
            return cls(data, name, path=path, fingerprint=fingerprint, copy=False)
        name = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
        return cls(data, name, path=path, fingerprint=hash_file(path), copy=False)

    @classmethod
    def builtin(cls, name: str = "phantom") -> Volume:
        """A volume that is made on the fly, by name: ``phantom``.

        Raises:
            SoftmineError: there is none of that name.
        """
        return cls(find("volume", name, {"phantom": phantom})(), name)

    @property
    def slow_axis(self) -> int:
        """The axis along which ``slab`` reads fastest."""
        return 0 if self.in_memory else slowest_axis(self._mapped)

    def slab(self, start: int, stop: int) -> Float[np.ndarray, "..."]:
        """Voxels [start, stop) of ``slow_axis``, values in [0, 1], channels last; NaN where there is no data.

        Raises:
            SoftmineError: they are not all in the volume.
        """
        axis = self.slow_axis
        if not 0 <= start <= stop <= self.shape[axis]:
            raise SoftmineError(
                f"layers {start} to {stop} are not all in {self.name!r}, which has {self.shape[axis]} on axis {axis}"
            )
        cut = along(axis, start, stop)
        if self.in_memory:
            block = self._block(cut)
        else:
            block = self._mapped[cut].astype(self._numpy_work)
            self.source.release()
        block = self._to_unit(block)
        if self.valid is not None:
            block[~self.valid[cut].numpy()] = np.nan
        return block

    def edges(self, max_cells: int = 2**20) -> Tensor:
        """How fast the volume changes from voxel to voxel, on at most ``max_cells`` equal cells, on the CPU.

        One number a cell, shape like the domain's or coarser: the mean over a cell's voxels, zero where there is no data.
        At a voxel, the square of the change along an axis is the mean of the squares to its two neighbors (to one, at
        the border of the volume or of its data), so that a line one voxel thin counts in its middle too; these are
        summed over axes and averaged over channels, and the root is taken. Native units: a step from 0 to 1 between two
        voxels along one axis gives 1 over the square root of 2 at both.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        spatial, slow = self.shape[:-1], self.slow_axis
        grid = coarse_shape(spatial, max_cells)
        total, count = np.zeros(grid), np.zeros(grid)
        for start, stop in block_ranges(self.shape, slow):
            above, below = max(0, start - 1), min(spatial[slow], stop + 1)
            block = self.slab(above, below)
            inner = along(slow, start - above, stop - above)
            magnitude = _changes(block)[inner]
            known = ~np.isnan(block[inner]).any(-1)
            _pool(total, np.where(known, magnitude, 0.0), spatial, slow, start)
            _pool(count, known.astype(np.float64), spatial, slow, start)
        return torch.from_numpy((total / np.maximum(count, 1)).astype(np.float32))

    def _read(self, cells: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return self._mapped[np.unravel_index(cells, self.shape[:-1])].astype(dtype)

    @property
    def _mapped(self) -> np.ndarray:
        """The voxels in their file, shape ``shape``."""
        return self.source.array.reshape(self.shape)


def _to_data(voxels: np.ndarray | Tensor, nodata: Number | None, where: str) -> VolumeData:
    """An array as a reader hands it over; where a masked one is masked, there is no data."""
    if isinstance(voxels, Tensor):
        return VolumeData(to_numpy(voxels, DTYPES, where), nodata=nodata)
    mask = ~np.ma.getmaskarray(voxels) if isinstance(voxels, np.ma.MaskedArray) else None
    return VolumeData(np.asarray(voxels), nodata=nodata, mask=mask)


def _changes(block: np.ndarray) -> np.ndarray:
    """Magnitude of change, (...), of values (..., C); NaN neighbors are left out."""
    squares = np.zeros(block.shape[:-1], np.float32)
    for axis in range(block.ndim - 1):
        step = np.square(np.diff(block, axis=axis)).mean(-1)
        known = ~np.isnan(step)
        step[~known] = 0
        sums, counts = np.zeros_like(squares), np.zeros(squares.shape, np.int8)
        last = block.shape[axis]
        for cut in (along(axis, 1, last), along(axis, 0, last - 1)):
            sums[cut] += step
            counts[cut] += known
        squares += sums / np.maximum(counts, 1)
    return np.sqrt(squares)


def _pool(total: np.ndarray, block: Any, spatial: tuple[int, ...], slow: int, start: int) -> None:
    """Adds layers of a volume, from ``start`` on its slow axis, to the sums over coarse cells."""
    for axis, (size, cells) in enumerate(zip(spatial, total.shape, strict=True)):
        if axis != slow:
            # A voxel belongs to the cell that holds its center.
            cell = (2 * np.arange(size) + 1) * cells // (2 * size)
            block = np.add.reduceat(block, np.searchsorted(cell, np.arange(cells)), axis=axis)
    layers = np.arange(start, start + block.shape[slow])
    cell = (2 * layers + 1) * total.shape[slow] // (2 * spatial[slow])
    np.add.at(np.moveaxis(total, slow, 0), cell, np.moveaxis(block, slow, 0))
