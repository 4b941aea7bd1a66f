"""What may change when a run is resumed, and whether it can be."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from softmine import tasks
from softmine.cli.complain import flag
from softmine.cli.kinds import read
from softmine.errors import SoftmineError
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
    settings = run.config["settings"]
    hints = get_type_hints(FitSettings)
    for name, value in settings.items():
        if name in hints and not _is_of(value, hints[name]):
            raise SoftmineError(f"{file} is damaged: its setting '{name}' is {json.dumps(value)}")
    try:
        return FitSettings(**settings)
    except TypeError as error:
        raise SoftmineError(
            f"{file} was written by another version of softmine and cannot be resumed: {error}"
        ) from error


def check_resumable(run: RunFolder, stored: FitSettings, settings: FitSettings, out: Path | None) -> None:
    """Raises SoftmineError if the flags beside ``--resume`` ask for what a resumed run cannot do."""
    if out and out.resolve() != run.path.resolve():
        raise SoftmineError("--resume continues in its own folder: leave out --out")
    for field in fields(FitSettings):
        before, now = getattr(stored, field.name), getattr(settings, field.name)
        if before != now and field.name not in CHANGEABLE:
            name = flag(field.name)
            raise SoftmineError(f"a resumed run keeps its {name} {before}: start a new run for {name} {now}")
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
        SoftmineError: it is gone, it is another signal, or it is asked for with other options.
    """
    for field in fields(stored):
        before, now = getattr(stored, field.name), getattr(options, field.name)
        if before != now:
            name = flag(field.name)
            raise SoftmineError(f"a resumed run keeps its {name} {before}: start a new run for {name} {now}")
    signal = run.config["signal"]
    source = given or signal["path"] or tasks.BUILTIN + signal["name"]
    try:
        task = read(kind, source, options)
    except SoftmineError as error:
        if given is None and signal["path"] and not Path(signal["path"]).exists():
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


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has one of the types in ``hint``; whole numbers are numbers, truth values are not."""
    kinds = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)
