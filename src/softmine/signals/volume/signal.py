"""Volumes as signals: voxels on three axes, or four with time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import Box, Cells, Coords, SoftmineError, Values
from softmine.signals.fingerprint import hash_array, hash_file
from softmine.signals.grid import centres, check_coords, corners, gather, shift, to_buffer, to_numpy
from softmine.signals.synthetic.names import find
from softmine.signals.synthetic.phantom import phantom
from softmine.signals.volume import edges as volume_maps
from softmine.signals.volume import files as volume_files
from softmine.signals.volume.data import DTYPES, VolumeData, along, check_layout, slowest_axis, survey

LOAD_BYTES = 512 * 2**20
"""Uncompressed files up to this size are loaded into memory, larger ones are memory-mapped."""

_EXACT = 2.0**24
_LEAST = 1e-30


class Volume(torch.nn.Module):
    """A volume that answers at any coordinates, by linear interpolation between voxels.

    An array of three axes has one channel. Of four axes, a last one of 1 to 4 holds channels; a longer one is a
    fourth coordinate, such as time. Coordinates come in the order of the axes.

    Where there is no data (NaN, or the value that the file declares for it, in any channel), the domain is masked:
    such voxels are never trained on or measured, and do not enter the interpolation near them.

    Voxels are kept as their file stores them and become floats a batch at a time. Voxels in memory are a buffer,
    so ``.to(device)`` moves them (they are not part of the ``state_dict``); voxels that stay in their file are read
    where a batch needs them.

    Args:
        voxels: the volume, 3 or 4 axes; integers, floats or bool.
        name: what to call it in reports.
        nodata: a stored value that means "no data", beside NaN.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.

    Attributes:
        shape: cells along the axes of the domain, then C.
        channels: C.
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

    voxels: Tensor
    size: Tensor
    known: Tensor

    def __init__(
        self,
        voxels: np.ndarray | Tensor | VolumeData,
        name: str = "volume",
        *,
        nodata: float | None = None,
        path: Path | None = None,
        fingerprint: str | None = None,
    ) -> None:
        super().__init__()
        where = f"cannot read {path}" if path else f"cannot use the voxels of {name!r}"
        if not isinstance(voxels, VolumeData):
            array = to_numpy(voxels, DTYPES, where) if isinstance(voxels, Tensor) else np.asarray(voxels)
            voxels = VolumeData(array, nodata=nodata)
        self.name, self.path, self.mapped = name, path, voxels.mapped
        spatial, self.channels = check_layout(voxels.array.shape, voxels.array.dtype, where)
        array = voxels.array.reshape((*spatial, self.channels))
        self.shape, self.dtype = array.shape, array.dtype.name
        found = survey(array, voxels.nodata, where, self.mapped.release if self.mapped else lambda: None)
        self.value_range = low, high = (found.low, found.high) if self.dtype != "bool" else (0.0, 1.0)
        self._zero, self._span = low, high - low
        exact = self.dtype == "float32" or max(abs(low), abs(high)) <= _EXACT
        extreme = max(abs(low), self._span, 1 / self._span) > 1e30
        self._work = torch.float32 if exact and not extreme and self.dtype != "float64" else torch.float64
        self.fingerprint = fingerprint or hash_array(array)
        if not self.mapped and found.high < shift(array.dtype):
            # Signed as they are, because small values would be rounded against the shift.
            array = array.astype(f"i{array.dtype.itemsize}")
        self._shift = 0 if self.mapped else shift(array.dtype)
        self.register_buffer("voxels", torch.empty(0) if self.mapped else to_buffer(array), persistent=False)
        self.register_buffer("size", torch.tensor(spatial), persistent=False)
        self.valid = None if found.valid is None else torch.from_numpy(found.valid)
        self.domain = Box(spatial) if self.valid is None else Box(spatial, mask=self.valid)
        known = torch.empty(0, dtype=torch.bool) if self.valid is None else self.valid.view(-1)
        self.register_buffer("known", known, persistent=False)
        # The buffer, or the file, holds the values.
        self.data = replace(voxels, array=np.empty(0, array.dtype))

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, in_memory: bool | None = None) -> Volume:
        """Read a volume file: NIfTI (``.nii``, ``.nii.gz``), NPY, NPZ with one array, or a TIFF stack.

        The format is told by the content, not by the file's name. NIfTI needs the extra ``softmine[volume]``.

        Args:
            path: the file.
            in_memory: whether to load an uncompressed file into memory or leave its voxels there; by default what is
                larger than ``LOAD_BYTES`` stays.

        Raises:
            SoftmineError: the file is missing, damaged or not one volume; the message says which file, what is
                wrong with it and what to do.
        """
        path = Path(path)
        data = volume_files.read(path)
        if data.mapped:
            if in_memory is None:
                in_memory = data.array.nbytes <= LOAD_BYTES
            data = replace(data, mapped=None) if in_memory else data
        elif in_memory is False:
            raise SoftmineError(
                f"cannot read {path} from where it lies: only uncompressed NPY, NIfTI and TIFF files can be "
                "memory-mapped; leave in_memory out"
            )
        return cls(data, path.name.removesuffix(".gz").rpartition(".")[0] or path.name, path=path,
                   fingerprint=hash_file(path))  # fmt: skip

    @classmethod
    def builtin(cls, name: str = "phantom") -> Volume:
        """A volume that is made on the fly, by name: ``phantom``.

        Raises:
            SoftmineError: there is none of that name.
        """
        return cls(find("volume", name, {"phantom": phantom})(), name)

    @property
    def in_memory(self) -> bool:
        """Whether the voxels are in memory, or stay in their file."""
        return self.mapped is None

    @property
    def slow_axis(self) -> int:
        """The axis along which ``slab`` reads fastest."""
        return slowest_axis(self._stored) if self.mapped else 0

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.shape}, dtype={self.dtype}, in_memory={self.in_memory}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at unit coordinates (N, D), in [0, 1] and in the dtype of ``coords``.

        Values are linear along each axis between the centres of voxels, constant beyond the outermost ones, and
        differentiable with respect to ``coords``. Where voxels around a coordinate hold no data, the others' weights
        are scaled to a sum of 1; where none of those with a weight does, the value is 0. NaN coordinates give NaN.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, D).
        """
        check_coords(coords, self.domain.dim, "this volume is asked at float")
        work = torch.promote_types(coords.dtype, self._work)
        size = self.size.to(coords.device)
        position = (coords.to(work) * size - 0.5).clamp(min=0).minimum(size - 1)
        here = self.mapped or position.device.type == "cpu"
        cells = centres(position, size, coords.dtype) if here else None
        values = self._between(position, size, work) if cells is None else self._at(cells, work)
        return (values / self._span).to(coords.dtype)

    def _at(self, cells: Cells, work: torch.dtype) -> Values:
        """Values (N, C) of flat cells (N,), less the zero; 0 where there is no data."""
        values = self._gather(cells, work) - self._zero
        if self.valid is None:
            return values
        return torch.where(self.known.to(cells.device)[cells].unsqueeze(-1), values, 0.0)

    def _between(self, position: Tensor, size: Tensor, work: torch.dtype) -> Values:
        """Values (N, C), less the zero, linear between the centres around each position (N, D), in cells."""
        cells, fraction = corners(position, size)
        values = self._gather(cells.reshape(-1), work).view(*cells.shape, self.channels)
        if self.valid is None:
            return _interpolate(values, fraction) - self._zero
        known = self.known.to(cells.device)[cells].unsqueeze(-1)
        # Relative to the zero, because what is divided by a small weight must not be rounded against a large one.
        values = _interpolate(torch.where(known, values - self._zero, 0.0), fraction)
        # Where nothing is known both sides are 0.
        return values / _interpolate(known.to(work), fraction).clamp(min=_LEAST)

    def _gather(self, cells: Cells, work: torch.dtype) -> Values:
        if self.mapped:
            values = self._stored[np.unravel_index(cells.numpy(force=True), self.shape[:-1])]
            return torch.from_numpy(values.astype(self._numpy_work)).to(cells.device, work)
        values = gather(self.voxels, cells, work)
        return values + self._shift if self._shift else values

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
        if self.mapped:
            block = self._stored[cut].astype(self._numpy_work)
            self.mapped.release()
        else:
            block = self.voxels.view(self.shape)[cut].numpy(force=True).astype(self._numpy_work)
            block += self._shift
        block = ((block - self._zero) / self._span).astype(np.float32, copy=False)
        if self.valid is not None:
            block[~self.valid[cut].numpy()] = np.nan
        return block

    def edges(self, max_cells: int = 2**20) -> Tensor:
        """How fast the volume changes from voxel to voxel, on at most ``max_cells`` equal cells, on the CPU.

        One number a cell, shape like the domain's or coarser; zero where there is no data.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        return volume_maps.edges(self, max_cells)

    def to_raw(self, values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Values (..., C) in [0, 1] as the volume's file would store them; no data where ``valid`` (...) is False.

        Integers and booleans are rounded. What is not a number becomes no data among floats, and 0 among integers.
        """
        dtype = np.dtype(self.dtype)
        low, high = self.value_range
        raw = np.clip(values.astype(np.float64) * (high - low) + low, low, high)
        if dtype.kind == "b":
            return np.nan_to_num(raw) >= 0.5
        raw = raw if dtype.kind == "f" else np.rint(np.nan_to_num(raw))
        if valid is not None:
            raw[~valid] = np.nan if self.data.nodata is None else self.data.nodata
        if dtype.kind in "iu" and max(abs(low), abs(high)) >= 2.0**53:
            # The ends of a 64-bit range, which doubles round up beyond it.
            limits = np.iinfo(dtype)
            most = np.nextafter(float(limits.max), 0.0)
            raw = np.clip(raw, float(limits.min), most)
        return raw.astype(dtype)

    @property
    def _stored(self) -> np.ndarray:
        """The voxels in their file, shape ``shape``."""
        assert self.mapped
        return self.mapped.array.reshape(self.shape)

    @property
    def _numpy_work(self) -> np.dtype:
        return np.dtype(np.float64 if self._work == torch.float64 else np.float32)


def _interpolate(values: Tensor, fraction: Tensor) -> Tensor:
    """Values (2, ..., 2, N, C) at the corners of a cell, at fractions (N, D, 1) along its axes; (N, C)."""
    for axis in range(fraction.shape[1]):
        values = torch.lerp(values[0], values[1], fraction[:, axis])
    return values
