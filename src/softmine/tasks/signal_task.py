"""What tasks of all kinds have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import nn

from softmine import fields
from softmine.signals import Signal
from softmine.training.settings import FieldSettings


@runtime_checkable
class FileSignal(Signal, Protocol):
    """A signal that may come from a file.

    Attributes:
        path: the file, or None for a built-in signal.
    """

    path: Path | None


S = TypeVar("S", bound=FileSignal)


class SignalTask(Generic[S]):
    """The part of a ``Task`` (see ``training/task.py``) that is the same for most kinds.

    Args:
        signal: what is learned.
    """

    kind: str
    unit: str
    snaps = True
    batch_size: int | None = None

    def __init__(self, signal: S) -> None:
        self.signal = signal

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its signal."""
        return identity(self.signal, self.signal.path)

    def make_field(self, settings: FieldSettings) -> nn.Module:
        """An untrained field over the signal's axes."""
        return fields.create(
            settings.field,
            self.signal.domain.shape,
            self.signal.channels,
            log2_table_size=settings.log2_table_size,
        )


def identity(signal: Signal, path: Path | None) -> dict[str, Any]:
    """What every ``Task.describe`` says: which signal it is."""
    return {
        "name": signal.name,
        "path": str(path) if path else None,
        "shape": [*signal.domain.shape, signal.channels],
        "fingerprint": signal.fingerprint,
    }
