"""A comparison on disk, and what may change when it is gone on with."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from softmine.errors import ArgumentError, SoftmineError
from softmine.runs import files
from softmine.study.compare import Results
from softmine.study.matrix import CompareSettings, Entry, entries
from softmine.study.results import machine
from softmine.study.shorter import MOST
from softmine.study.summary import BASELINE
from softmine.training import devices

GROWING = ("samplers", "batch_sizes", "seeds", "tune_uniform")
"""Settings that may grow when a comparison is resumed; all others stay."""
_NUMBER, _NOTHING = (int, float), type(None)
RUN_TYPES = {
    "sampler": str, "seed": int, "batch_size": int, "finished": bool, "diverged_at": (int, _NOTHING), "curve": list,
    "step_ms_median": (*_NUMBER, _NOTHING),
}  # fmt: skip
POINT_TYPES = {"step": int, "seconds": _NUMBER, "psnr": (*_NUMBER, _NOTHING)}
TUNING_TYPES = {"batch_size": int, "steps": (int, _NOTHING), "seconds": _NUMBER, "runs": list}
TUNING_RUN_TYPES = {"race": int, "batch_size": int, "steps": int, "psnr": (*_NUMBER, _NOTHING)}


def read_results(folder: Path) -> Results:
    """The ``results.json`` of a comparison, ready to go on with; changes nothing.

    Raises:
        SoftmineError: there is none in the folder, it is damaged, or another version wrote it.
    """
    file = folder / "results.json"
    try:
        if not folder.exists():
            raise SoftmineError(f"there is no comparison at {folder}: the folder does not exist")
        if not file.is_file():
            raise SoftmineError(f"{folder} is no folder of a comparison: it holds no results.json")
    except OSError as error:
        raise files.unusable("open the comparison", folder, error) from error
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        results = None
    if not isinstance(results, dict) or results.get("schema") != 1 or not _is_whole(results):
        raise SoftmineError(f"{file} is damaged or of another version of softmine: it cannot be resumed")
    for run in results["runs"]:
        for point in run["curve"]:
            # JSON has no infinity: an exact fit is kept as null.
            point["psnr"] = math.inf if point["psnr"] is None else point["psnr"]
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


def grown(folder: Path, stored: CompareSettings, asked: CompareSettings) -> CompareSettings:
    """The stored settings with the samplers, batch sizes and seeds that are asked for added.

    Raises:
        SoftmineError: any other setting differs, or fewer seeds are asked for; says which.
    """
    for field in fields(CompareSettings):
        before, now = getattr(stored, field.name), getattr(asked, field.name)
        if before != now and field.name not in GROWING:
            raise ArgumentError(
                f"the comparison in {{folder}} has {{{field.name}}} {{before}}: start a new one for {{{field.name}}} {{now}}",
                folder=folder,
                before=before,
                now=now,
            )
    if asked.seeds < stored.seeds:
        raise ArgumentError(
            "{seeds} is {now}, but the comparison in {folder} has {before}: give at least that",
            folder=folder,
            before=stored.seeds,
            now=asked.seeds,
        )
    if stored.tune_uniform and not asked.tune_uniform:
        raise ArgumentError(
            "the comparison in {folder} has {tune_uniform}: start a new one without it", folder=folder
        )
    return replace(
        asked,
        samplers=tuple(dict.fromkeys((*stored.samplers, *asked.samplers))),
        batch_sizes=tuple(dict.fromkeys((*stored.batch_sizes, *asked.batch_sizes))),
    )


def check_tuned(folder: Path, results: Results, stored: CompareSettings, settings: CompareSettings) -> None:
    """Raises SoftmineError if the uniform that the search chose is named now, and would train for other steps than before."""
    tuning = results.get("tuning")
    if not tuning or tuning["steps"] in (None, settings.steps):
        return
    tuned = Entry(BASELINE, tuning["batch_size"])
    if tuned in entries(settings) and tuned not in entries(stored):
        raise ArgumentError(
            "{samplers} and {batch_sizes} name uniform at batch size {size}, which the comparison in {folder} has from its "
            "search, with {before} steps instead of {now}: leave it out, as it runs anyway",
            size=tuned.batch_size,
            folder=folder,
            before=tuning["steps"],
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
    signal, runs, tuning = results.get("signal"), results.get("runs"), results.get("tuning")
    if not isinstance(signal, dict) or not isinstance(results.get("settings"), dict):
        return False
    if not isinstance(signal.get("name"), str) or not isinstance(signal.get("fingerprint"), str):
        return False
    if not isinstance(signal.get("path"), (str, type(None))) or not isinstance(results.get("device"), dict):
        return False
    if tuning is not None and not (
        _has(tuning, TUNING_TYPES) and all(_has(run, TUNING_RUN_TYPES) for run in tuning["runs"])
    ):
        return False
    return isinstance(runs, list) and all(map(_is_run, runs))


def _is_run(run: Any) -> bool:
    if not _has(run, RUN_TYPES) or not isinstance(run.get("race", 0), int):
        return False
    if not isinstance(run.get("shorter", 1.0), _NUMBER) or not 1 <= run.get("shorter", 1.0) <= MOST:
        return False
    return all(_has(point, POINT_TYPES) and point["step"] > 0 for point in run["curve"])


def _has(values: Any, types: dict[str, Any]) -> bool:
    """Whether ``values`` is a mapping that has all of these, each of its type."""
    if not isinstance(values, dict):
        return False
    return all(key in values and isinstance(values[key], kind) for key, kind in types.items())
