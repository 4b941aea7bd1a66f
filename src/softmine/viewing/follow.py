"""A run that is looked at, finished or still being written: its newest checkpoint, and how far it is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from softmine.domain import SoftmineError
from softmine.runs.checkpoint import Snapshot, read_snapshot
from softmine.runs.run_folder import RunFolder

ENDED = ("finished", "interrupted", "stopped-nan", "failed")
"""States in which nobody writes checkpoints any more."""


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        state: ``running``, ``finished``, ``paused`` and so on.
        step: of what is shown, or None where nothing is shown yet.
        seconds: of training, up to there.
        psnr: of the newest evaluation up to there, in dB, or None.
        measured: the step of that evaluation.
        curve: seconds and PSNR of all evaluations.
    """

    state: str
    step: int | None = None
    seconds: float | None = None
    psnr: float | None = None
    measured: int | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        state: str,
        evaluations: list[dict[str, Any]],
        step: int | None = None,
        seconds: float | None = None,
    ) -> Status:
        """The status at a step, from the lines of ``metrics.jsonl``."""
        curve = [(line["seconds"], _psnr(line)) for line in evaluations]
        past = [line for line in evaluations if step is not None and line["step"] <= step]
        measured = (_psnr(past[-1]), past[-1]["step"]) if past else (None, None)
        return cls(state, step, seconds, *measured, curve)


class Follower:
    """Tells what is new in a run folder that another process may be writing to.

    Args:
        run: the folder; nothing in it is changed.
        modules: where the tensors of a checkpoint go, by group: ``field`` and ``sampler``.
    """

    def __init__(self, run: RunFolder, **modules: nn.Module) -> None:
        self.run, self.modules = run, modules
        self.snapshot: Snapshot | None = None
        self._seen: tuple[str, int, int] | None = None

    def refresh(self) -> bool:
        """Takes up the newest checkpoint; says whether it is another than before.

        Raises:
            SoftmineError: it is damaged, or belongs to another field or sampler.
        """
        newest = self.run.checkpoints[-1:]
        if not newest:
            return False
        try:
            about = newest[0].stat()
            seen = (newest[0].name, about.st_mtime_ns, about.st_size)
            if seen == self._seen:
                return False
            snapshot = read_snapshot(newest[0])
        except FileNotFoundError:
            # The run has replaced it by a newer one in this moment, which is found next time.
            return False
        try:
            for group, module in self.modules.items():
                module.load_state_dict(snapshot.groups[group])
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise SoftmineError(f"the checkpoint {newest[0]} does not fit this run: {first}") from error
        self.snapshot, self._seen = snapshot, seen
        return True

    def check(self) -> None:
        """Raises SoftmineError where there is nothing to look at: no checkpoint and nobody who would write one, or a bad one."""
        self.refresh()
        if self.snapshot is None and self._state() in ENDED:
            raise SoftmineError(f"{self.run.path} has no checkpoint yet: train it first")

    def status(self) -> Status:
        """How far the run is, as its files say."""
        shown = self.snapshot
        lines = _metrics(self.run.path / "metrics.jsonl")
        if shown is None:
            return Status.of(self._state(), lines)
        return Status.of(self._state(), lines, shown.step, shown.seconds)

    def _state(self) -> str:
        try:
            return str(json.loads((self.run.path / "status.json").read_text(encoding="utf-8"))["state"])
        except (OSError, ValueError, TypeError, KeyError):
            return "starting"


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The evaluations of a run, without damaged lines."""
    lines = []
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and "psnr" in line:
            lines.append({"seconds": 0.0, **line})
    return lines


def _psnr(line: dict[str, Any]) -> float:
    """An exact fit has no finite PSNR, which JSON keeps as null."""
    return math.inf if line["psnr"] is None else float(line["psnr"])
