"""Compares samplers on one signal: the same field, the same clock, runs interleaved in short slices."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from softmine.formatting import count, decibels, significant
from softmine.runs import images as run_images
from softmine.runs.build import build_run
from softmine.runs.files import write_json
from softmine.runs.images import COLOR_MAPS
from softmine.runs.interrupt import Interrupted
from softmine.runs.task import Evaluator, Task, origin
from softmine.study.interleave import ComparedRun, MatrixProgress, interleave
from softmine.study.json_fields import written
from softmine.study.matrix import (
    CompareSettings,
    entries,
    missing,
    run_settings,
)
from softmine.study.results import Entry, RunImages, RunResult, Tuning
from softmine.study.summary import BASELINE, best_uniform, summarize
from softmine.study.tuning import Search
from softmine.training import devices
from softmine.training.budget import evaluation_points

Results = dict[str, Any]
"""What ``results.json`` holds, with records as ``runs`` (``RunResult``), ``summary`` (``Line``) and ``tuning``."""


def new_results(
    task: Task, settings: CompareSettings, command: str, options: dict[str, Any] | None = None
) -> Results:
    """The results of a comparison before its first run; ``options`` are the flags that only this kind takes."""
    return {
        # With the path as it was given: results are made to be passed on, and need not tell where things are kept.
        **origin(task, settings, command, options),
        "density_range": [1 / run_images.DENSITY_RANGE, run_images.DENSITY_RANGE],
        "color_maps": COLOR_MAPS,
        "complete": False,
        "runs": [],
        "summary": [],
    }


def compare(
    folder: Path,
    task: Task,
    settings: CompareSettings,
    results: Results,
    console: Console,
    interrupted: Interrupted,
) -> Results:
    """Makes the runs that ``results`` misses and writes ``results.json`` and images into ``folder``.

    The missing runs of one seed train in turns, a fortieth of their budget each, and the order turns by one every round,
    so that a noisy machine slows all alike; runs that were interleaved have the same group. ``results.json`` is written
    again after every group, so that a comparison that is killed loses one group at most.

    Args:
        folder: the comparison's folder, which exists.
        task: the signal.
        settings: what to compare.
        results: from ``new_results``, or those of a comparison that is resumed; changed in place and returned.
        console: where progress is shown.
        interrupted: tells whether a person wants to stop.
    """
    device = devices.choose(settings.device)
    devices.move(task.signal, device)
    evaluator = task.make_evaluator(device)
    results["settings"] = asdict(settings)
    results["measured"] = evaluator.describe()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if settings.tune_uniform and not results.get("tuning"):
        console.print("looking for the best batch size of uniform", soft_wrap=True)
        results["tuning"] = Search(task, settings, evaluator, device, console, interrupted).run()
        _write(folder, settings, results)
        if interrupted():
            return results
    tuning: Tuning | None = results.get("tuning")
    if tuning:
        console.print(describe_tuning(tuning), soft_wrap=True)
    found = all_entries(settings, results)
    total = len(found) * settings.seeds
    todo = sum(len(missing(found, seed, results["runs"])) for seed in range(settings.seeds))
    ready = f", {total - todo} of them done" if todo < total else ""
    console.print(f"{total} runs{ready} on {device}; {evaluator.describe()}", soft_wrap=True)
    with MatrixProgress(console, total, total - todo) as progress:
        for seed in range(settings.seeds):
            ahead = missing(found, seed, results["runs"])
            if ahead and not interrupted():
                compared = [
                    _compared_run(entry, seed, task, settings, results, evaluator, device) for entry in ahead
                ]
                interleave(compared, progress, _label, interrupted)
                number = 1 + max((run.interleaved or 0 for run in results["runs"]), default=0)
                trained = [one for one in compared if _is_kept(one, results["runs"])]
                runs = [one.result(number) for one in trained]
                # What was cut short starts again, and stays until there is more.
                again = {run.entry for run in runs}
                before = [run for run in results["runs"] if run.seed != seed or run.entry not in again]
                results["runs"] = before + runs
                if seed == 0:
                    # What was trained is kept, whatever comes of its images.
                    _write(folder, settings, results)
                    progress.show(sum(one.share for one in compared), "writing the images")
                    results["runs"] = before + _write_images(folder, task, trained, runs, before)
                progress.finished(sum(run.ended for run in runs))
                _write(folder, settings, results)
    _write(folder, settings, results)
    return results


def all_entries(settings: CompareSettings, results: Results) -> list[Entry]:
    """Samplers and batch sizes that run for every seed: those that were named, and uniform at the size found for it."""
    found = entries(settings)
    tuning = results.get("tuning")
    extra = [Entry(BASELINE, tuning.batch_size)] if tuning else []
    return found + [entry for entry in extra if entry not in found]


def is_complete(settings: CompareSettings, results: Results) -> bool:
    """Whether nothing is left to run."""
    found = all_entries(settings, results)
    return (bool(results.get("tuning")) or not settings.tune_uniform) and not any(
        missing(found, seed, results["runs"]) for seed in range(settings.seeds)
    )


def describe_tuning(tuning: Tuning) -> str:
    """The search for uniform's batch size as lines of text: every run, then what was chosen."""
    lines = [f"uniform at several batch sizes, {significant(tuning.seconds)} s of training each:"]
    for run in tuning.runs:
        psnr = "diverged" if run.psnr is None else decibels(run.psnr)
        size, steps = count(run.batch_size), count(run.steps)
        lines.append(f"  group {run.interleaved}  batch {size:>6}  {psnr}  after {steps} steps")
    return "\n".join([*lines, f"the search chose batch size {count(tuning.batch_size)} for uniform"])


def _compared_run(
    entry: Entry,
    seed: int,
    task: Task,
    settings: CompareSettings,
    results: Results,
    evaluator: Evaluator,
    device: torch.device,
) -> ComparedRun:
    tuning = results.get("tuning")
    if tuning and tuning.steps and entry not in entries(settings):
        # A larger batch at as many steps would be given more time than all others.
        settings = replace(settings, steps=tuning.steps)
    trainer = build_run(task, run_settings(settings, entry, seed), device)
    points = evaluation_points(settings.evaluations)
    return ComparedRun(trainer, evaluator, entry, seed, points)


def _is_kept(one: ComparedRun, runs: list[RunResult]) -> bool:
    """Whether a run was trained, and as far as an earlier run of the same that was cut short."""
    earlier = [run for run in runs if run.seed == one.seed and run.entry == one.entry]
    most = max((len(run.curve) for run in earlier), default=0)
    return one.trainer.step > 0 and (one.done or len(one.curve) >= most)


def _label(one: ComparedRun) -> str:
    return f"seed {one.seed}  {one.entry.name}  batch {one.entry.batch_size:,}"


def _write(folder: Path, settings: CompareSettings, results: Results) -> None:
    results["summary"] = summarize(results["runs"], _baseline(settings, results))
    results["complete"] = is_complete(settings, results)
    write_json(folder / "results.json", written(results))


def _baseline(settings: CompareSettings, results: Results) -> int | None:
    """The batch size of uniform that all are measured against; None without a search for it.

    The search is short: where uniform had the whole time at several sizes, that at which it ended highest is the one.
    """
    tuning = results.get("tuning")
    if not tuning:
        return None
    found = None if settings.steps else best_uniform(results["runs"])
    return found or tuning.batch_size


def _write_images(
    folder: Path, task: Task, compared: list[ComparedRun], runs: list[RunResult], before: list[RunResult]
) -> list[RunResult]:
    """Writes reconstruction, error and samples of each run; one error scale for all, so that they compare."""
    images = folder / "images"
    scale = next((run.images.error_scale for run in before if run.images), None)
    drawn = []
    for one, run in zip(compared, runs, strict=True):
        if run.diverged_at is not None:
            drawn.append(run)
            continue
        trainer = one.trainer
        result = task.reconstruct(trainer.field, trainer.device, small=True)
        scale = scale or run_images.error_scale(result)
        if result.target is not None and not (images / "target.png").exists():
            run_images.write_image(result.target, images / "target.png", result.icc_profile)
        shorter = f"-shorter-{run.name.rpartition('/')[2]}" if run.shorter > 1 else ""
        stem = f"{_file_name(run.sampler)}-{run.batch_size}{shorter}-{run.seed}"
        file = images / f"{stem}-reconstruction.png"
        run_images.write_image(result.values, file, result.icc_profile)
        run_images.write_error(result.error, images / f"{stem}-error.png", scale)
        samples = run_images.write_samples(trainer.record, images, f"{stem}-samples")
        paths = (f"images/{stem}-reconstruction.png", f"images/{stem}-error.png")
        maps = tuple(f"images/{entry['file']}" for entry in samples)
        drawn.append(replace(run, images=RunImages(*paths, scale, maps)))
    return drawn


def _file_name(sampler: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in sampler)
