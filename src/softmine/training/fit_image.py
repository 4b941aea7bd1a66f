"""Fits one picture, from settings to a finished run folder."""

from __future__ import annotations

import math
import signal as signals_of_the_system
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from softmine.signals import Image
from softmine.training import checkpoint, devices, pictures
from softmine.training.budget import evaluation_points
from softmine.training.build import build_trainer
from softmine.training.environment import versions
from softmine.training.evaluation import Evaluator
from softmine.training.progress import Progress, duration
from softmine.training.run_folder import RunFolder
from softmine.training.settings import FitSettings
from softmine.training.trainer import Diverged, Trainer


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished``, ``interrupted`` or ``stopped-nan``, and a sentence about it."""

    folder: Path
    state: str
    message: str


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


def fit_image(run: RunFolder, image: Image, settings: FitSettings, console: Console) -> Outcome:
    """Trains until the budget is spent, the person interrupts, or the loss diverges; writes everything but the report.

    Goes on from the newest checkpoint in the folder, where there is one.
    """
    device = devices.choose(settings.device)
    image.to(device)
    trainer = build_trainer(
        image,
        settings,
        sampler=settings.sampler,
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=device,
    )
    evaluator = Evaluator(image, device)
    existing = run.checkpoints
    if existing:
        checkpoint.load(existing[-1], trainer)
    run.rewind(trainer.step)
    parameters = sum(p.numel() for p in trainer.field.parameters())
    run.set_config({**run.config, "settings": asdict(settings), "parameters": parameters})
    console.print(
        f"{settings.field} with {parameters:,} parameters, {settings.sampler} sampler, "
        f"batch {settings.batch_size:,}, on {device.type}; {evaluator.describe()}",
        soft_wrap=True,
        highlight=False,
    )
    fit = _Fit(run, trainer, evaluator, settings, console)
    with interruptible() as interrupted:
        state, message = fit.train(interrupted)
        fit.finish(state, message, interrupted)
    return Outcome(run.path, state, message)


class _Fit:
    """One run in progress."""

    def __init__(
        self,
        run: RunFolder,
        trainer: Trainer,
        evaluator: Evaluator,
        settings: FitSettings,
        console: Console,
    ) -> None:
        self.run, self.trainer, self.evaluator = run, trainer, evaluator
        self.settings, self.console = settings, console
        self.saved_at = time.monotonic()
        self.progress = Progress(console, steps=settings.steps, batch_size=settings.batch_size)

    def train(self, interrupted: Callable[[], bool]) -> tuple[str, str]:
        """Trains and evaluates to the end; returns the state and a sentence."""
        trainer = self.trainer
        points = [p for p in evaluation_points(self.settings.evaluations) if p > trainer.progress]
        if trainer.step == 0 or points:
            self._set_status("running")
        try:
            with self.progress:
                for point in points:
                    while trainer.progress < point and not interrupted():
                        trainer.advance(lambda point=point: self._pause(point, interrupted))
                        if self._checkpoint_due():
                            self._save()
                    if trainer.progress < point:
                        break
                    self._evaluate()
                if not self.run.metrics or self.run.metrics[-1]["step"] < trainer.step:
                    self._evaluate()
        except Diverged as error:
            return self._recover(error)
        self._save()
        if trainer.progress < 1.0:
            message = f"interrupted at step {trainer.step:,}; continue with --resume {self.run.path}"
            return "interrupted", message
        return "finished", ""

    def finish(self, state: str, message: str, interrupted: Callable[[], bool]) -> None:
        """Writes the pictures and the final status."""
        trainer, run = self.trainer, self.run

        def report(share: float) -> None:
            self.progress.say(f"writing the pictures {share:.0%}")

        with self.progress:
            result = pictures.reconstruct(trainer.field, self.evaluator.image, trainer.device, report=report)
            pictures.write_pictures(result, self.evaluator.image, trainer.record, run.path / "images")
        last = run.metrics[-1] if run.metrics else None
        summary = f"step {trainer.step:,}, {duration(trainer.clock.seconds)} of training"
        if last:
            summary += f": PSNR {result.psnr:.2f} dB" if result.full else f": PSNR {last['psnr']:.2f} dB"
            summary += (
                f" over all {self.evaluator.image.domain.cells:,} pixels" if result.full else " on the subset"
            )
            if last["ssim"] is not None:
                summary += f", SSIM {last['ssim']:.4f}"
        self.console.print(summary, soft_wrap=True, highlight=False)
        psnr = result.psnr if result.full else None
        run.set_status(state, trainer.step, trainer.clock.seconds, message, psnr_all_pixels=psnr)

    def _pause(self, point: float, interrupted: Callable[[], bool]) -> bool:
        trainer = self.trainer
        self.progress.tick(trainer.step, trainer.clock.seconds, trainer.progress)
        return interrupted() or trainer.progress >= point or self._checkpoint_due()

    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.settings.checkpoint_every > 0

    def _evaluate(self) -> None:
        trainer = self.trainer
        trainer.record.close(trainer.step)
        self.progress.say("evaluating")
        result = self.evaluator(trainer.field)
        if math.isnan(result.psnr):
            raise Diverged(trainer.step)
        step_ms, sampler_ms = trainer.timer.medians()
        self.run.add_metrics(
            {
                "step": trainer.step,
                "seconds": round(trainer.clock.seconds, 4),
                "psnr": result.psnr,
                "ssim": result.ssim,
                "loss": trainer.loss.item(),
                "samples": trainer.samples,
                "pixels": result.pixels,
                "subset": result.subset,
                "step_ms_median": step_ms,
                "sampler_ms_median": sampler_ms,
            }
        )
        self.progress.evaluated(trainer.step, trainer.clock.seconds, trainer.progress, result.psnr)

    def _save(self) -> None:
        self.progress.say("writing a checkpoint")
        checkpoint.save(self.run.checkpoint_path(self.trainer.step), self.trainer)
        self.run.drop_old_checkpoints()
        self.saved_at = time.monotonic()

    def _recover(self, error: Diverged) -> tuple[str, str]:
        """Goes back to the last good checkpoint, so that what is written shows a working field."""
        good = self.run.checkpoints
        fresh = build_trainer(
            self.evaluator.image,
            self.settings,
            sampler=self.settings.sampler,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            device=self.trainer.device,
        )
        if good:
            checkpoint.load(good[-1], fresh)
            kept = f"the last good checkpoint, step {fresh.step:,}, is kept"
        else:
            kept = "there was no checkpoint before it"
        self.trainer = fresh
        return "stopped-nan", f"{error}; {kept}"

    def _set_status(self, state: str) -> None:
        self.run.set_status(state, self.trainer.step, self.trainer.clock.seconds)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C or a termination signal has come; a second one stops at once."""
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    kinds = (signals_of_the_system.SIGINT, signals_of_the_system.SIGTERM)
    before = {kind: signals_of_the_system.signal(kind, note) for kind in kinds}
    try:
        yield lambda: came
    finally:
        for kind, handler in before.items():
            signals_of_the_system.signal(kind, handler)
