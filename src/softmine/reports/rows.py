"""The rows of a comparison's page: the lines of its summary with names, curves, and gains over one baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from softmine.reports import text
from softmine.study.curves import Spread, spread
from softmine.study.results import Comparison, Line, RunResult
from softmine.registry import with_shorter
from softmine.study.summary import BASELINE, baseline, gain, level, speedup


@dataclass(frozen=True)
class Row:
    """One row: a sampler at a batch size, with the budget or a shorter one.

    Args:
        line: its figures.
        name: the sampler in short, and how many times shorter its budget is: ``auto/2.5``.
        label: its name in charts, with the batch size where one sampler has several.
        prose: its name in a sentence.
        runs: its runs.
        counted: those of the seeds that count, of which its figures and curves are.
        gain: mean final PSNR above the baseline's; ``None`` for the baseline itself.
        baseline: whether the others are measured against it.
        own_baseline: whether its speed-up is against itself.
        speedup_seconds: speed-up as the table shows it; ``None`` for never.
        speedup_steps: the same in steps.
        reached_seconds: speed-up to the final PSNR of the page's baseline.
        reached_steps: the same in steps.
        step_ms: median time of a step.
        sampler_ms: the sampler's part of it.
        by_seconds: its curve over training time.
        by_step: its curve over steps.
    """

    line: Line
    name: str
    label: str
    prose: str
    runs: list[RunResult]
    counted: list[RunResult]
    gain: float | None
    baseline: bool
    own_baseline: bool
    speedup_seconds: float | None
    speedup_steps: float | None
    reached_seconds: float | None
    reached_steps: float | None
    step_ms: float | None
    sampler_ms: float | None
    by_seconds: Spread | None
    by_step: Spread | None

    @property
    def sampler(self) -> str:
        """The sampler, as the comparison names it."""
        return self.line.sampler

    @property
    def batch_size(self) -> int | None:
        """Coordinates per step."""
        return self.line.batch_size

    @property
    def shorter(self) -> float:
        """How many times shorter its budget is than the comparison's."""
        return self.line.shorter

    @property
    def psnr(self) -> float | None:
        """Mean final PSNR in dB."""
        return self.line.psnr

    @property
    def against(self) -> int | None:
        """The batch size of the baseline that the file's speed-ups speak of; its own where the file does not say."""
        line = self.line
        return line.batch_size if line.baseline_batch_size is None else line.baseline_batch_size


def _median_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def table(comparison: Comparison) -> list[Row]:
    """The rows of a comparison, best first."""
    lines = comparison.lines
    names = text.short_names(line.sampler for line in lines)
    batches = Counter(sampler for sampler, _ in {line.group[:2] for line in lines})
    base = baseline(comparison)
    rows = [_row(comparison, line, names[line.sampler], batches[line.sampler] > 1, base) for line in lines]
    return sorted(rows, key=lambda row: level(row.line), reverse=True)


def _row(comparison: Comparison, line: Line, name: str, several: bool, base: Line | None) -> Row:
    name = label = prose = with_shorter(name, line.shorter)
    if several:
        size = text.count(line.batch_size)
        label, prose = f"{name} {size}", f"{name} at batch {size}"
    counted = comparison.counted(line)
    curves = [run.curve for run in counted]
    reached = None, None
    if base is not None:
        reached = speedup(comparison, line, base, "seconds"), speedup(comparison, line, base, "step")
    shown = line.speedup_seconds, line.speedup_steps
    sizes = {one.batch_size for one in comparison.lines if (one.sampler, one.shorter) == (BASELINE, 1)}
    if line.batch_size not in sizes and shown[0] is None:
        shown = reached
    against = line.baseline_batch_size in (None, line.batch_size)
    return Row(
        line=line,
        name=name,
        label=label,
        prose=prose,
        runs=comparison.runs_of(line),
        counted=counted,
        gain=None if line is base else gain(line, base),
        baseline=line is base,
        own_baseline=(line.sampler, line.shorter) == (BASELINE, 1) and against,
        speedup_seconds=shown[0],
        speedup_steps=shown[1],
        reached_seconds=reached[0],
        reached_steps=reached[1],
        step_ms=_median_of(run.step_ms for run in counted),
        sampler_ms=_median_of(run.sampler_ms for run in counted),
        by_seconds=spread(curves, "seconds"),
        by_step=spread(curves, "step"),
    )


def strip(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Where each row's PSNR and spread lie between the lowest and the highest, in percent."""
    known = [
        (row, row.psnr, row.line.deviation or 0.0)
        for row in rows
        if row.psnr is not None and row.psnr < math.inf
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
