"""Runs that are there already: what they were made from, and what may change when they are resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import nn

from softmine import tasks
from softmine.checks import is_of
from softmine.cli.complain import flag
from softmine.cli.flags import read
from softmine.errors import SoftmineError
from softmine.runs.checkpoint import load_field
from softmine.runs.interrupt import Interrupted, at_once
from softmine.runs.run_folder import RunFolder
from softmine.runs.task import Task
from softmine.training.settings import FitSettings

CHANGEABLE = ("steps", "seconds", "evaluations", "checkpoint_every", "device")


def stored_settings(run: RunFolder, kind: str) -> FitSettings:
    """The settings that a run was started with.

    Raises:
        SoftmineError: it is a run of another kind of signal, or another version or another program wrote its settings.
    """
    file = run.path / "config.json"
    there = run.config.get("task")
    if there != kind:
        raise SoftmineError(
            f"{run.path} is a run of softmine fit {there}, not of softmine fit {kind}: resume it with that command"
        )
    if not isinstance(run.config.get("resumed", []), list):
        raise SoftmineError(f"{file} is damaged: 'resumed' is {json.dumps(run.config['resumed']):.60}")
    settings = run.config["settings"]
    hints = get_type_hints(FitSettings)
    for name, value in settings.items():
        if name in hints and not is_of(value, hints[name]):
            raise SoftmineError(f"{file} is damaged: its setting '{name}' is {json.dumps(value)}")
    try:
        return FitSettings(**settings)
    except TypeError as error:
        raise SoftmineError(
            f"{file} was written by another version of softmine and cannot be resumed: {error}"
        ) from error


def check_resumable(run: RunFolder, stored: FitSettings, settings: FitSettings, out: Path | None) -> None:
    """Raises SoftmineError if the flags beside ``--resume`` need what a resumed run cannot do."""
    if out and out.resolve() != run.path.resolve():
        raise SoftmineError("--resume continues in its own folder: leave out --out")
    _check_kept(stored, settings, CHANGEABLE)
    if settings.steps is not None and settings.steps < run.done:
        raise SoftmineError(
            f"--steps is {settings.steps}, but the run in {run.path} has already done {run.done}: give at least that"
        )


def stored_options(run: RunFolder, kind: str) -> Any:
    """The flags that only ``kind`` takes, as the run or comparison in a folder was started with."""
    options = run.config.get("options")
    return tasks.options_of(options if isinstance(options, dict) else {}, kind, str(run.path))


def same_signal(run: RunFolder, kind: str, given: str | None, stored: Any, options: Any) -> Task:
    """The signal of a run, from where it was or from the PATH given now.

    Raises:
        SoftmineError: it is gone, it is another signal, or the options are others.
    """
    _check_kept(stored, options)
    signal = run.config["signal"]
    source = given or signal.get("path") or tasks.BUILTIN + signal["name"]
    try:
        task = read(kind, source, options)
    except SoftmineError as error:
        if given is None and signal.get("path") and not Path(signal.get("path")).exists():
            raise SoftmineError(
                f"the file of this run is gone from {signal['path']}: give its new PATH beside --resume, or other commands its --path"
            ) from error
        raise
    if task.signal.fingerprint != signal["fingerprint"]:
        raise SoftmineError(
            f"{source} is not the {tasks.KINDS[kind].noun} that the run in {run.path} was started with "
            f"({task.describe()['shape']} against {signal.get('shape')}, other contents): give the PATH of that"
        )
    return task


def trained(
    run: RunFolder, path: Path | None, device: torch.device, interrupted: Interrupted
) -> tuple[Task, nn.Module]:
    """The signal of a run, from ``path`` where it has moved, and the field that learned it, in evaluation mode.

    Raises:
        SoftmineError: the run has no checkpoint, or its files or its signal cannot be read.
    """
    if not run.checkpoints:
        raise SoftmineError(f"{run.path} has no checkpoint yet: train it first")
    task, settings = stored_task(run, path, interrupted)
    field = task.make_field(settings)
    load_field(run.checkpoints[-1], field)
    return task, field.to(device).eval()


def stored_task(run: RunFolder, path: Path | None, interrupted: Interrupted) -> tuple[Task, FitSettings]:
    """The signal of a run, from ``path`` where it has moved, and the run's settings."""
    kind = str(run.config.get("task"))
    settings, options = stored_settings(run, kind), stored_options(run, kind)
    with at_once(interrupted):
        return same_signal(run, kind, str(path) if path else None, options, options), settings


def _check_kept(stored: Any, now: Any, changeable: Sequence[str] = ()) -> None:
    """Raises SoftmineError where a setting that a resumed run keeps is another one now."""
    for field in fields(stored):
        before, after, name = getattr(stored, field.name), getattr(now, field.name), flag(field.name)
        if before != after and field.name not in changeable:
            raise SoftmineError(
                f"a resumed run keeps its {name} {before}: start a new run for {name} {after}"
            )
