"""The summary of a comparison: one row for every sampler, batch size and budget."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

from softmine.study import report_text as text
from softmine.study.report_curves import Spread, deviation, final_psnr, reach, read_points, spread
from softmine.study.shorter import with_shorter

BASELINE = "uniform"
Group = tuple[str, int | None, float]
"""A sampler, its batch size, and how many times shorter its budget is."""


@dataclass(frozen=True)
class Row:
    """One line of the summary: a sampler at a batch size, with the budget or a shorter one.

    Args:
        sampler: as the comparison names it, with its options.
        batch_size: samples a step.
        name: the sampler in short, and how many times shorter its budget is: ``auto/2.5``.
        label: its name in charts, with the batch size where one sampler has several.
        prose: its name in a sentence.
        runs: its runs, as in the file.
        counted: those of the seeds that count, of which its figures and curves are.
        psnr: mean final PSNR in dB, infinite with an exact fit.
        deviation: standard deviation of that over seeds; ``None`` for one seed.
        speedup_seconds: how many times sooner it reaches uniform's final PSNR; ``None`` for never.
        speedup_steps: the same in steps.
        overhead: step time over uniform's, minus 1.
        overhead_in_all: the same of the mean step, with what the sampler does only now and then.
        against: the batch size of the baseline that the file's speed-ups speak of; its own where the file does not say.
        worst: PSNR above the baseline's at equal time where that is least, once a tenth of the budget is over.
        oracle: share of exact sampling's gain over uniform sampling.
        step_ms: median time of a step.
        sampler_ms: the sampler's part of it.
        by_seconds: its curve over training time.
        by_step: its curve over steps.
        gain: mean final PSNR above the baseline's; ``None`` for the baseline itself.
        baseline: whether the others are measured against it.
        shorter: how many times shorter its budget is than the comparison's.
    """

    sampler: str
    batch_size: int | None
    name: str
    label: str
    prose: str
    runs: list[dict[str, Any]]
    counted: list[dict[str, Any]]
    psnr: float | None
    deviation: float | None
    speedup_seconds: float | None
    speedup_steps: float | None
    overhead: float | None
    overhead_in_all: float | None
    against: int | None
    worst: float | None
    oracle: float | None
    step_ms: float | None
    sampler_ms: float | None
    by_seconds: Spread | None
    by_step: Spread | None
    gain: float | None = None
    baseline: bool = False
    shorter: float = 1.0


def _level(row: Row) -> float:
    return row.psnr if row.psnr is not None else -math.inf


def _group(item: dict[str, Any]) -> Group:
    batch, shorter = text.number(item.get("batch_size")), text.number(item.get("shorter"))
    size = None if batch is None else round(batch)
    return str(item.get("sampler") or "unnamed"), size, max(1.0, shorter or 1.0)


def _groups(data: dict[str, Any]) -> tuple[dict[Group, list[dict[str, Any]]], dict[Group, Any]]:
    """Runs and summary lines by group, in the order of the file."""
    runs: dict[Group, list[dict[str, Any]]] = {}
    for item in text.listing(data.get("runs")):
        if isinstance(item, dict):
            runs.setdefault(_group(item), []).append(item)
    stated: dict[Group, Any] = {}
    for item in text.listing(data.get("summary")):
        if isinstance(item, dict):
            group = _group(item)
            own = [other for other in runs if other[0] == group[0]]
            # A line without a batch size speaks of the sampler's only group.
            stated[own[0] if group[1] is None and len(own) == 1 else group] = item
    return runs, stated


def _median_of(runs: list[dict[str, Any]], key: str) -> float | None:
    values = [value for run in runs if (value := text.number(run.get(key))) is not None]
    return float(median(values)) if values else None


def _row(group: Group, name: str, runs: list[dict[str, Any]], stated: dict[str, Any]) -> Row:
    seeds = text.listing(stated.get("seeds"))
    # Files of before lines had their seeds: all count.
    counted = [run for run in runs if run.get("seed") in seeds] if seeds else runs
    curves = [read_points(run.get("curve"), "seconds") for run in counted]
    deficit, against = (
        text.number(stated.get("worst_deficit")),
        text.number(stated.get("baseline_batch_size")),
    )
    ends = [final_psnr(run) for run in counted if text.number(run.get("diverged_at")) is None]
    finals = [psnr for psnr in ends if psnr is not None]
    mean, over_seeds = text.number(stated.get("psnr_mean")), text.number(stated.get("psnr_std"))
    if not stated and finals:
        mean, over_seeds = fmean(finals), deviation(finals)
    elif mean is None and math.inf in finals:
        mean = math.inf
    return Row(
        sampler=group[0],
        batch_size=group[1],
        name=name,
        label=name,
        prose=name,
        runs=runs,
        counted=counted,
        shorter=group[2],
        psnr=mean,
        deviation=over_seeds if mean is not None and len(finals) != 1 else None,
        speedup_seconds=text.number(stated.get("speedup_seconds")),
        speedup_steps=text.number(stated.get("speedup_steps")),
        overhead=text.number(stated.get("overhead")),
        overhead_in_all=text.number(stated.get("overhead_in_all")),
        against=group[1] if against is None else round(against),
        worst=None if deficit is None else -deficit,
        oracle=text.number(stated.get("oracle_share")),
        step_ms=_median_of(counted, "step_ms_median"),
        sampler_ms=_median_of(counted, "sampler_ms_median"),
        by_seconds=spread(curves),
        by_step=spread([read_points(run.get("curve"), "step") for run in counted]),
    )


def speedup(row: Row, base: Row, by: str) -> float | None:
    """How many times sooner ``row`` reaches the baseline's final PSNR, by "seconds" or "step".

    The file's own figure where it speaks of this baseline; else from the median curves. ``None`` if it never does.
    """
    if row.against == base.batch_size:
        return row.speedup_seconds if by == "seconds" else row.speedup_steps
    curves = (row.by_seconds, base.by_seconds) if by == "seconds" else (row.by_step, base.by_step)
    if curves[0] is None or curves[1] is None:
        return None
    when = reach(curves[0], curves[1].median[-1])
    return curves[1].x[-1] / when if when else None


def table(data: dict[str, Any]) -> list[Row]:
    """The rows of ``results.json``, best first; runs that its summary leaves out get their own.

    The baseline is uniform sampling with the whole budget: at the batch size that the comparison's
    figures are against where it looked for one, else at that at which it ends highest.
    """
    runs, stated = _groups(data)
    groups = list({**runs, **stated})
    names = text.short_names(sampler for sampler, *_ in groups)
    rows = [
        _row(group, with_shorter(names[group[0]], group[2]), runs.get(group, []), stated.get(group, {}))
        for group in groups
    ]
    uniform = [row for row in rows if row.sampler == BASELINE and row.shorter == 1]
    named = {text.number(line.get("baseline_batch_size")) for line in stated.values()}
    against = named if data.get("tuning") else set()
    base = next((row for row in uniform if row.batch_size in against), max(uniform, key=_level, default=None))
    sizes = {row.batch_size for row in uniform}
    batches = Counter(sampler for sampler, _ in {group[:2] for group in groups})
    finished = []
    for row in rows:
        changes: dict[str, Any] = {"baseline": row is base}
        if batches[row.sampler] > 1:
            size = text.count(row.batch_size)
            changes.update(label=f"{row.name} {size}", prose=f"{row.name} at batch {size}")
        if base is not None and row is not base:
            if row.psnr is not None and base.psnr is not None:
                # Two exact fits are level.
                changes["gain"] = 0.0 if row.psnr == base.psnr else row.psnr - base.psnr
            if row.batch_size not in sizes and row.speedup_seconds is None:
                changes["speedup_seconds"] = speedup(row, base, "seconds")
                changes["speedup_steps"] = speedup(row, base, "step")
        finished.append(replace(row, **changes))
    return sorted(finished, key=_level, reverse=True)


def strip(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Where each row's PSNR and spread lie between the lowest and the highest, in percent."""
    known = [
        (row, row.psnr, row.deviation or 0.0) for row in rows if row.psnr is not None and row.psnr < math.inf
    ]
    low = min((psnr - wide for _, psnr, wide in known), default=0.0)
    span = max((psnr + wide for _, psnr, wide in known), default=0.0) - low
    if len(known) < 2 or span < 1e-6:
        return {}

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / span, 2)

    return {
        row.label: {"at": place(psnr), "from": place(psnr - wide), "to": place(psnr + wide)}
        for row, psnr, wide in known
    }


def best_figures(rows: list[Row]) -> dict[str, float | None]:
    """The best figure of every column, for highlighting; ``None`` where there is no choice."""
    better = {
        "psnr": max,
        "speedup_seconds": max,
        "speedup_steps": max,
        "step_ms": min,
    }
    best: dict[str, float | None] = {}
    for key, choose in better.items():
        values = [value for row in rows if (value := getattr(row, key)) is not None]
        best[key] = choose(values) if len(set(values)) > 1 else None
    return best
