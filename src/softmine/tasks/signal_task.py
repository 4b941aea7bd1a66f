"""What tasks of all kinds have in common, and what some can do besides."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from softmine import fields
from softmine.errors import ArgumentError
from softmine.runs.task import Evaluator, Report
from softmine.signals import Signal
from softmine.signals.corruptions import Corruption, corrupt
from softmine.tasks import KINDS, builtin_name
from softmine.tasks.evaluation import CellEvaluator
from softmine.training import devices
from softmine.training.settings import FieldSettings


@runtime_checkable
class FileSignal(Signal, Protocol):
    """A signal that may come from a file.

    Attributes:
        path: the file or folder, or None for a built-in signal.
    """

    path: Path | None


S = TypeVar("S", bound=FileSignal)


class SignalTask(Generic[S]):
    """A ``Task`` (see ``runs/task.py``) as far as it is the same for most kinds.

    Args:
        signal: what is measured, and what is learned too, unless that is corrupted.
        corruption: how what is learned is made dirty; None where it is not.

    Attributes:
        signal: what is learned.
        clean: what quality is measured against: the signal before its corruption.
    """

    kind: str
    unit: str
    snaps = True
    batch_size: int | None = None

    def __init__(self, signal: S, corruption: Corruption | None = None) -> None:
        self.clean, self.corruption = signal, corruption
        self.signal: S = signal if corruption is None else corrupt(signal, corruption)

    def clean_on(self, device: torch.device) -> S:
        """The clean signal, on a device, where it is another than the one that is learned."""
        if self.clean is not self.signal:
            devices.move(self.clean, device)
        return self.clean

    @property
    def measured_unit(self) -> str:
        """What the cells are called that quality is measured in: ``pixels``, or ``pixels of the clean signal``."""
        return self.unit + (" of the clean signal" if self.corruption else "")

    @property
    def dirt(self) -> str:
        """What follows the signal's size where it is corrupted: ``; corrupted: JPEG at quality 30``."""
        return f"; corrupted: {self.corruption.text}" if self.corruption else ""

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its signal."""
        signal, corruption = self.signal, self.corruption
        found = {
            "name": signal.name,
            "path": str(signal.path) if signal.path else None,
            "shape": [*signal.domain.shape, signal.channels],
            "valid": signal.domain.valid,
            "fingerprint": signal.fingerprint,
        }
        if corruption:
            found["corruption"] = {**asdict(corruption), "text": corruption.text}
        return found

    def make_field(self, settings: FieldSettings) -> nn.Module:
        """An untrained field over the signal's axes."""
        return fields.create(
            settings.field,
            self.signal.domain.shape,
            self.signal.channels,
            log2_table_size=settings.log2_table_size,
            **self.field_options(),
        )

    def field_options(self) -> dict[str, Any]:
        """Further arguments of the field that are good for this kind of signal."""
        return {}

    def make_evaluator(self, device: torch.device) -> Evaluator:
        """PSNR at the centers of the signal's cells."""
        return CellEvaluator(self.clean_on(device), self.measured_unit, device)


def without_data(signal: Signal) -> str:
    """How much of a signal holds no data: ``, 17% without data``; nothing where all of it does."""
    domain = signal.domain
    return f", {100 - 100 * domain.valid / domain.cells:.2g}% without data" if domain.masked else ""


def parse_corruption(word: str | None, kind: str) -> Corruption | None:
    """What a person gave for the corruption of a kind of signal; None where nothing is corrupted.

    Raises:
        ArgumentError: there is no such corruption, or it does not suit the kind.
    """
    if word is None:
        return None
    corruption = Corruption.parse(word)
    corruption.check_suits(kind, KINDS[kind].noun)
    return corruption


def read_signal(signal: Any, path: str | None, default: str, **options: Any) -> Any:
    """The signal that a PATH names: a file, ``builtin:NAME``, or the built-in one called ``default`` for None.

    Args:
        signal: the signal's class.
        path: what a person gave.
        default: the name of a built-in signal.
        **options: further arguments of ``read`` and ``builtin``.

    Raises:
        SoftmineError: there is none, or it cannot be read.
    """
    name = builtin_name(path, default)
    return signal.read(str(path), **options) if name is None else signal.builtin(name, **options)


def read_with_gaps(signal: Any, path: str | None, default: str, nodata: float | None) -> Any:
    """As ``read_signal``, with a value of files that means "no data", instead of the one that they declare.

    Raises:
        SoftmineError: there is none, it cannot be read, or it is not from a file.
    """
    if nodata is None:
        return read_signal(signal, path, default)
    if builtin_name(path, default) is not None:
        raise ArgumentError("{nodata} is for values from files: give a PATH")
    return signal.read(str(path), nodata=nodata)


@runtime_checkable
class ExportsMesh(Protocol):
    """A task whose field can be written as a mesh."""

    def export(
        self, field: nn.Module, path: Path, device: torch.device, resolution: int, report: Report
    ) -> str:
        """Writes ``field`` to ``path``, as its name's end says, from ``resolution``^3 cells; says what it wrote."""
        ...


@runtime_checkable
class ExportsRadiance(Protocol):
    """A task whose fields are made of density, seen from somewhere."""

    def export(
        self,
        field: nn.Module,
        path: Path,
        device: torch.device,
        resolution: int,
        report: Report,
        *,
        level: float | None,
        smallest: int,
    ) -> str:
        """As of ``ExportsMesh``: the surface at a density, without pieces of fewer triangles than ``smallest``."""
        ...

    def export_points(
        self, field: nn.Module, path: Path, device: torch.device, count: int, report: Report
    ) -> str:
        """Writes at most ``count`` points of what is seen to ``path``; says what it wrote."""
        ...
