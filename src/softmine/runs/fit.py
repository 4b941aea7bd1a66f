"""Fits one signal, from settings to a finished run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from softmine.errors import ArgumentError
from softmine.runs import checkpoint
from softmine.runs.build import build_run, with_batch_size
from softmine.runs.environment import versions
from softmine.runs.fit_loop import Fit
from softmine.runs.interrupt import Interrupted
from softmine.runs.run_folder import RunFolder
from softmine.runs.task import Evaluator, Task
from softmine.training import devices
from softmine.training.settings import FitSettings
from softmine.training.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished``, ``interrupted`` or ``stopped-nan``, and a sentence about it.

    A new run that was interrupted before its first step has no folder any more.
    """

    folder: Path
    state: str
    message: str


@dataclass(frozen=True)
class Prepared:
    """What takes time and memory to make, and is made before there is a folder."""

    task: Task
    settings: FitSettings
    trainer: Trainer
    evaluator: Evaluator


def prepare(task: Task, settings: FitSettings) -> Prepared:
    """Builds field, sampler and evaluator for a signal; the settings get the batch size that is used."""
    device = devices.choose(settings.device)
    devices.move(task.signal, device)
    settings = with_batch_size(settings, task)
    return Prepared(task, settings, build_run(task, settings, device), task.make_evaluator(device))


def new_run(path: Path, prepared: Prepared, command: str, options: dict[str, Any] | None = None) -> RunFolder:
    """Creates the folder of a new run; ``options`` are those that only this kind of signal takes."""
    task, settings = prepared.task, prepared.settings
    device = devices.choose(settings.device)
    config = {
        "schema": 1,
        "task": task.kind,
        "unit": task.unit,
        "options": options or {},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "signal": describe(task),
        "settings": asdict(settings),
        "seed": settings.seed,
        "device": devices.describe(device),
        "versions": versions(),
    }
    return RunFolder.create(path, config)


def describe(task: Task) -> dict[str, Any]:
    """What a run must remember of its signal; its path is absolute, so that it is found from anywhere."""
    signal = task.describe()
    return {**signal, "path": str(Path(signal["path"]).absolute()) if signal["path"] else None}


def fit(
    run: RunFolder,
    prepared: Prepared,
    console: Console,
    interrupted: Interrupted,
    resumed: str | None = None,
) -> Outcome:
    """Trains until the budget is spent, the person interrupts, or the loss diverges; writes everything but the report.

    Goes on from the newest checkpoint in the folder, where there is one. The status says how it ended, whatever the
    reason; a run that cannot be resumed is left as it was.

    Args:
        run: its folder.
        prepared: what trains.
        console: where progress is shown.
        interrupted: tells whether a person wants to stop.
        resumed: the command that goes on with the run.

    Raises:
        SoftmineError: a checkpoint is damaged, more than the budget is spent, or one part of it was raised while another
            is spent.
    """
    trainer, evaluator, settings = prepared.trainer, prepared.evaluator, prepared.settings
    existing = run.checkpoints
    if existing:
        checkpoint.load(existing[-1], trainer)
        _check_budget(run, trainer, settings)
    loop = Fit(run, prepared.task, trainer, evaluator, settings, console)
    try:
        run.rewind(trainer.step)
        parameters = sum(p.numel() for p in trainer.field.parameters())
        # The machine that goes on may be another one.
        machine = {"device": devices.describe(trainer.device), "versions": versions()}
        again = [{"command": resumed, **machine}] if resumed and trainer.progress < 1 else []
        run.set_config(
            {
                **run.config,
                "signal": describe(prepared.task),
                "settings": asdict(settings),
                "parameters": parameters,
                "resumed": [*run.config.get("resumed", []), *again],
            }
        )
        console.print(
            f"{settings.field} with {parameters:,} parameters, {settings.sampler} sampler, "
            f"batch {trainer.sampler.batch_size:,}, on {trainer.device.type}; {evaluator.describe()}",
            soft_wrap=True,
        )
        state, message = loop.train(interrupted)
        if state == "interrupted" and loop.trainer.step == 0 and run.is_new:
            run.discard()
            return Outcome(run.path, state, "interrupted before the first step; nothing is kept")
        message = loop.finish(state, message, interrupted)
    except BaseException as error:
        loop.note_failure(error)
        raise
    return Outcome(run.path, state, message)


def _check_budget(run: RunFolder, trainer: Trainer, settings: FitSettings) -> None:
    """Raises SoftmineError if fewer seconds are asked for than are spent, or more steps where the seconds are, or the reverse."""
    before = run.config["settings"]
    spent = {"steps": trainer.step, "seconds": trainer.clock.seconds}
    raised = [name for name in spent if getattr(settings, name) != before.get(name)]
    if "seconds" in raised and settings.seconds is not None and settings.seconds < trainer.clock.seconds:
        raise ArgumentError(
            "{seconds} is {given:g}, but the run in {folder} has already trained for {trained:.2f} s: give more than that",
            given=settings.seconds,
            folder=run.path,
            trained=trainer.clock.seconds,
        )
    for name, used in spent.items():
        limit = getattr(settings, name)
        if raised and name not in raised and limit is not None and used >= limit:
            raise ArgumentError(
                f"the run in {{folder}} has spent its {{{name}}} {limit}, so that more {{{raised[0]}}} change nothing: "
                f"raise {{{name}}}, too",
                folder=run.path,
            )
