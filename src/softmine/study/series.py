"""A study of several comparisons, such as one for every corruption: its records, and the figures that it puts side by side.

``study.json`` holds a ``Series``; every part is a comparison in a folder of its own below.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softmine.errors import SoftmineError
from softmine.runs.run_folder import read_description
from softmine.study.curves import Axis, parse_psnr, psnr_at, time_to
from softmine.study.json_fields import Record, stored
from softmine.study.results import Comparison, Line, RunResult, SignalInfo
from softmine.study.summary import BASELINE

FILE = "study.json"
BASELINES = (BASELINE, "shuffled")
SHARES = (0.1, 0.25, 0.5, 1.0)
"""Moments of a run that are compared, as shares of the budget."""


@dataclass(frozen=True)
class Part(Record):
    """One comparison of a study.

    Args:
        name: of its folder, and of what makes it another than the others: ``outliers=0.05``, ``1080x1920``.
        text: that in words.
        options: of its signal, which the other parts do not have.
    """

    name: str = ""
    text: str = ""
    options: Mapping[str, Any] = stored(default={})

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.name.replace("=", "-").replace(",", "-")


@dataclass(frozen=True)
class Gain(Record):
    """How far a sampler lies above a baseline at one moment, by pairs of runs of one seed.

    Args:
        baseline: ``uniform`` or ``shuffled``.
        batch_size: of that baseline: of several, the one that ends highest.
        level: the baseline's own median PSNR in dB at that moment.
        median: the median difference over seeds in dB.
        low: the least.
        high: the greatest.
    """

    baseline: str = ""
    batch_size: int | None = None
    level: float = stored(default=math.nan, read=parse_psnr)
    median: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Moment(Record):
    """PSNR in dB at one moment of the runs of a sampler.

    Args:
        share: of the budget that is spent; for the best evaluation of each run, the median of its place in the run.
        best: whether it is each run's best evaluation, wherever that lies.
        psnr: the median over seeds, infinite with an exact fit.
        low: the least.
        high: the greatest.
        gains: over each baseline at the same moment, or at its own best evaluation; none over itself.
    """

    share: float = math.nan
    best: bool = False
    psnr: float = stored(default=math.nan, read=parse_psnr)
    low: float = stored(default=math.nan, read=parse_psnr)
    high: float = stored(default=math.nan, read=parse_psnr)
    gains: tuple[Gain, ...] = ()

    def gain(self, baseline: str | None = None) -> Gain | None:
        """The gain over a baseline; without a name, over the one that is higher at that moment."""
        found = [gain for gain in self.gains if baseline in (None, gain.baseline)]
        return max(found, key=lambda gain: gain.level, default=None)


@dataclass(frozen=True)
class Speedup(Record):
    """A baseline's time to its final PSNR over a sampler's time to the same, the median over seeds; ``None`` for never."""

    baseline: str = ""
    factor: float | None = None


@dataclass(frozen=True)
class SeriesLine(Record):
    """The figures of one sampler in one part.

    Args:
        part: its name.
        sampler: as the comparison names it, with how many times shorter its budget is.
        batch_size: coordinates per step.
        seeds: of the runs that count, without those that diverged.
        diverged: runs that diverged.
        moments: at ``SHARES`` of the budget, then the best.
        speedups: over each baseline, none over itself.
    """

    part: str = ""
    sampler: str = "unnamed"
    batch_size: int | None = None
    seeds: tuple[int, ...] = ()
    diverged: int = 0
    moments: tuple[Moment, ...] = ()
    speedups: tuple[Speedup, ...] = ()


@dataclass(frozen=True)
class Series(Record):
    """What ``study.json`` holds.

    Args:
        study: its name.
        task: the kind of signal.
        signal: what all parts are made of, as it is without their options.
        created: when it was begun, as ISO 8601 text.
        command: what began it.
        resumed: commands that resumed it.
        settings: of every comparison, but for batch sizes where those are the defaults for each part's signal.
        options: of the signal in every part.
        own_batch_sizes: whether a person chose the batch sizes.
        axis: what equal moments are equal in: ``seconds`` or ``step``.
        parts: all of them, in order.
        complete: whether nothing is left to run.
        lines: the figures, of every part that has runs.
    """

    schema: int = 1
    study: str = ""
    task: str = ""
    signal: SignalInfo = stored(default=SignalInfo())
    created: str = ""
    command: str = ""
    resumed: tuple[str, ...] = ()
    settings: Mapping[str, Any] = stored(default={})
    options: Mapping[str, Any] = stored(default={})
    device: Mapping[str, Any] = stored(default={})
    versions: Mapping[str, Any] = stored(default={})
    own_batch_sizes: bool = False
    axis: str = "seconds"
    parts: tuple[Part, ...] = ()
    complete: bool = False
    lines: tuple[SeriesLine, ...] = ()


def read_series(folder: Path) -> Series:
    """The study in a folder.

    Raises:
        SoftmineError: there is none, or its file is damaged.
    """
    series = Series.parse(read_description(folder, FILE, "study"))
    if not series.study or not series.parts:
        raise SoftmineError(
            f"{folder / FILE} is damaged or of another version of softmine: it cannot be resumed"
        )
    return series


def part_lines(part: Part, comparison: Comparison) -> list[SeriesLine]:
    """The figures of every sampler of one part, over the seeds that the comparison's own summary counts."""
    axis = equal_axis(comparison.seconds, comparison.steps)
    budget = comparison.seconds if axis == "seconds" else comparison.steps
    if not budget:
        return []
    bases = {name: found for name in BASELINES if (found := _baseline(comparison, name, float(budget), axis))}
    lines = []
    for line in comparison.lines:
        counted = comparison.counted(line)
        runs = [run for run in counted if run.good]
        others = {name: base for name, base in bases.items() if line.entry != base[0].entry}
        moments = [_moment(runs, others, share, float(budget), axis) for share in (*SHARES, None)]
        lines.append(
            SeriesLine(
                part.name,
                line.name,
                line.batch_size,
                seeds=tuple(run.seed for run in runs if run.seed is not None),
                diverged=len(counted) - len(runs),
                moments=tuple(moment for moment in moments if moment),
                speedups=tuple(
                    Speedup(name, _speedup(runs, base, axis)) for name, (_, base) in others.items() if runs
                ),
            )
        )
    return lines


def equal_axis(seconds: float | None, steps: int | None) -> Axis:
    """What runs have equally much of at equal moments: seconds where their budget is time, else steps."""
    return "step" if seconds is None and steps is not None else "seconds"


def _baseline(
    comparison: Comparison, name: str, budget: float, axis: Axis
) -> tuple[Line, list[RunResult]] | None:
    """The line and the good runs of a baseline with the whole budget, at the batch size at which it ends highest."""
    found = [
        (line, runs)
        for line in comparison.lines
        if (line.sampler, line.shorter) == (name, 1)
        and (runs := [run for run in comparison.counted(line) if run.good])
    ]
    return max(found, key=lambda pair: statistics.median(_levels(pair[1], 1.0, budget, axis)), default=None)


def _moment(
    runs: Sequence[RunResult],
    bases: Mapping[str, tuple[Line, list[RunResult]]],
    share: float | None,
    budget: float,
    axis: Axis,
) -> Moment | None:
    if not runs:
        return None
    levels = _levels(runs, share, budget, axis)
    gains = []
    for name, (line, base) in bases.items():
        below = dict(zip((run.seed for run in base), _levels(base, share, budget, axis), strict=True))
        above = [
            _difference(level, below[run.seed])
            for run, level in zip(runs, levels, strict=True)
            if run.seed in below
        ]
        if above:
            middle = statistics.median(below.values())
            gains.append(
                Gain(name, line.batch_size, middle, statistics.median(above), min(above), max(above))
            )
    where = share
    if share is None:
        peaks = [(max(run.curve, key=lambda point: point.psnr), run.curve[-1]) for run in runs]
        where = statistics.median(peak.along(axis) / end.along(axis) for peak, end in peaks)
    return Moment(
        where or 0.0, share is None, statistics.median(levels), min(levels), max(levels), tuple(gains)
    )


def _levels(runs: Sequence[RunResult], share: float | None, budget: float, axis: Axis) -> list[float]:
    """PSNR of each run at a share of the budget, or for None that of its best evaluation."""
    if share is None:
        return [max(point.psnr for point in run.curve) for run in runs]
    return [psnr_at(run.curve, share * budget, axis) if share < 1 else run.curve[-1].psnr for run in runs]


def _difference(own: float, other: float) -> float:
    # Two exact fits are level.
    return 0.0 if own == other else own - other


def _speedup(runs: Sequence[RunResult], base: Sequence[RunResult], axis: Axis) -> float | None:
    below = {run.seed: run for run in base}
    shares = []
    for run in runs:
        if run.seed in below:
            other = below[run.seed].curve
            taken = time_to(other, other[-1].psnr, axis)
            reached = time_to(run.curve, other[-1].psnr, axis)
            shares.append(math.inf if reached is None or not taken else reached / taken)
    share = statistics.median(shares) if shares else math.inf
    return 1 / share if 0 < share < math.inf else None


def with_lines(series: Series, part: Part, comparison: Comparison) -> Series:
    """The study with the figures of one part as they are now."""
    found = {name: [line for line in series.lines if line.part == name] for name in _names(series)}
    found[part.name] = part_lines(part, comparison)
    return replace(series, lines=tuple(line for name in _names(series) for line in found[name]))


def _names(series: Series) -> list[str]:
    return [part.name for part in series.parts]
