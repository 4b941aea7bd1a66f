"""Fitting a volume."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from softmine import fields
from softmine.signals import nifti
from softmine.signals.volume import Volume
from softmine.tasks.builtin import builtin_name
from softmine.tasks.cell_evaluation import CellEvaluator
from softmine.tasks.slices import montage
from softmine.training.evaluation import values_at
from softmine.training.files import replacing
from softmine.training.settings import FieldSettings
from softmine.training.task import Array, Output, Reconstruction, Report, silent

DEFAULT = "phantom"
BLOCK = 2**18
"""Voxels a field is asked at a time."""


@dataclass(frozen=True)
class Options:
    """Flags that only volumes take: none."""


def read(path: str | None, options: Options) -> VolumeTask:
    """The volume that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None."""
    del options
    name = builtin_name(path, DEFAULT)
    return VolumeTask(Volume.read(str(path)) if name is None else Volume.builtin(name))


class VolumeTask:
    """A volume to be fitted (see ``training/task.py``)."""

    kind = "volume"
    unit = "voxels"
    snaps = True
    batch_size = None

    def __init__(self, volume: Volume) -> None:
        self.signal = volume

    def size(self) -> str:
        """As in ``175 x 248 x 58 uint8, voxels of 0.81 x 0.81 x 2.4 mm``."""
        volume, data = self.signal, self.signal.data
        words = f"{_product(volume.domain.shape)} {volume.dtype}"
        if volume.channels > 1:
            words += f", {volume.channels} channels"
        if data.voxel_size and data.length_unit:
            words += f", voxels of {_product([f'{size:.2g}' for size in data.voxel_size])} {data.length_unit}"
        if volume.valid is not None:
            words += f", {1 - float(volume.valid.double().mean()):.0%} without data"
        return words

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its volume."""
        volume, data = self.signal, self.signal.data
        return {
            "name": volume.name,
            "path": str(volume.path) if volume.path else None,
            "shape": list(volume.shape),
            "dtype": volume.dtype,
            "fingerprint": volume.fingerprint,
            "value_range": list(volume.value_range),
            "valid": volume.domain.valid,
            **(
                {"measured": {"cells": volume.domain.valid, "unit": "voxels with data"}}
                if volume.domain.masked
                else {}
            ),
            "voxel_size": list(data.voxel_size) if data.voxel_size else None,
            "length_unit": data.length_unit,
        }

    def make_field(self, settings: FieldSettings) -> nn.Module:
        """An untrained field over the volume's axes."""
        return fields.create(
            settings.field,
            self.signal.domain.shape,
            self.signal.channels,
            log2_table_size=settings.log2_table_size,
        )

    def make_evaluator(self, device: torch.device) -> CellEvaluator:
        """PSNR over voxels that hold data."""
        unit = "voxels" if self.signal.valid is None else "voxels with data"
        return CellEvaluator(self.signal, unit, device)

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Reconstruction:
        """Slices of ``field`` beside those of the volume."""
        return montage(self.signal, field, device, small, report)

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """Writes the whole reconstruction with the volume's own values: NIfTI under the same header, or NPY.

        Where the volume has no data, neither has the reconstruction.
        """
        del result
        volume = self.signal
        shape = volume.shape if volume.channels > 1 else volume.shape[:-1]
        label = f"the whole reconstruction, {_product(shape)} {volume.dtype}"
        header = volume.data.nifti
        if header is None:
            with replacing(folder / "reconstruction.npy") as temporary, temporary.open("wb") as target:
                layout = {"descr": np.dtype(volume.dtype).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(target, layout)
                for values in _stored(volume, field, device, "C", report):
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
                for values in _stored(volume, field, device, "F", report):
                    target.write(values[:, channel].astype(header.get_data_dtype()).tobytes())
        return [Output(file, label)]


def _stored(
    volume: Volume, field: nn.Module, device: torch.device, order: Literal["C", "F"], report: Report
) -> Iterator[Array]:
    """The whole of ``field``, (M, C) at a time, as the volume's file would hold it, in an order of voxels."""
    shape, cells = volume.domain.shape, volume.domain.cells
    valid = None if volume.valid is None else volume.valid.view(-1).numpy()
    for start in range(0, cells, BLOCK):
        flat = np.arange(start, min(start + BLOCK, cells))
        if order == "F":
            flat = np.ravel_multi_index(np.unravel_index(flat, shape, order="F"), shape)
        coords = volume.domain.centres(torch.from_numpy(flat))
        values = values_at(field, coords, device).clamp_(0, 1).numpy()
        yield volume.to_raw(values, None if valid is None else valid[flat])
        report((start + len(flat)) / cells)


def _product(numbers: Sequence[object]) -> str:
    return " x ".join(str(number) for number in numbers)
