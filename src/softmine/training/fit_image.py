"""Fits one picture, from settings to a finished run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from softmine.signals import Image
from softmine.training import checkpoint, devices
from softmine.training.environment import versions
from softmine.training.evaluation import Evaluator
from softmine.training.fit_loop import Fit, build
from softmine.training.interrupt import Interrupted
from softmine.training.run_folder import RunFolder
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

    trainer: Trainer
    evaluator: Evaluator


def prepare(image: Image, settings: FitSettings) -> Prepared:
    """Builds field, sampler and evaluator for a picture."""
    device = devices.choose(settings.device)
    image.to(device)
    return Prepared(build(image, settings, device), Evaluator(image, device))


def new_run(path: Path, image: Image, settings: FitSettings, command: str) -> RunFolder:
    """Creates the folder of a new run."""
    device = devices.choose(settings.device)
    config = {
        "schema": 1,
        "task": "image",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "signal": describe(image),
        "settings": asdict(settings),
        "seed": settings.seed,
        "device": devices.describe(device),
        "versions": versions(),
    }
    return RunFolder.create(path, config)


def describe(image: Image) -> dict[str, Any]:
    """What a run must remember of its picture."""
    return {
        "name": image.name,
        "path": str(image.path.absolute()) if image.path else None,
        "shape": list(image.shape),
        "dtype": image.dtype,
        "fingerprint": image.fingerprint,
        "value_range": list(image.value_range),
    }


def fit_image(
    run: RunFolder, prepared: Prepared, settings: FitSettings, console: Console, interrupted: Interrupted
) -> Outcome:
    """Trains until the budget is spent, the person interrupts, or the loss diverges; writes everything but the report.

    Goes on from the newest checkpoint in the folder, where there is one. The status says how it ended, whatever the
    reason.
    """
    trainer, evaluator = prepared.trainer, prepared.evaluator
    fit = Fit(run, trainer, evaluator, settings, console)
    try:
        existing = run.checkpoints
        if existing:
            checkpoint.load(existing[-1], trainer)
        run.rewind(trainer.step)
        parameters = sum(p.numel() for p in trainer.field.parameters())
        picture = describe(evaluator.image)
        run.set_config(
            {**run.config, "signal": picture, "settings": asdict(settings), "parameters": parameters}
        )
        console.print(
            f"{settings.field} with {parameters:,} parameters, {settings.sampler} sampler, "
            f"batch {trainer.sampler.batch_size:,}, on {trainer.device.type}; {evaluator.describe()}",
            soft_wrap=True,
        )
        state, message = fit.train(interrupted)
        if state == "interrupted" and fit.trainer.step == 0 and run.is_new:
            run.discard()
            return Outcome(run.path, state, "interrupted before the first step; nothing is kept")
        fit.finish(state, message)
    except BaseException as error:
        fit.note_failure(error)
        raise
    return Outcome(run.path, state, message)
