"""A comparison as typed records, read from and written to ``results.json``.

Whatever a damaged or older file holds, a record is whole: a figure that is missing or no number is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from softmine.formatting import several
from softmine.registry import MOST_SHORTER, with_shorter
from softmine.study.curves import CurvePoint, mean_and_deviation, parse_curve
from softmine.study.json_fields import Record, listing, mapping, number, number_pair, stored, whole

NOW_AND_THEN = 0.1
"""From this on, what a sampler does only in some of its steps is shown beside the median step's overhead."""


class Entry(NamedTuple):
    """A sampler at a batch size, with the budget or one that is ``shorter`` times shorter: what runs once a seed."""

    sampler: str
    batch_size: int | None
    shorter: float = 1.0

    @property
    def name(self) -> str:
        """The sampler, and how many times shorter its budget is where it is."""
        return with_shorter(self.sampler, self.shorter)


def _shorter(value: object) -> float:
    return min(max(1.0, number(value) or 1.0), MOST_SHORTER)


@dataclass(frozen=True)
class _OfEntry(Record):
    """What is of a sampler at a batch size.

    Args:
        sampler: as the comparison names it, with its options.
        batch_size: coordinates per step.
        shorter: how many times shorter its budget is than the comparison's.
    """

    sampler: str = "unnamed"
    batch_size: int | None = None
    shorter: float = stored(default=1.0, read=_shorter)

    @property
    def entry(self) -> Entry:
        """What tells it from others."""
        return Entry(self.sampler, self.batch_size, self.shorter)

    @property
    def name(self) -> str:
        """The sampler, and how many times shorter its budget is where it is."""
        return self.entry.name


@dataclass(frozen=True)
class RunImages(Record):
    """The images of a run, as paths within the comparison's folder; empty for those it has not.

    Args:
        reconstruction: the field's image.
        error: the error map.
        error_scale: the error that has full color in it.
        samples: maps of the sample density: early, middle, late.
    """

    reconstruction: str = ""
    error: str = ""
    error_scale: float | None = None
    samples: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunResult(_OfEntry):
    """One run of a comparison.

    Args:
        seed: random seed.
        interleaved: number of the group of runs that were interleaved with each other.
        steps: steps made.
        train_seconds: training time.
        step_ms: median time of a step.
        sampler_ms: the sampler's part of it.
        peak_rss_mb: most memory of the process until its end.
        finished: whether its budget is spent.
        diverged_at: the step at which its loss was no longer a number.
        curve: its evaluations, rising.
        images: what was drawn of it.
    """

    seed: int | None = None
    interleaved: int | None = stored("race")
    steps: int | None = None
    train_seconds: float | None = None
    step_ms: float | None = stored("step_ms_median")
    sampler_ms: float | None = stored("sampler_ms_median")
    peak_rss_mb: float | None = None
    finished: bool = True
    diverged_at: int | None = None
    curve: tuple[CurvePoint, ...] = stored(default=(), read=parse_curve)
    images: RunImages | None = None

    @property
    def final_psnr(self) -> float | None:
        """PSNR in dB of its last evaluation; infinite for an exact fit, ``None`` without any."""
        return self.curve[-1].psnr if self.curve else None

    @property
    def good(self) -> bool:
        """Whether it was evaluated and did not diverge."""
        return self.diverged_at is None and bool(self.curve)

    @property
    def ended(self) -> bool:
        """Whether it came to its end: its budget spent, or its loss diverged."""
        return self.finished or self.diverged_at is not None


def _negated(value: object) -> float | None:
    found = number(value)
    return None if found is None else 0.0 - found


@dataclass(frozen=True)
class Line(_OfEntry):
    """One line of the summary: the figures of a sampler, as ``softmine.study.summary.summarize`` computes them.

    Args:
        seeds: those that count, with their runs that diverged; empty for all.
        baseline_batch_size: batch size of the uniform sampling that speed-ups and margin are against: the tuned one where
            it was run; else the sampler's own; else that at which uniform ends highest; ``None`` without a run of
            uniform that did not diverge.
        psnr: mean final PSNR in dB of the runs that did not diverge; infinite with an exact fit, ``None`` without any.
        deviation: standard deviation of that over seeds; ``None`` below two, and with an exact fit.
        speedup_seconds: the baseline's time to its final PSNR over the sampler's time to the same; ``None`` where the
            median run never reaches it.
        speedup_steps: the same in steps.
        minimum_margin: the least by which the curve lies above the baseline's at equal seconds in dB, once a tenth of
            the baseline's time is over and as long as both train; at each moment the median over seeds; negative where
            it lies below, ``None`` without such a moment.
        overhead: median step time over uniform's at the same batch size, minus 1; ``None`` without such a run.
        overhead_in_all: the same of the mean step, with what the sampler does only now and then.
        exact_share: the gain over uniform relative to that of exact importance sampling (of several such, the one that
            ends highest), all at its batch size, with a budget as short and after equally many steps; ``None`` where
            exact sampling gains less than 0.1 dB.
        diverged: runs that diverged.
    """

    seeds: tuple[int, ...] = ()
    baseline_batch_size: int | None = None
    psnr: float | None = stored(
        "psnr_mean", read=lambda value: math.inf if value == math.inf else number(value)
    )
    deviation: float | None = stored("psnr_std")
    speedup_seconds: float | None = None
    speedup_steps: float | None = None
    minimum_margin: float | None = stored("worst_deficit", read=_negated, write=_negated)
    overhead: float | None = None
    overhead_in_all: float | None = None
    exact_share: float | None = stored("oracle_share")
    diverged: int = 0

    @property
    def mean_overhead(self) -> float | None:
        """The overhead of the mean step; of the median step in files that have no other."""
        return self.overhead if self.overhead_in_all is None else self.overhead_in_all

    @property
    def occasional_overhead(self) -> float | None:
        """The overhead of the mean step where what the sampler does only now and then adds much to it, else ``None``."""
        if self.overhead is None or self.overhead_in_all is None:
            return None
        return self.overhead_in_all if self.overhead_in_all - self.overhead > NOW_AND_THEN else None

    def to_json(self) -> dict[str, Any]:
        """The line as ``results.json`` has it: with 0 where there is no deviation, and null where there can be none."""
        item = super().to_json()
        if self.deviation is None and self.psnr != math.inf:
            item["psnr_std"] = 0.0
        return item


@dataclass(frozen=True)
class TuningRun(Record):
    """One run of the search for uniform's batch size; its PSNR is ``None`` where it diverged."""

    batch_size: int | None = None
    interleaved: int | None = stored("race")
    steps: int | None = None
    train_seconds: float | None = None
    step_ms: float | None = stored("step_ms_median")
    psnr: float | None = None


@dataclass(frozen=True)
class Tuning(Record):
    """The search for uniform's batch size.

    Args:
        sampler: what was tuned.
        seed: random seed of all runs.
        start: the batch size at which the search began.
        seconds: training time of each run.
        runs: in the order in which they were made.
        batch_size: what it chose.
        steps: of a run at that size, which take as long as the comparison's at ``start``; ``None`` without a limit.
    """

    sampler: str | None = None
    seed: int | None = None
    start: int | None = None
    seconds: float | None = None
    runs: tuple[TuningRun, ...] = ()
    batch_size: int = 0
    steps: int | None = None


@dataclass(frozen=True)
class Resumption(Record):
    """A command that resumed something, and the packages and the device it ran with."""

    command: str = ""
    versions: Mapping[str, Any] = stored(default={})
    device: Mapping[str, Any] = stored(default={})


def _resumptions(value: object) -> tuple[Resumption, ...]:
    # The command alone is all that older files hold.
    return tuple(
        Resumption.parse(item if isinstance(item, Mapping) else {"command": item}) for item in listing(value)
    )


def _shape(value: object) -> tuple[int, ...]:
    sizes = [whole(size) for size in listing(value)]
    return () if None in sizes else tuple(size for size in sizes if size is not None)


@dataclass(frozen=True)
class Measured(Record):
    """How many cells of a signal are measured, and what those are called, in the plural."""

    cells: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class CorruptionInfo(Record):
    """How the data were made dirty that runs trained on: its name, amount and seed, and what was done in words."""

    name: str = ""
    amount: float | None = None
    seed: int | None = None
    text: str = ""


@dataclass(frozen=True)
class SignalInfo(Record):
    """What was fitted.

    Args:
        name: of the signal.
        path: its file; empty for one that is built in.
        shape: channels last; empty where it is damaged.
        dtype: the type of the file's values.
        fingerprint: of the file's content.
        value_range: least and greatest value that the file's type can hold.
        valid: how many cells hold data, where not all do.
        measured: what is measured of it, where that is not every cell.
        corruption: how it was made dirty for training; ``None`` where it was not. Quality is of the clean signal.
        notes: what was chosen, converted or left out when it was read, one sentence each.
    """

    name: str = "unnamed signal"
    path: str = ""
    shape: tuple[int, ...] = stored(default=(), read=_shape)
    dtype: str = ""
    fingerprint: str = ""
    value_range: tuple[float, float] | None = stored(read=number_pair)
    valid: float | None = None
    measured: Measured = stored(default=Measured())
    corruption: CorruptionInfo | None = None
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> float | None:
        """Its pixels, samples or voxels; ``None`` where its shape is not known."""
        return float(math.prod(self.shape[:-1])) if len(self.shape) > 1 else None

    @property
    def has_gaps(self) -> bool:
        """Whether some of its cells hold no data."""
        return self.valid is not None and self.cells is not None and self.valid < self.cells


@dataclass(frozen=True)
class Described(Record):
    """What ``results.json`` and a run's ``config.json`` both hold.

    Args:
        task: the kind of signal.
        unit: what a cell of the signal is called, in the plural.
        signal: what was fitted.
        created: when it was begun, as ISO 8601 text.
        command: what began it.
        resumed: what resumed it.
        settings: by name.
        device: where it was begun.
        versions: of packages, by name.
    """

    task: str = "signal"
    unit: str = "pixels"
    signal: SignalInfo = stored(default=SignalInfo())
    created: str = ""
    command: str = ""
    resumed: tuple[Resumption, ...] = stored(default=(), read=_resumptions)
    settings: Mapping[str, Any] = stored(default={})
    device: Mapping[str, Any] = stored(default={})
    versions: Mapping[str, Any] = stored(default={})

    @property
    def seconds(self) -> float | None:
        """Training time of a run with the whole budget, where that is limited."""
        return number(self.settings.get("seconds"))

    @property
    def steps(self) -> int | None:
        """Steps of a run with the whole budget, where those are limited."""
        return whole(self.settings.get("steps"))

    @property
    def field(self) -> str:
        """The kind of field."""
        return str(self.settings.get("field") or "")


def _tuning(value: object) -> Tuning | None:
    found = Tuning.parse(value)
    return found if found.batch_size else None


@dataclass(frozen=True)
class Comparison(Described):
    """What ``results.json`` holds.

    Args:
        measured: what was measured, in words.
        complete: whether nothing is left to run.
        tuning: the search for uniform's batch size.
        density_range: least and greatest sample density relative to uniform that have a color of their own.
        color_maps: names of the color maps of the images, by kind: ``error``, ``samples``.
        runs: all runs.
        lines: the summary; a group of runs that the file's summary leaves out has a line with its PSNR alone.
    """

    measured: str = ""
    complete: bool = True
    tuning: Tuning | None = stored(read=_tuning)
    density_range: tuple[float, float] | None = stored(read=number_pair)
    color_maps: Mapping[str, str] = stored(default={})
    runs: tuple[RunResult, ...] = ()
    lines: tuple[Line, ...] = stored("summary", default=())

    def runs_of(self, line: Line) -> list[RunResult]:
        """The runs that a line of the summary stands for, of seeds that do not count, too."""
        return [run for run in self.runs if run.entry == line.entry]

    def counted(self, line: Line) -> list[RunResult]:
        """The runs of which a line's figures are."""
        # Files of before lines had their seeds: all count.
        return [run for run in self.runs_of(line) if not line.seeds or run.seed in line.seeds]

    @classmethod
    def parse(cls, value: object) -> Comparison:
        """The record of the JSON object in ``results.json``."""
        found = super().parse(value)
        return replace(found, lines=_lines(found))


def machine(device: object) -> str:
    """A device in words: ``AMD EPYC (CPU, 2 threads)``."""
    details = mapping(device)
    kind = str(details.get("type") or "").upper()
    threads = whole(details.get("threads"))
    extra = [kind] if kind else []
    if threads is not None and kind == "CPU":
        extra.append(several(threads, "thread"))
    name = str(details.get("name") or "")
    if not name:
        return ", ".join(extra) or "an unnamed machine"
    return f"{name} ({', '.join(extra)})" if extra else name


def _lines(comparison: Comparison) -> tuple[Line, ...]:
    groups = dict.fromkeys(run.entry for run in comparison.runs)
    stated: dict[Entry, Line] = {}
    for line in comparison.lines:
        own = [group for group in groups if group.sampler == line.sampler]
        if line.batch_size is None and len(own) == 1:
            # A line without a batch size speaks of the sampler's only group.
            line = replace(line, batch_size=own[0].batch_size, shorter=own[0].shorter)
        stated[line.entry] = line
    lines = [_line(comparison, stated.get(group) or Line(*group), group in stated) for group in groups]
    return (*lines, *(_line(comparison, line, True) for group, line in stated.items() if group not in groups))


def _line(comparison: Comparison, line: Line, stated: bool) -> Line:
    """A line whose PSNR is that of the runs where the file does not say, or cannot: JSON has no infinity."""
    finals = [run.curve[-1].psnr for run in comparison.counted(line) if run.good]
    if not stated:
        mean, deviation = mean_and_deviation(finals)
        return replace(line, psnr=mean, deviation=deviation)
    psnr = math.inf if line.psnr is None and math.inf in finals else line.psnr
    return replace(line, psnr=psnr, deviation=None if psnr is None or len(finals) == 1 else line.deviation)
