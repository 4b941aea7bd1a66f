"""Fitting a volume."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from softmine.runs.files import replacing
from softmine.runs.task import Array, Output, Reconstruction, Report, silent
from softmine.signals.grid import range_text
from softmine.signals.volume import Volume, nifti, tiff
from softmine.tasks.evaluation import CellEvaluator
from softmine.tasks.grids import predict
from softmine.tasks.signal_task import SignalTask, parse_corruption, read_with_gaps, without_data
from softmine.tasks.volume.slices import montage
from softmine.training.evaluation import decibels, values_at

DEFAULT = "phantom"
BLOCK = 2**18
"""Voxels a field is evaluated at, at a time."""
WHOLE = 2**25
"""Values up to which a run holds its whole reconstruction, measured where it has data."""


@dataclass(frozen=True)
class Options:
    """What only volumes take.

    Attributes:
        corrupt: how to make the volume dirty, as ``outliers=0.05``; None to leave it clean.
        nodata: the stored value that means "no data"; None for the one that the file declares.
    """

    corrupt: str | None = None
    nodata: float | None = None


def read(path: str | None, options: Options, report: Report = silent) -> VolumeTask:
    """The volume that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None."""
    del report
    corruption = parse_corruption(options.corrupt, "volume")
    return VolumeTask(read_with_gaps(Volume, path, DEFAULT, options.nodata), corruption)


@dataclass(frozen=True, kw_only=True)
class Whole(Reconstruction):
    """Slices, and all that a field has learned.

    Attributes:
        voxels: (V, C) as the volume's file would hold them, in row-major order.
    """

    voxels: Array


class VolumeTask(SignalTask[Volume]):
    """A volume to be fitted (see ``runs/task.py``)."""

    kind = "volume"
    unit = "voxels"

    def size(self) -> str:
        """As in ``175 x 248 x 58 uint8, voxels of 0.81 x 0.81 x 2.4 mm``."""
        volume, data = self.signal, self.signal.data
        words = f"{_product(volume.domain.shape)} {volume.dtype}"
        if volume.channels > 1:
            words += f", {volume.channels} channels"
        if data.voxel_size:
            unit = data.length_unit or "in no stated unit"
            words += f", voxels of {_product([f'{size:.2g}' for size in data.voxel_size])} {unit}"
        return "; ".join([words + without_data(volume), *self.notes]) + self.dirt

    @property
    def notes(self) -> list[str]:
        """What was chosen, converted or left out in reading, and which values count as 0 and 1."""
        volume = self.signal
        if volume.dtype == "bool":
            return volume.notes
        low, high = volume.value_range
        return [*volume.notes, f"values from {range_text(low, high)} count as 0 to 1"]

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its volume."""
        volume, data = self.signal, self.signal.data
        found = super().describe() | {
            "dtype": volume.dtype,
            "value_range": list(volume.value_range),
            "voxel_size": list(data.voxel_size) if data.voxel_size else None,
            "length_unit": data.length_unit,
            "notes": self.notes,
        }
        if volume.domain.masked:
            found["measured"] = {"cells": volume.domain.valid, "unit": "voxels with data"}
        return found

    def make_evaluator(self, device: torch.device) -> CellEvaluator:
        """PSNR over voxels that hold data."""
        return CellEvaluator(self.clean_on(device), self.measured_unit, device)

    @property
    def measured_unit(self) -> str:
        """What the cells are called that quality is measured in."""
        words = super().measured_unit
        return words if self.signal.valid is None else words.replace(self.unit, "voxels with data", 1)

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Reconstruction:
        """Slices of ``field`` beside those of the volume; unless ``small``, with PSNR over all voxels that hold data.

        Beyond 2^25 values there is no PSNR but the evaluator's, since to hold what was measured, which is also what is
        written, would take too much memory, and to ask the field twice too much time.
        """
        volume = self.clean_on(device)
        shown = montage(volume, field, device, small, silent)
        if small or volume.domain.cells * volume.channels > WHOLE:
            return shown
        parts, error = [], 0.0
        for cells, values in _learned(volume, field, device, "C", report):
            valid = slice(None) if volume.valid is None else volume.valid.view(-1)[cells]
            target = values_at(volume, volume.domain.centers(cells[valid]), device)
            error += (torch.from_numpy(values)[valid].double() - target).square().sum().item()
            parts.append(_stored(volume, cells, values))
        psnr = decibels(error / (volume.domain.valid * volume.channels))
        return Whole(shown.values, shown.target, shown.error, psnr, shown.note, voxels=np.concatenate(parts))

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """Writes the whole reconstruction with the volume's own values: NIfTI under the same header, TIFF with the same axes
        (slices as one stack), or NPY.

        Where the volume has no data, neither has the reconstruction.
        """
        volume = self.clean_on(device)
        shape = volume.shape if volume.channels > 1 else volume.shape[:-1]
        label = f"the whole reconstruction, {_product(shape)} {volume.dtype}"
        header = volume.data.nifti
        if volume.data.tiff is not None:
            with replacing(folder / "reconstruction.tif") as temporary:
                tiff.write(
                    temporary,
                    volume.data.tiff,
                    volume.shape,
                    np.dtype(volume.dtype),
                    volume.nodata if volume.valid is None else volume.gap,
                    _at(result, volume, field, device, report),
                    BLOCK,
                )
            return [Output("reconstruction.tif", f"{label}, axes {volume.data.tiff.axes}")]
        if header is None:
            with replacing(folder / "reconstruction.npy") as temporary, temporary.open("wb") as target:
                layout = {"descr": np.dtype(volume.dtype).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(target, layout)
                for values in _written(result, volume, field, device, "C", report):
                    target.write(values.tobytes())
            return [Output("reconstruction.npy", label)]
        zipped = str(volume.path).lower().endswith(".gz")
        file = f"reconstruction.nii{'.gz' if zipped else ''}"
        with replacing(folder / file) as temporary, contextlib.ExitStack() as stack:
            target: Any = stack.enter_context(temporary.open("wb"))
            if zipped:
                target = stack.enter_context(gzip.GzipFile("", "wb", 6, target, mtime=0))
            nifti.write_header(header, target)
            # NIfTI keeps whole channels one after the other; to hold all of a large volume would take its memory.
            for channel in range(volume.channels):
                for values in _written(result, volume, field, device, "F", report):
                    target.write(values[:, channel].astype(header.get_data_dtype()).tobytes())
        return [Output(file, label)]


def _written(
    result: Reconstruction,
    volume: Volume,
    field: nn.Module,
    device: torch.device,
    order: Literal["C", "F"],
    report: Report,
) -> Iterator[Array]:
    """The whole reconstruction, (M, C) at a time, as the volume's file would hold it, in an order of voxels."""
    if isinstance(result, Whole):
        for cells in _blocks(volume, order):
            yield result.voxels[cells.numpy()]
    else:
        for cells, values in _learned(volume, field, device, order, report):
            yield _stored(volume, cells, values)


def _at(
    result: Reconstruction, volume: Volume, field: nn.Module, device: torch.device, report: Report
) -> Callable[[Array, Array], Array]:
    """A function that gives single values (M,) of the reconstruction, of flat voxels and channels (M,), as ``_written``."""
    done = 0

    def values(cells: Array, channels: Array) -> Array:
        nonlocal done
        if isinstance(result, Whole):
            return result.voxels[cells, channels]
        distinct, place = np.unique(cells, return_inverse=True)
        flat = torch.from_numpy(distinct)
        found = _stored(volume, flat, predict(field, volume.domain.centers(flat), device).numpy())
        done += len(cells)
        report(done / (volume.domain.cells * volume.channels))
        return found[place, channels]

    return values


def _learned(
    volume: Volume, field: nn.Module, device: torch.device, order: Literal["C", "F"], report: Report
) -> Iterator[tuple[Tensor, Array]]:
    """Flat voxels (M,) and the values (M, C) of ``field`` at their centers, clipped to [0, 1], until all are evaluated."""
    done = 0
    for cells in _blocks(volume, order):
        yield cells, predict(field, volume.domain.centers(cells), device).numpy()
        done += len(cells)
        report(done / volume.domain.cells)


def _blocks(volume: Volume, order: Literal["C", "F"]) -> Iterator[Tensor]:
    """All flat (row-major) voxels (M,), some at a time, in an order of the volume's axes."""
    shape, cells = volume.domain.shape, volume.domain.cells
    for start in range(0, cells, BLOCK):
        flat = np.arange(start, min(start + BLOCK, cells))
        if order == "F":
            flat = np.ravel_multi_index(np.unravel_index(flat, shape, order="F"), shape)
        yield torch.from_numpy(flat)


def _stored(volume: Volume, cells: Tensor, values: Array) -> Array:
    """Values (M, C) of voxels (M,) as the volume's file would hold them."""
    return volume.to_raw(values, None if volume.valid is None else volume.valid.view(-1)[cells].numpy())


def _product(numbers: Sequence[object]) -> str:
    return " x ".join(str(number) for number in numbers)
