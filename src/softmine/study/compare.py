"""Compares samplers on one picture: the same field, the same clock, runs interleaved in short slices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import arg

from softmine.domain import SoftmineError
from softmine.sampling import check_spec
from softmine.sampling.protocol import check_batch_size
from softmine.signals import Image
from softmine.study.summary import summarize
from softmine.training import devices, pictures
from softmine.training.budget import evaluation_points
from softmine.training.build import build_trainer
from softmine.training.environment import versions
from softmine.training.evaluation import Evaluator
from softmine.training.files import write_json
from softmine.training.progress import Progress
from softmine.training.settings import FieldSettings
from softmine.training.trainer import Diverged, Trainer

SLICES = 40
PICTURE_PIXELS = 2**21


@dataclass(frozen=True)
class CompareSettings(FieldSettings):
    """What is compared with what."""

    samplers: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ("uniform", "langevin")
    """Samplers to compare; uniform is the baseline. Options follow a colon: langevin:alpha=0.8,prior=edges."""
    batch_sizes: Annotated[tuple[int, ...], arg(metavar="N ...")] = (2048,)
    """Coordinates a step; every sampler runs at every size."""
    seeds: Annotated[int, arg(metavar="K")] = 1
    """Repeat everything with this many seeds: 0, 1, ..."""

    def check(self) -> None:
        """Raises SoftmineError if a setting is out of range."""
        super().check()
        if not self.samplers or not self.batch_sizes:
            raise SoftmineError("a comparison needs at least one sampler and one batch size")
        for sampler in self.samplers:
            check_spec(sampler)
        for batch_size in self.batch_sizes:
            check_batch_size(batch_size)
        for name, values in (("--samplers", self.samplers), ("--batch-sizes", self.batch_sizes)):
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise SoftmineError(f"{name} names {', '.join(twice)} twice")
        if not 1 <= self.seeds <= 1000:
            raise SoftmineError(f"--seeds is {self.seeds}: give how many seeds to run, 1 to 1000")


class Contestant:
    """One run of a comparison, advanced a slice at a time."""

    def __init__(self, trainer: Trainer, evaluator: Evaluator, sampler: str, seed: int, points: int) -> None:
        self.trainer, self.evaluator = trainer, evaluator
        self.sampler, self.seed = sampler, seed
        self.points = evaluation_points(points)
        self.curve: list[dict[str, Any]] = []
        self.diverged_at: int | None = None

    @property
    def done(self) -> bool:
        """Whether all evaluations are made, or the loss has diverged."""
        return not self.points

    def advance(self, share: float, interrupted: Callable[[], bool]) -> None:
        """Trains for ``share`` of the budget, or to the next evaluation, which is then made with the clock stopped."""
        trainer = self.trainer
        target = min(self.points[0], trainer.progress + share)
        try:
            trainer.advance(lambda: interrupted() or trainer.progress >= target)
        except Diverged as error:
            self.diverged_at, self.points = error.step, []
            return
        if self.points and trainer.progress >= self.points[0]:
            while self.points and trainer.progress >= self.points[0]:
                self.points.pop(0)
            self.evaluate()

    def evaluate(self) -> None:
        """Adds a point to the curve."""
        trainer = self.trainer
        trainer.record.close(trainer.step)
        result = self.evaluator(trainer.field)
        if math.isnan(result.psnr):
            self.diverged_at, self.points = trainer.step, []
            return
        point = {"step": trainer.step, "seconds": round(trainer.clock.seconds, 4)}
        self.curve.append({**point, "psnr": result.psnr, "ssim": result.ssim})

    def result(self) -> dict[str, Any]:
        """The run as ``results.json`` has it."""
        step_ms, sampler_ms = self.trainer.timer.medians()
        return {
            "sampler": self.sampler,
            "seed": self.seed,
            "batch_size": self.trainer.sampler.batch_size,
            "steps": self.trainer.step,
            "train_seconds": round(self.trainer.clock.seconds, 4),
            "step_ms_median": step_ms,
            "sampler_ms_median": sampler_ms,
            "peak_rss_mb": devices.peak_memory_mb(),
            "finished": self.done and self.diverged_at is None,
            "diverged_at": self.diverged_at,
            "curve": self.curve,
        }


def compare_image(
    folder: Path,
    image: Image,
    settings: CompareSettings,
    console: Console,
    *,
    command: str,
    interrupted: Callable[[], bool],
) -> dict[str, Any]:
    """Runs the comparison and writes ``results.json`` and pictures into ``folder``; returns the results.

    For one seed all samplers train in turns, a fortieth of the budget each, and the order turns by one every round,
    so that a noisy machine slows all alike. ``results.json`` is written again after every seed.
    """
    device = devices.choose(settings.device)
    image.to(device)
    evaluator = Evaluator(image, device)
    results: dict[str, Any] = {
        "schema": 1,
        "task": "image",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "signal": {"name": image.name, "shape": list(image.shape)},
        "settings": asdict(settings),
        "measured": evaluator.describe(),
        "density_range": [1 / pictures.DENSITY_RANGE, pictures.DENSITY_RANGE],
        "device": devices.describe(device),
        "versions": versions(),
        "complete": False,
        "runs": [],
        "summary": [],
    }
    (folder / "images").mkdir(parents=True, exist_ok=True)
    total = len(settings.samplers) * len(settings.batch_sizes) * settings.seeds
    console.print(f"{total} runs on {device.type}; {evaluator.describe()}", soft_wrap=True)
    for seed in range(settings.seeds):
        contestants = [
            Contestant(
                build_trainer(image, settings, sampler=name, batch_size=size, seed=seed, device=device),
                evaluator,
                name,
                seed,
                settings.evaluations,
            )
            for size in settings.batch_sizes
            for name in settings.samplers
        ]
        _race(contestants, settings, console, seed, interrupted)
        runs = [contestant.result() for contestant in contestants if contestant.trainer.step]
        if seed == 0:
            _write_pictures(folder, image, contestants, runs)
        results["runs"] += runs
        results["summary"] = summarize(results["runs"])
        results["complete"] = seed + 1 == settings.seeds and not interrupted()
        write_json(folder / "results.json", results)
        if interrupted():
            break
    return results


def _race(
    contestants: list[Contestant],
    settings: CompareSettings,
    console: Console,
    seed: int,
    interrupted: Callable[[], bool],
) -> None:
    """Trains all contestants of one seed in turns."""
    turn = 0
    with Progress(console, steps=None, batch_size=0) as progress:
        while not interrupted() and any(not c.done for c in contestants):
            start = turn % len(contestants)
            for contestant in contestants[start:] + contestants[:start]:
                if contestant.done or interrupted():
                    continue
                label = f"seed {seed}  {contestant.sampler}  batch {contestant.trainer.sampler.batch_size:,}"
                progress.say(f"{label}  {contestant.trainer.progress:.0%}{_latest(contestant)}")
                evaluations = len(contestant.curve)
                contestant.advance(1 / SLICES, interrupted)
                if len(contestant.curve) > evaluations:
                    progress.line(f"{label}  {contestant.trainer.progress:4.0%}{_latest(contestant)}")
            turn += 1


def _latest(contestant: Contestant) -> str:
    if not contestant.curve:
        return ""
    point = contestant.curve[-1]
    return f"  step {point['step']:,}  PSNR {point['psnr']:.2f} dB"


def _write_pictures(
    folder: Path, image: Image, contestants: list[Contestant], runs: list[dict[str, Any]]
) -> None:
    """Writes reconstruction, error and samples of each contestant; one error scale for all, so that they compare."""
    images = folder / "images"
    scale: float | None = None
    trained = [contestant for contestant in contestants if contestant.trainer.step]
    for contestant, run in zip(trained, runs, strict=True):
        if contestant.diverged_at is not None:
            continue
        trainer = contestant.trainer
        result = pictures.reconstruct(trainer.field, image, trainer.device, most_pixels=PICTURE_PIXELS)
        scale = scale or pictures.error_scale(result.error)
        if not (images / "target.png").exists():
            pictures.write_picture(result.target, images / "target.png")
        stem = f"{_file_name(run['sampler'])}-{run['batch_size']}-{run['seed']}"
        pictures.write_picture(result.values, images / f"{stem}-reconstruction.png")
        pictures.write_error(result.error, images / f"{stem}-error.png", scale)
        samples = pictures.write_samples(trainer.record, images, f"{stem}-samples")
        run["images"] = {
            "reconstruction": f"images/{stem}-reconstruction.png",
            "error": f"images/{stem}-error.png",
            "error_scale": scale,
            "samples": [f"images/{entry['file']}" for entry in samples],
        }


def _file_name(sampler: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in sampler)
