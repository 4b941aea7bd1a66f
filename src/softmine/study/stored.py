"""A comparison on disk, and what may change when it is resumed."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from softmine.errors import ArgumentError, SoftmineError
from softmine.runs.run_folder import read_description
from softmine.study.compare import Results
from softmine.study.matrix import CompareSettings, entries
from softmine.study.results import Comparison, Entry, RunResult, Tuning, machine
from softmine.study.summary import BASELINE
from softmine.training import devices

GROWING = ("samplers", "batch_sizes", "seeds", "tune_uniform")
"""Settings that may grow when a comparison is resumed; all others stay."""


def read_results(folder: Path) -> Results:
    """The ``results.json`` of a comparison, ready to be resumed; changes nothing.

    Raises:
        SoftmineError: there is none in the folder, it is damaged, or another version wrote it.
    """
    results = read_description(folder, "results.json", "comparison")
    if results is None or not _is_whole(results):
        file = folder / "results.json"
        raise SoftmineError(f"{file} is damaged or of another version of softmine: it cannot be resumed")
    comparison = Comparison.parse(results)
    results.update(runs=list(comparison.runs), summary=list(comparison.lines), tuning=comparison.tuning)
    return results


def stored_settings(folder: Path, results: Results, kind: str) -> CompareSettings:
    """The settings a comparison was made with.

    Raises:
        SoftmineError: it is of another kind of signal, or another version or another program wrote them.
    """
    if results.get("task") != kind:
        raise SoftmineError(
            f"{folder} compares samplers on another kind of signal: resume it with softmine compare {results.get('task')}"
        )
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in results["settings"].items()
    }
    try:
        settings = CompareSettings(**values)
        settings.check()
    except (TypeError, ValueError, AttributeError) as error:
        raise SoftmineError(
            f"{folder / 'results.json'} was written by another version of softmine and cannot be resumed: {error}"
        ) from error
    return settings


def grown(folder: Path, stored: CompareSettings, wanted: CompareSettings) -> CompareSettings:
    """The stored settings with the samplers, batch sizes and seeds that are wanted added.

    Raises:
        SoftmineError: any other setting differs, or fewer seeds are wanted; says which.
    """
    for field in fields(CompareSettings):
        before, now = getattr(stored, field.name), getattr(wanted, field.name)
        if before != now and field.name not in GROWING:
            raise ArgumentError(
                f"the comparison in {{folder}} has {{{field.name}}} {{before}}: start a new one for {{{field.name}}} {{now}}",
                folder=folder,
                before=before,
                now=now,
            )
    if wanted.seeds < stored.seeds:
        raise ArgumentError(
            "{seeds} is {now}, but the comparison in {folder} has {before}: give at least that",
            folder=folder,
            before=stored.seeds,
            now=wanted.seeds,
        )
    if stored.tune_uniform and not wanted.tune_uniform:
        raise ArgumentError(
            "the comparison in {folder} has {tune_uniform}: start a new one without it", folder=folder
        )
    return replace(
        wanted,
        samplers=tuple(dict.fromkeys((*stored.samplers, *wanted.samplers))),
        batch_sizes=tuple(dict.fromkeys((*stored.batch_sizes, *wanted.batch_sizes))),
    )


def check_tuned(folder: Path, results: Results, stored: CompareSettings, settings: CompareSettings) -> None:
    """Raises SoftmineError if the uniform that the search chose is named now, and would train for other steps than before."""
    tuning = results.get("tuning")
    if not tuning or tuning.steps in (None, settings.steps):
        return
    tuned = Entry(BASELINE, tuning.batch_size)
    if tuned in entries(settings) and tuned not in entries(stored):
        raise ArgumentError(
            "{samplers} and {batch_sizes} name uniform at batch size {size}, which the comparison in {folder} has from its "
            "search, with {before} steps instead of {now}: leave it out, as it runs anyway",
            size=tuned.batch_size,
            folder=folder,
            before=tuning.steps,
            now=settings.steps,
        )


def check_machine(folder: Path, results: Results, settings: CompareSettings) -> None:
    """Raises SoftmineError unless this is the kind of machine the comparison ran on: times would not compare."""
    here = devices.describe(devices.choose(settings.device))
    if results["device"] != here:
        raise SoftmineError(
            f"the comparison in {folder} ran on {machine(results['device'])} and this is {machine(here)}: "
            "their times do not compare, so start a new one here"
        )


def _is_whole(results: dict[str, Any]) -> bool:
    """Whether everything is there that resuming needs."""
    runs, tuning = results.get("runs"), results.get("tuning")
    if not isinstance(results.get("device"), dict) or not isinstance(runs, list):
        return False
    return (tuning is None or Tuning.is_whole(tuning, "batch_size", "seconds", "runs")) and all(
        RunResult.is_whole(run, "sampler", "seed", "batch_size", "finished", "curve") for run in runs
    )
