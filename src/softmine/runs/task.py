"""What the loop needs to know of a kind of signal: one task for images, one for audio, and so on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from softmine.registry import default_batch_size
from softmine.signals import Signal
from softmine.training import devices
from softmine.training.settings import FieldSettings
from softmine.training.trainer import Diverged, Trainer

Array = npt.NDArray[Any]
Report = Callable[[float], None]
"""Receives the share that is done, 0 to 1."""


def silent(share: float) -> None:
    """A ``Report`` that does nothing."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a field.

    Attributes:
        psnr: in dB with a peak of 1; NaN where a prediction is not finite.
        ssim: structural similarity, or None where the signal has none.
        samples: coordinates at which the field was evaluated.
        subset: whether they are only a part of the signal.
        more: further measures by name, such as ``iou``; they go into ``metrics.jsonl`` as they are.
    """

    psnr: float
    ssim: float | None
    samples: int
    subset: bool
    more: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Evaluator(Protocol):
    """Measures fields against one signal, always at the same coordinates."""

    def describe(self) -> str:
        """What is measured, in words: ``PSNR and SSIM over all 393,216 pixels``."""
        ...

    def __call__(self, field: nn.Module) -> Evaluation:
        """Measures ``field``; leaves its parameters and random numbers untouched."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """What a field has learned, as images that people can look at.

    Attributes:
        values: (h, w, C) in [0, 1], C of 1 to 4.
        target: the same of the signal, or None where there is nothing to set beside it.
        error: mean absolute error in the units of the signal's range, (h, w); NaN where nothing is measured.
        psnr: over the whole signal in dB, or None where only a part of it was evaluated.
        note: what the image shows, in a few words: ``every pixel``, ``9 slices``.
        least_error: error below which a map of it need not tell differences apart.
        reduced_to: width and height of the grid that a large signal was reduced to, or None where it was not.
        icc_profile: of the colors of values and target; None for sRGB.
    """

    values: Array
    target: Array | None
    error: Array
    psnr: float | None
    note: str
    least_error: float = 1 / 255
    reduced_to: tuple[int, int] | None = None
    icc_profile: bytes | None = None


@dataclass(frozen=True)
class Output:
    """A file that a run leaves besides its images: its name in the ``images`` folder, and what it is."""

    file: str
    label: str


@runtime_checkable
class Task(Protocol):
    """One signal to be fitted, and how its kind is described, measured and shown.

    Attributes:
        kind: the word after ``softmine fit``: ``image``, ``audio``, ...
        unit: what a cell of the signal's domain is called, in the plural: ``pixels``.
        snaps: whether the signal is known at the centers of cells, so that training is best done there, or everywhere.
    """

    kind: str
    unit: str
    snaps: bool

    @property
    def batch_size(self) -> int | None:
        """Batch size of this kind by default, or None for that of sampler and signal."""
        ...

    @property
    def signal(self) -> Signal:
        """What is learned."""
        ...

    def size(self) -> str:
        """The signal's size for a person: ``768 x 512 RGB uint8``."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its signal: ``name``, ``path`` or None, ``shape``, ``fingerprint`` and more.

        Where quality is measured elsewhere than in the signal's cells, ``measured`` says where: ``{"cells": 80000, "unit":
        "pixels of 8 test views"}``.
        """
        ...

    def make_field(self, settings: FieldSettings) -> nn.Module:
        """An untrained field for the signal; its random numbers come from torch's global generator."""
        ...

    def make_evaluator(self, device: torch.device) -> Evaluator:
        """What measures fields against the signal."""
        ...

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Reconstruction:
        """Images of ``field`` beside the signal; ``small`` ones are for comparisons, which show many."""
        ...

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """Writes what people want of a trained field (audio, a film) into ``folder``; returns what there is.

        ``result`` is what ``reconstruct`` gave for the field.
        """
        ...


def origin(
    task: Task, settings: FieldSettings, command: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What ``config.json`` and ``results.json`` begin with: what was done, with what, where and when.

    Args:
        task: the signal.
        settings: of the run or comparison.
        command: what the person typed.
        options: the settings that only this kind of signal takes.
    """
    return {
        "schema": 1,
        "task": task.kind,
        "unit": task.unit,
        "options": options or {},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "signal": task.describe(),
        "settings": asdict(settings),
        "device": devices.describe(devices.choose(settings.device)),
        "versions": devices.versions(),
    }


def batch_size_for(task: Task, sampler: str) -> int:
    """The batch size by default: the task's ``batch_size``, or that of a sampler's word for the signal."""
    return task.batch_size or default_batch_size(sampler, task.signal.domain)


def finite(evaluation: Evaluation, trainer: Trainer) -> Evaluation:
    """An evaluation of the field of ``trainer`` as it is; raises Diverged where a prediction was not finite."""
    if math.isnan(evaluation.psnr):
        raise Diverged(trainer.step)
    return evaluation


def mean_error(values: Array, target: Array) -> Array:
    """Mean absolute error over channels, (h, w), of two images (h, w, C)."""
    return np.abs(values - target).mean(-1)
