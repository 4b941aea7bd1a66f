"""A comparison as typed records, parsed once from ``results.json``.

Whatever a damaged or older file holds, a record is whole: a figure that is missing or no number is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from softmine.formatting import several
from softmine.study import json_fields as fields
from softmine.study.curves import CurvePoint, deviation, mean_psnr, parse_curve
from softmine.registry import with_shorter

NOW_AND_THEN = 0.1
"""From this on, what a sampler does only in some of its steps is told beside the median step's overhead."""

Group = tuple[str, int | None, float]
"""A sampler, its batch size, and how many times shorter its budget is."""


def _group(item: Mapping[str, Any]) -> Group:
    shorter = fields.number(item.get("shorter")) or 1.0
    return (
        fields.text(item.get("sampler"), "unnamed"),
        fields.whole(item.get("batch_size")),
        max(1.0, shorter),
    )


@dataclass(frozen=True)
class RunImages:
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

    @staticmethod
    def parse(value: object) -> RunImages:
        """The record of a JSON object."""
        item = fields.mapping(value)
        named = (item.get("reconstruction"), item.get("error"))
        reconstruction, error = (name if isinstance(name, str) else "" for name in named)
        samples = tuple(name for name in fields.listing(item.get("samples")) if isinstance(name, str))
        return RunImages(reconstruction, error, fields.number(item.get("error_scale")), samples)


@dataclass(frozen=True)
class RunResult:
    """One run of a comparison.

    Args:
        sampler: as the comparison names it, with its options.
        batch_size: coordinates per step.
        seed: random seed.
        curve: its evaluations, rising.
        shorter: how many times shorter its budget is than the comparison's.
        interleaved: number of the group of runs that were interleaved with each other.
        steps: steps made.
        train_seconds: training time.
        step_ms: median time of a step.
        sampler_ms: the sampler's part of it.
        finished: whether its budget is spent.
        diverged_at: the step at which its loss was no longer a number.
        images: what was drawn of it.
    """

    sampler: str
    batch_size: int | None
    seed: int | None
    curve: tuple[CurvePoint, ...]
    shorter: float = 1.0
    interleaved: int | None = None
    steps: int | None = None
    train_seconds: float | None = None
    step_ms: float | None = None
    sampler_ms: float | None = None
    finished: bool = True
    diverged_at: int | None = None
    images: RunImages = field(default_factory=RunImages)

    @property
    def group(self) -> Group:
        """What it is a run of."""
        return self.sampler, self.batch_size, self.shorter

    @property
    def name(self) -> str:
        """The sampler, and how many times shorter its budget is where it is."""
        return with_shorter(self.sampler, self.shorter)

    @property
    def final_psnr(self) -> float | None:
        """PSNR in dB of its last evaluation; infinite for an exact fit, ``None`` without any."""
        return self.curve[-1].psnr if self.curve else None

    @property
    def good(self) -> bool:
        """Whether it was evaluated and did not diverge."""
        return self.diverged_at is None and bool(self.curve)

    @staticmethod
    def parse(value: object) -> RunResult:
        """The record of a JSON object."""
        item = fields.mapping(value)
        sampler, batch_size, shorter = _group(item)
        return RunResult(
            sampler=sampler,
            batch_size=batch_size,
            seed=fields.whole(item.get("seed")),
            curve=parse_curve(item.get("curve")),
            shorter=shorter,
            interleaved=fields.whole(item.get("race")),
            steps=fields.whole(item.get("steps")),
            train_seconds=fields.number(item.get("train_seconds")),
            step_ms=fields.number(item.get("step_ms_median")),
            sampler_ms=fields.number(item.get("sampler_ms_median")),
            finished=item.get("finished") is not False,
            diverged_at=fields.whole(item.get("diverged_at")),
            images=RunImages.parse(item.get("images")),
        )


@dataclass(frozen=True)
class Line:
    """One line of the summary: a sampler at a batch size, with the budget or a shorter one.

    ``softmine.study.summary.summarize`` says how each figure is computed.

    Args:
        sampler: as the comparison names it, with its options.
        batch_size: coordinates per step.
        shorter: how many times shorter its budget is than the comparison's.
        seeds: those that count; empty for all.
        baseline_batch_size: batch size of the uniform sampling that speed-ups and margin are against.
        psnr: mean final PSNR in dB; infinite with an exact fit, ``None`` where no run ended.
        deviation: standard deviation of that over seeds; ``None`` below two.
        speedup_seconds: time to uniform's final PSNR: uniform's over its own; ``None`` for never.
        speedup_steps: the same in steps.
        minimum_margin: PSNR in dB above uniform's at equal time where that is least, after 10% of the budget.
        overhead: step time over uniform's at the same batch size, minus 1.
        overhead_in_all: the same of the mean step, with what the sampler does only now and then.
        exact_share: gain relative to that of exact importance sampling.
        diverged: runs that diverged.
    """

    sampler: str
    batch_size: int | None
    shorter: float = 1.0
    seeds: tuple[int, ...] = ()
    baseline_batch_size: int | None = None
    psnr: float | None = None
    deviation: float | None = None
    speedup_seconds: float | None = None
    speedup_steps: float | None = None
    minimum_margin: float | None = None
    overhead: float | None = None
    overhead_in_all: float | None = None
    exact_share: float | None = None
    diverged: int = 0

    @property
    def group(self) -> Group:
        """What tells it from other lines, and its runs from others."""
        return self.sampler, self.batch_size, self.shorter

    @property
    def name(self) -> str:
        """The sampler, and how many times shorter its budget is where it is."""
        return with_shorter(self.sampler, self.shorter)

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
        """The line as ``results.json`` has it."""
        # The file says 0 where there is no deviation, and null where there can be none.
        std = self.deviation if self.deviation is not None or self.psnr == math.inf else 0.0
        return {
            "sampler": self.sampler,
            "batch_size": self.batch_size,
            "shorter": self.shorter,
            "seeds": list(self.seeds),
            "baseline_batch_size": self.baseline_batch_size,
            "psnr_mean": self.psnr,
            "psnr_std": std,
            "speedup_seconds": self.speedup_seconds,
            "speedup_steps": self.speedup_steps,
            "worst_deficit": None if self.minimum_margin is None else 0.0 - self.minimum_margin,
            "overhead": self.overhead,
            "overhead_in_all": self.overhead_in_all,
            "oracle_share": self.exact_share,
            "diverged": self.diverged,
        }

    @staticmethod
    def parse(value: object) -> Line:
        """The record of a JSON object; :meth:`Comparison.parse` tells an exact fit from a missing figure."""
        item = fields.mapping(value)
        sampler, batch_size, shorter = _group(item)
        deficit, mean = fields.number(item.get("worst_deficit")), item.get("psnr_mean")
        seeds = (fields.whole(seed) for seed in fields.listing(item.get("seeds")))
        return Line(
            sampler=sampler,
            batch_size=batch_size,
            shorter=shorter,
            seeds=tuple(seed for seed in seeds if seed is not None),
            baseline_batch_size=fields.whole(item.get("baseline_batch_size")),
            psnr=math.inf if mean == math.inf else fields.number(mean),
            deviation=fields.number(item.get("psnr_std")),
            speedup_seconds=fields.number(item.get("speedup_seconds")),
            speedup_steps=fields.number(item.get("speedup_steps")),
            minimum_margin=None if deficit is None else 0.0 - deficit,
            overhead=fields.number(item.get("overhead")),
            overhead_in_all=fields.number(item.get("overhead_in_all")),
            exact_share=fields.number(item.get("oracle_share")),
            diverged=fields.whole(item.get("diverged")) or 0,
        )


@dataclass(frozen=True)
class TuningRun:
    """One run of the search for uniform's batch size."""

    batch_size: int | None
    interleaved: int | None
    steps: int | None
    psnr: float | None


@dataclass(frozen=True)
class Tuning:
    """The search for uniform's batch size.

    Args:
        batch_size: what it chose.
        seconds: training time of each run.
        runs: in the order in which they were made.
    """

    batch_size: int
    seconds: float | None
    runs: tuple[TuningRun, ...]

    @staticmethod
    def parse(value: object) -> Tuning | None:
        """The record of a JSON object; ``None`` where there was no search."""
        item = fields.mapping(value)
        chosen = fields.whole(item.get("batch_size"))
        if chosen is None:
            return None
        runs = tuple(
            TuningRun(
                fields.whole(run.get("batch_size")),
                fields.whole(run.get("race")),
                fields.whole(run.get("steps")),
                fields.number(run.get("psnr")),
            )
            for run in map(fields.mapping, fields.listing(item.get("runs")))
        )
        return Tuning(chosen, fields.number(item.get("seconds")), runs)


@dataclass(frozen=True)
class Resumption:
    """A command that resumed something, and the packages it ran with."""

    command: str
    versions: Mapping[str, Any]
    device: Mapping[str, Any]

    @staticmethod
    def parse(value: object) -> Resumption:
        """The record of a JSON object, or of the command alone, which is all that older files hold."""
        item = fields.mapping(value)
        command = item.get("command") if isinstance(value, Mapping) else value
        return Resumption(
            fields.text(command), fields.mapping(item.get("versions")), fields.mapping(item.get("device"))
        )


@dataclass(frozen=True)
class SignalInfo:
    """What was fitted: its name, shape (channels last), and what a cell of it is called in the plural."""

    name: str
    shape: tuple[int, ...]
    unit: str

    @staticmethod
    def parse(value: object, unit: object) -> SignalInfo:
        """The record of the JSON object ``signal``; a shape that is damaged is empty."""
        item = fields.mapping(value)
        sizes = [fields.whole(size) for size in fields.listing(item.get("shape"))]
        shape = tuple(size for size in sizes if size is not None)
        name = fields.text(item.get("name"), "unnamed signal")
        return SignalInfo(name, shape if len(shape) == len(sizes) else (), fields.text(unit, "pixels"))


@dataclass(frozen=True)
class Comparison:
    """What ``results.json`` holds.

    Args:
        task: the kind of signal.
        signal: what was fitted.
        created: when it was begun, as ISO 8601 text.
        command: what began it.
        resumed: what resumed it.
        settings: of the comparison, by name.
        device: where it ran.
        versions: of packages, by name.
        measured: what was measured, in words.
        complete: whether nothing is left to run.
        tuning: the search for uniform's batch size.
        density_range: least and greatest sample density relative to uniform that have a color of their own.
        color_maps: names of the color maps of the images, by kind: ``error``, ``samples``.
        runs: all runs.
        lines: the summary; a group of runs that the file's summary leaves out has a line with its PSNR alone.
    """

    task: str
    signal: SignalInfo
    created: str
    command: str
    resumed: tuple[Resumption, ...]
    settings: Mapping[str, Any]
    device: Mapping[str, Any]
    versions: Mapping[str, Any]
    measured: str
    complete: bool
    tuning: Tuning | None
    density_range: tuple[float, float] | None
    color_maps: Mapping[str, str]
    runs: tuple[RunResult, ...]
    lines: tuple[Line, ...]

    @property
    def seconds(self) -> float | None:
        """Training time of a run with the whole budget, where that is limited."""
        return fields.number(self.settings.get("seconds"))

    @property
    def steps(self) -> int | None:
        """Steps of a run with the whole budget, where those are limited."""
        return fields.whole(self.settings.get("steps"))

    @property
    def field(self) -> str:
        """The kind of field."""
        return fields.text(self.settings.get("field"))

    def runs_of(self, line: Line) -> list[RunResult]:
        """The runs that a line of the summary stands for, of seeds that do not count, too."""
        return [run for run in self.runs if run.group == line.group]

    def counted(self, line: Line) -> list[RunResult]:
        """The runs of which a line's figures are."""
        # Files of before lines had their seeds: all count.
        return [run for run in self.runs_of(line) if not line.seeds or run.seed in line.seeds]

    @staticmethod
    def parse(data: Mapping[str, Any]) -> Comparison:
        """The record of the JSON object in ``results.json``."""
        items = [
            fields.mapping(item) for item in fields.listing(data.get("runs")) if isinstance(item, Mapping)
        ]
        comparison = Comparison(
            task=fields.text(data.get("task"), "signal"),
            signal=SignalInfo.parse(data.get("signal"), data.get("unit")),
            created=fields.text(data.get("created")),
            command=fields.text(data.get("command")),
            resumed=tuple(map(Resumption.parse, fields.listing(data.get("resumed")))),
            settings=fields.mapping(data.get("settings")),
            device=fields.mapping(data.get("device")),
            versions=fields.mapping(data.get("versions")),
            measured=fields.text(data.get("measured")),
            complete=data.get("complete") is not False,
            tuning=Tuning.parse(data.get("tuning")),
            density_range=parse_range(data.get("density_range")),
            color_maps=parse_names(data.get("color_maps")),
            runs=tuple(map(RunResult.parse, items)),
            lines=(),
        )
        return replace(comparison, lines=_lines(comparison, data.get("summary")))


def machine(device: object) -> str:
    """A device in words: ``AMD EPYC (CPU, 2 threads)``."""
    details = fields.mapping(device)
    kind = fields.text(details.get("type")).upper()
    threads = fields.whole(details.get("threads"))
    extra = [kind] if kind else []
    if threads is not None and kind == "CPU":
        extra.append(several(threads, "thread"))
    name = fields.text(details.get("name"))
    if not name:
        return ", ".join(extra) or "an unnamed machine"
    return f"{name} ({', '.join(extra)})" if extra else name


def parse_range(value: object) -> tuple[float, float] | None:
    """Two numbers, the lower first; ``None`` for anything else."""
    ends = [fields.number(item) for item in fields.listing(value)]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return ends[0], ends[1]


def parse_names(value: object) -> dict[str, str]:
    """Names by key; what is no text is left out."""
    return {key: name for key, name in fields.mapping(value).items() if isinstance(name, str)}


def _lines(comparison: Comparison, summary: object) -> tuple[Line, ...]:
    groups = {run.group: Line(*run.group) for run in comparison.runs}
    stated: dict[Group, Line] = {}
    for item in fields.listing(summary):
        if isinstance(item, Mapping):
            line = Line.parse(item)
            own = [group for group in groups if group[0] == line.sampler]
            if line.batch_size is None and len(own) == 1:
                # A line without a batch size speaks of the sampler's only group.
                line = replace(line, batch_size=own[0][1], shorter=own[0][2])
            stated[line.group] = line
    found = [stated.get(group, line) for group, line in groups.items()]
    found += [line for group, line in stated.items() if group not in groups]
    return tuple(_with_psnr(comparison, line, line.group in stated) for line in found)


def _with_psnr(comparison: Comparison, line: Line, stated: bool) -> Line:
    """A line whose PSNR is that of the runs where the file does not say, or cannot: JSON has no infinity."""
    finals = [run.curve[-1].psnr for run in comparison.counted(line) if run.good]
    if not stated:
        return replace(line, psnr=mean_psnr(finals), deviation=deviation(finals))
    psnr = math.inf if line.psnr is None and math.inf in finals else line.psnr
    return replace(line, psnr=psnr, deviation=None if psnr is None or len(finals) == 1 else line.deviation)
