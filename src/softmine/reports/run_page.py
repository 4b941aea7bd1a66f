"""One run: the records in the files of its folder, and what its page shows of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softmine.reports import charts, text
from softmine.reports.images import run_images
from softmine.reports.page import read_lines, read_object, read_optional
from softmine.reports.signal_table import signal_context
from softmine.runs.files import refuse_links
from softmine.study.json_fields import Record, apart, stored
from softmine.study.results import Described


@dataclass(frozen=True)
class Evaluation(Record):
    """One line of ``metrics.jsonl``; a figure that is missing or no number is ``None``.

    Args:
        step: steps made.
        seconds: training time.
        psnr: in dB.
        ssim: structural similarity.
        loss: of the last step.
        samples: drawn until then.
        evaluated: cells that were measured.
        step_ms: median time of a step.
        sampler_ms: the sampler's part of it.
        subset: whether not every cell was measured.
        more: measures that only some kinds of signal have, such as ``iou``.
    """

    step: int = -1
    seconds: float = math.nan
    psnr: float | None = None
    ssim: float | None = None
    loss: float | None = None
    samples: float | None = None
    evaluated: float | None = None
    step_ms: float | None = stored("step_ms_median")
    sampler_ms: float | None = stored("sampler_ms_median")
    subset: bool = False
    more: Mapping[str, float] = stored(default={}, rest=True)


@dataclass(frozen=True)
class Status(Record):
    """``status.json``: how far a run came, and how it ended.

    Args:
        state: running, finished, interrupted, stopped-nan or failed; empty where the file does not say.
        step: steps made.
        seconds: training time.
        message: what a person must know of its end.
        psnr_in_all: PSNR in dB over every cell, where that was measured at the end.
    """

    state: str = ""
    step: int | None = None
    seconds: float | None = None
    message: str = ""
    psnr_in_all: float | None = None


@dataclass(frozen=True)
class Run(Described):
    """A run folder.

    Args:
        seed: random seed.
        parameters: of the field.
        folder: where it lies.
        evaluations: by step, rising.
        status: how it ended.
    """

    seed: Any = None
    parameters: float | None = None
    folder: Path = apart(Path())
    evaluations: tuple[Evaluation, ...] = apart(())
    status: Status = apart(Status())

    @property
    def sampler(self) -> str:
        """The sampler with its options."""
        return str(self.settings.get("sampler") or "")

    @staticmethod
    def read(folder: Path) -> Run:
        """The record of a folder, of which only ``config.json`` is needed.

        Raises:
            SoftmineError: the folder or its ``config.json`` is missing or damaged.
        """
        refuse_links(folder)
        config = read_object(folder / "config.json")
        found = map(Evaluation.parse, read_lines(folder / "metrics.jsonl"))
        # A resumed run may repeat an evaluation: the newer one counts.
        by_step = {one.step: one for one in found if one.step >= 0 and not math.isnan(one.seconds)}
        return replace(
            Run.parse(config),
            folder=folder,
            evaluations=tuple(by_step[step] for step in sorted(by_step)),
            status=Status.parse(read_optional(folder / "status.json")),
        )


def _result(run: Run) -> Evaluation | None:
    """The figures to report: over every cell where the run measured that at its end."""
    measured = [one for one in run.evaluations if one.psnr is not None]
    if not measured:
        return None
    last, status = measured[-1], run.status
    if status.psnr_in_all is None or status.step is None or status.seconds is None:
        return last
    # After a divergence the field is that of an earlier step.
    same = next((one for one in reversed(measured) if one.step <= status.step), last)
    return replace(same, psnr=status.psnr_in_all, step=status.step, seconds=status.seconds, subset=False)


def _ended(run: Run) -> str:
    """How the run ended where it did not finish, as a sentence; empty where it did."""
    status = run.status
    place = f" at step {text.count(status.step)}" if status.step is not None else ""
    place += f", after {text.duration(status.seconds)} of training" if status.seconds is not None else ""
    if status.state == "interrupted":
        return f"This run was interrupted{place}."
    if status.state == "stopped-nan":
        return "This run stopped because its loss was no longer a number (NaN)."
    if status.state == "running":
        return f"This run was not finished when this page was written{place}."
    if status.state == "finished":
        return ""
    if status.state:
        return f"This run ended as \u201c{status.state}\u201d{place}."
    last = run.evaluations[-1] if run.evaluations else None
    if last is not None and (
        (run.steps is not None and last.step >= 0.98 * run.steps)
        or (run.seconds is not None and last.seconds >= 0.98 * run.seconds)
    ):
        return ""
    return "This run left no record of how it ended; it may have been cut off."


def _message(run: Run) -> str:
    """What a person must know of the run's end beside how it ended."""
    if run.status.state == "interrupted" and run.status.message:
        return f"Continue with --resume {run.folder}"
    return run.status.message[:1].upper() + run.status.message[1:]


def _measured_on(run: Run, result: Evaluation) -> str:
    """On which pixels (samples, voxels) the figures were measured, in words."""
    unit = run.signal.measured.unit or run.unit
    subsets = [one for one in run.evaluations if one.subset and one.psnr is not None]
    if not subsets:
        return f"PSNR was measured on all {unit}."
    part, evaluated = f"a fixed subset of {unit}", subsets[-1].evaluated
    cells = run.signal.measured.cells or run.signal.cells
    if evaluated:
        share = f", {100 * evaluated / cells:.2g}% of all" if cells else ""
        part = f"a fixed subset of {text.count(evaluated)} {unit}{share}"
    if result.subset:
        return f"All figures were measured on {part}, not on all {unit}."
    return (
        f"The final PSNR of {text.decibels(result.psnr)} is over all {unit}; "
        f"during training it was measured on {part}."
    )


def _facts(run: Run, result: Evaluation | None) -> list[tuple[str, str]]:
    """The figures under the headline: name and value."""
    facts = []
    if result is not None:
        facts.append(("PSNR on a subset" if result.subset else "PSNR", text.decibels(result.psnr)))
        if result.ssim is not None:
            facts.append(("SSIM", text.fixed(result.ssim, 3)))
    if run.evaluations:
        last = run.evaluations[-1]
        for key, value in last.more.items():
            name = key.replace("_", " ")
            facts.append((name.upper() if len(name) <= 4 else name.capitalize(), text.significant(value)))
        facts += [("Steps", text.count(last.step)), ("Training time", text.duration(last.seconds))]
        step_ms = last.step_ms
        if step_ms is None and last.step > 0:
            step_ms = 1e3 * last.seconds / last.step
        if step_ms:
            facts.append(("Per step", f"{text.significant(step_ms)} ms"))
        if last.samples:
            facts.append(("Samples", text.compact(last.samples)))
            cells = run.signal.valid or run.signal.cells
            if cells:
                cell = run.unit.removesuffix("s")
                facts.append((f"Samples per {cell}", text.significant(last.samples / cells)))
    if run.parameters is not None:
        facts.append(("Parameters", text.compact(run.parameters)))
    return facts


def _line(run: Run, quality: str, axis: str, unit: float, mixed: bool) -> charts.Line:
    """A curve of ``psnr`` or ``ssim`` over ``seconds`` or ``step``, with a tooltip at every point."""
    digits, ending = (1, " dB") if quality == "psnr" else (3, "")
    points = [one for one in run.evaluations if getattr(one, quality) is not None]
    values = [float(getattr(one, quality)) for one in points]
    return charts.Line(
        name="",
        value=text.fixed(values[-1], digits) + ending if values else "",
        x=[getattr(one, axis) / unit for one in points],
        y=values,
        marks=[
            f"step {text.count(one.step)}, {text.duration(one.seconds)}: "
            f"{text.fixed(value, digits + 1)}{ending}"
            for one, value in zip(points, values, strict=True)
        ],
        hollow=[mixed and one.subset for one in points],
    )


def _charts(run: Run, mixed: bool) -> list[charts.Chart]:
    """PSNR against time and steps; SSIM against time where it was measured."""
    if sum(one.psnr is not None for one in run.evaluations) < 2:
        return []
    unit, across = charts.time_axis(max(one.seconds for one in run.evaluations))
    note = "dB, higher is better"
    drawn = [
        charts.draw(
            [_line(run, "psnr", "seconds", unit, mixed)],
            title="PSNR against training time", note=note, across=across,
        ),
        charts.draw(
            [_line(run, "psnr", "step", 1.0, mixed)],
            title="PSNR against steps", note=note, across="training steps",
        ),
        charts.draw(
            [_line(run, "ssim", "seconds", unit, mixed)],
            title="SSIM", note="at most 1", across=across, least=0.02, ceiling=1.0,
        ),
    ]  # fmt: skip
    return [chart for chart in drawn if chart is not None]


def _headline(run: Run, result: Evaluation | None) -> str:
    if result is None:
        steps = run.status.step or (run.evaluations[-1].step if run.evaluations else 0)
        return f"No quality was measured{f' in {text.count(steps)} steps' if steps else ''}"
    return (
        f"{text.decibels(result.psnr, 1)} after {text.several(result.step, 'step')}, "
        f"{text.duration(result.seconds)} of training"
    )


def fit_page(folder: Path) -> dict[str, Any]:
    """The context of ``fit.html``.

    Raises:
        SoftmineError: the folder or its ``config.json`` is missing or damaged.
    """
    run = Run.read(folder)
    result = _result(run)
    mixed = len({one.subset for one in run.evaluations if one.psnr is not None}) > 1
    extra = {key: value for key in ("seed", "parameters") if (value := getattr(run, key)) is not None}
    groups, rest = text.settings({**run.settings, **extra})
    return {
        "task": run.task,
        "created": text.moment(run.created),
        "headline": _headline(run, result),
        "sampler": text.in_prose(run.sampler),
        "field": text.field_name(run.field),
        "machine": text.machines([run.device, *(one.device for one in run.resumed)]),
        "facts": _facts(run, result),
        "uniform": run.sampler.partition(":")[0] == "uniform",
        "state": run.status.state,
        "ended": _ended(run),
        "message": _message(run),
        "images": run_images(folder, run.signal),
        "charts": _charts(run, mixed),
        "records": run.evaluations,
        "mixed": mixed,
        "unit": run.unit,
        "measured_on": _measured_on(run, result) if result is not None else "",
        "groups": groups,
        "rest": rest,
        **signal_context(run),
        "versions": text.versions([run.versions, *(one.versions for one in run.resumed)]),
        "command": run.command,
        "resumed": [one.command for one in run.resumed],
        "seed": run.seed,
    }
