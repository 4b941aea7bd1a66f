"""Fits one signal, from settings to a finished run folder."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors import SafetensorError
from torch import nn

from softmine.errors import ArgumentError, SoftmineError
from softmine.formatting import clock, decibels
from softmine.runs import checkpoint, images
from softmine.runs.build import build_run, with_batch_size
from softmine.runs.interrupt import Interrupted
from softmine.runs.os_errors import first_line, sentence
from softmine.runs.progress import Progress
from softmine.runs.run_folder import RunFolder
from softmine.runs.task import Evaluation, Evaluator, Task, finite, origin
from softmine.training import devices
from softmine.training.budget import evaluation_points
from softmine.training.settings import FitSettings
from softmine.training.trainer import Diverged, Point, Trainer, evaluate_now, train_and_evaluate

SAVE_WHEN_EVALUATED = 5.0
"""Seconds after a checkpoint from which an evaluation is followed by another, so that little good work is lost."""


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
    config = origin(task, settings, command, options)
    return RunFolder.create(path, {**config, "signal": _describe(task), "seed": settings.seed})


def _describe(task: Task) -> dict[str, Any]:
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

    Resumes from the newest checkpoint in the folder, where there is one. The status says how it ended, whatever the
    reason; a run that cannot be resumed is left as it was.

    Args:
        run: its folder.
        prepared: what trains.
        console: where progress is shown.
        interrupted: whether a person wants to stop.
        resumed: the command that resumes the run.

    Raises:
        SoftmineError: a checkpoint is damaged, more than the budget is spent, or one part of it was raised while another
            is spent.
    """
    trainer, settings = prepared.trainer, prepared.settings
    if run.checkpoints:
        checkpoint.load(run.checkpoints[-1], trainer)
        _check_budget(run, trainer, settings)
    loop = _Fit(run, prepared, console)
    try:
        run.rewind(trainer.step)
        parameters = sum(p.numel() for p in trainer.field.parameters())
        # The machine that resumes it may be another one.
        machine = {"device": devices.describe(trainer.device), "versions": devices.versions()}
        again = [{"command": resumed, **machine}] if resumed and trainer.progress < 1 else []
        run.set_config(
            {
                **run.config,
                "signal": _describe(prepared.task),
                "settings": asdict(settings),
                "parameters": parameters,
                "resumed": [*run.config.get("resumed", []), *again],
            }
        )
        console.print(
            f"{settings.field} with {parameters:,} parameters, {settings.sampler} sampler, "
            f"batch {trainer.sampler.batch_size:,}, on {trainer.device}; {prepared.evaluator.describe()}",
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
    """Raises SoftmineError if fewer seconds are given than are spent, or more steps where the seconds are, or the reverse."""
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


class _Fit:
    """One run in progress: the loop, and all that happens beside it."""

    def __init__(self, run: RunFolder, prepared: Prepared, console: Console) -> None:
        self.run, self.task, self.trainer = run, prepared.task, prepared.trainer
        self.evaluator, self.settings, self.console = prepared.evaluator, prepared.settings, console
        self.saved_at, self.saved = time.monotonic(), (-1, -1)
        self.progress = Progress(console, steps=prepared.settings.steps)

    def train(self, interrupted: Interrupted) -> tuple[str, str]:
        """Trains and evaluates to the end; returns the state and a sentence."""
        trainer = self.trainer
        if trainer.progress < 1:
            self._set_status("running")
        shares = evaluation_points(self.settings.evaluations)
        try:
            with self.progress:
                for point in train_and_evaluate(
                    trainer, shares, self._measure, lambda: self._pause(interrupted)
                ):
                    if point is not None:
                        self._note(point)
                    if self._checkpoint_due(evaluated=point is not None):
                        self._save()
                    if interrupted():
                        break
                if trainer.step == 0 and self.run.is_new:
                    return "interrupted", ""
                if not self.run.metrics or self.run.metrics[-1]["step"] < trainer.step:
                    self._note(evaluate_now(trainer, self._measure))
                self._save()
        except Diverged as error:
            return self._recover(error)
        if trainer.progress < 1.0:
            return (
                "interrupted",
                f"interrupted at step {trainer.step:,}; continue with --resume {self.run.path}",
            )
        return "finished", ""

    def finish(self, state: str, message: str, interrupted: Interrupted = lambda: False) -> str:
        """Writes the images and the final status; an output that takes long can be interrupted, alone.

        Returns:
            the sentence of the status: ``message``, or that the output was interrupted.
        """
        trainer, run = self.trainer, self.run
        before = interrupted()

        def report(share: float) -> None:
            self.progress.wait(f"writing the images {share:.0%}")

        def report_output(share: float) -> None:
            report(share)
            if interrupted() and not before:
                raise KeyboardInterrupt

        folder, result, outputs = run.path / "images", None, []
        with self.progress:
            try:
                result = self.task.reconstruct(trainer.field, trainer.device, report=report_output)
                outputs = self.task.write_output(trainer.field, result, folder, trainer.device, report_output)
            except KeyboardInterrupt:
                message = message or "interrupted while it wrote every value: the report does without"
            if result is None:
                result = self.task.reconstruct(trainer.field, trainer.device, small=True, report=report)
            images.write_images(result, outputs, trainer.record, folder)
        self.console.print(self._summary(result.psnr), soft_wrap=True)
        if trainer.step and (remark := trainer.sampler.remark()):
            self.console.print(f"{self.settings.sampler}: {remark}", soft_wrap=True)
        if result.psnr is None:
            self.console.print(f"images: {result.note}", soft_wrap=True)
        for output in outputs:
            self.console.print(f"{output.label}: {folder / output.file}", soft_wrap=True)
        run.set_status(state, trainer.step, trainer.clock.seconds, message, psnr_in_all=result.psnr)
        return message

    def _summary(self, psnr: float | None) -> str:
        """What was trained and how good it is; ``psnr`` is over the whole signal, where it was measured."""
        text = f"step {self.trainer.step:,}, {clock(self.trainer.clock.seconds)} of training"
        if not self.run.metrics:
            return text
        last = self.run.metrics[-1]
        if psnr is not None:
            domain = {"cells": self.task.signal.domain.cells, "unit": self.task.unit}
            measured = self.task.describe().get("measured") or domain
            text += f": PSNR {decibels(psnr)} over all {measured['cells']:,} {measured['unit']}"
        else:
            # JSON has no infinity: an exact fit that was resumed is null.
            found = math.inf if last["psnr"] is None else last["psnr"]
            text += f": PSNR {decibels(found)}" + (" on the subset" if last["subset"] else "")
        return text if last["ssim"] is None else f"{text}, SSIM {last['ssim']:.4f}"

    def _pause(self, interrupted: Interrupted) -> bool:
        trainer = self.trainer
        self.progress.tick(trainer.step, trainer.samples, trainer.clock.seconds, trainer.progress)
        return interrupted() or self._checkpoint_due()

    def _checkpoint_due(self, *, evaluated: bool = False) -> bool:
        every = self.settings.checkpoint_every
        # Never twice at one step: a save that takes longer than the interval would leave no time to train.
        if every == 0 or self.trainer.step == self.saved[0]:
            return False
        if evaluated and not self.run.checkpoints:
            return True
        return time.monotonic() - self.saved_at >= (min(every, SAVE_WHEN_EVALUATED) if evaluated else every)

    def _measure(self, field: nn.Module) -> Evaluation:
        self.progress.say("evaluating")
        return finite(self.evaluator(field), self.trainer)

    def _note(self, point: Point[Evaluation]) -> None:
        """Adds an evaluation to the metrics."""
        trainer, result = self.trainer, point.value
        step_ms, sampler_ms = trainer.timer.medians()
        self.run.add_metrics(
            {
                "step": point.step,
                "seconds": round(point.seconds, 4),
                "psnr": result.psnr,
                "ssim": result.ssim,
                "loss": point.loss,
                "samples": trainer.samples,
                "evaluated": result.samples,
                "subset": result.subset,
                "step_ms_median": step_ms,
                "sampler_ms_median": sampler_ms,
                **result.more,
            }
        )
        self._set_status("running")
        self.progress.evaluated(point.step, trainer.samples, point.seconds, trainer.progress, result.psnr)

    def _save(self) -> None:
        """Writes a checkpoint, unless nothing has happened since the last.

        Raises:
            Diverged: the field has parameters that are not finite: there is nothing good to keep.
            SoftmineError: the file cannot be written.
        """
        trainer = self.trainer
        self.progress.say("writing a checkpoint")
        if not all(bool(parameter.isfinite().all()) for parameter in trainer.field.parameters()):
            raise Diverged(trainer.step)
        file = self.run.checkpoint_path(trainer.step)
        now = (trainer.step, len(self.run.metrics))
        try:
            if now != self.saved:
                checkpoint.save(file, trainer)
        except SafetensorError as error:
            raise SoftmineError(f"cannot write the checkpoint {file}: {first_line(error)}") from error
        self.run.drop_old_checkpoints()
        self._set_status("running")
        self.saved_at, self.saved = time.monotonic(), now

    def _recover(self, error: Diverged) -> tuple[str, str]:
        """Goes back to the last good checkpoint, so that what is written shows a working field."""
        kept = "there was no checkpoint before it"
        self.trainer = build_run(self.task, self.settings, self.trainer.device)
        if self.run.checkpoints:
            checkpoint.load(self.run.checkpoints[-1], self.trainer)
            kept = f"the last good checkpoint, step {self.trainer.step:,}, is kept"
        self.run.rewind(self.trainer.step)
        # Its learning rate is part of a run, so resuming cannot help.
        message = f"the loss turned NaN or infinite at step {error.step:,}: start a new run with a lower --learning-rate"
        return "stopped-nan", f"{message} ({kept})"

    def note_failure(self, error: BaseException) -> None:
        """Says in the status that the run ended here, if the disk still takes it."""
        stopped = isinstance(error, KeyboardInterrupt)
        message = "" if stopped else sentence(error) or f"{type(error).__name__}: {first_line(error)}"
        with contextlib.suppress(OSError, SoftmineError):
            self._set_status("interrupted" if stopped else "failed", message)

    def _set_status(self, state: str, message: str = "") -> None:
        self.run.set_status(state, self.trainer.step, self.trainer.clock.seconds, message)
