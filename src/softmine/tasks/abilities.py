"""What some tasks can do besides what every ``Task`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from softmine.runs.task import Report


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
