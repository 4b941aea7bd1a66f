"""What the page of one run shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softmine.study import charts
from softmine.study import report_text as text
from softmine.study.report_page import read_lines, read_object, read_optional
from softmine.study.report_pictures import pictures

MEASURES = ("step", "seconds", "psnr", "ssim", "loss", "samples", "evaluated", "step_ms_median")
Record = dict[str, Any]
"""One evaluation: the measures, each a number or ``None``, and whether it is of a subset."""


def evaluations(lines: list[dict[str, Any]]) -> list[Record]:
    """The usable evaluations by step: those with numbers for ``step`` and ``seconds``."""
    found: dict[float, Record] = {}
    for line in lines:
        record: Record = {key: text.number(line.get(key)) for key in MEASURES}
        if record["step"] is not None and record["seconds"] is not None:
            # A resumed run may repeat an evaluation: the newer one counts.
            found[record["step"]] = {**record, "subset": line.get("subset") is True, "more": _more(line)}
    return [found[step] for step in sorted(found)]


def _more(line: Mapping[str, Any]) -> dict[str, float]:
    """Measures that only some kinds of signal have, such as ``iou``."""
    known = {*MEASURES, "subset", "sampler_ms_median"}
    return {key: value for key in line if key not in known and (value := text.number(line[key])) is not None}


def _result(records: list[Record], status: Mapping[str, Any]) -> Record | None:
    """The figures to report: over every pixel where the run measured that at its end."""
    measured = [record for record in records if record["psnr"] is not None]
    if not measured:
        return None
    last = measured[-1]
    psnr, step = text.number(status.get("psnr_in_all")), text.number(status.get("step"))
    seconds = text.number(status.get("seconds"))
    if psnr is None or step is None or seconds is None:
        return last
    # After a divergence the field is that of an earlier step.
    same = next((record for record in reversed(measured) if record["step"] <= step), last)
    return {**same, "psnr": psnr, "step": step, "seconds": seconds, "subset": False}


def _ended(status: Mapping[str, Any], last: Record | None, budget: Mapping[str, Any]) -> str:
    """How the run ended where it did not finish, as a sentence; empty where it did."""
    state = str(status.get("state") or "")
    step, seconds = text.number(status.get("step")), text.number(status.get("seconds"))
    place = f" at step {text.count(step)}" if step is not None else ""
    place += f", after {text.duration(seconds)} of training" if seconds is not None else ""
    if state == "interrupted":
        return f"This run was interrupted{place}."
    if state == "stopped-nan":
        return "This run stopped because its loss was no longer a number (NaN)."
    if state == "running":
        return f"This run was not finished when this page was written{place}."
    if state == "finished":
        return ""
    if state:
        return f"This run ended as \u201c{state}\u201d{place}."
    reached = [
        last is not None and last[key] >= 0.98 * limit
        for key, allowed in (("step", "steps"), ("seconds", "seconds"))
        if (limit := text.number(budget.get(allowed))) is not None
    ]
    if any(reached):
        return ""
    return "This run left no record of how it ended; it may have been cut off."


def _message(status: Mapping[str, Any]) -> str:
    """The run's own words about its end, less what the page already says."""
    message = str(status.get("message") or "")
    if message.startswith("interrupted at"):
        message = message.partition("; ")[2]
    return message[:1].upper() + message[1:]


def _measured_on(records: list[Record], result: Record, cells: float | None, unit: str) -> str:
    """On which pixels (samples, voxels) the figures were measured, in words."""
    subsets = [record for record in records if record["subset"] and record["psnr"] is not None]
    if not subsets:
        return f"PSNR was measured on all {unit}."
    asked = subsets[-1]["evaluated"]
    share = f", {100 * asked / cells:.2g}% of all" if asked and cells else ""
    part = f"a fixed subset of {text.count(asked)} {unit}{share}" if asked else f"a fixed subset of {unit}"
    if result["subset"]:
        return f"All figures were measured on {part}, not on all {unit}."
    return (
        f"The final PSNR of {text.decibel(result['psnr'], 2)} is over all {unit}; "
        f"during training it was measured on {part}."
    )


def _facts(
    result: Record | None, last: Record | None, cells: float | None, parameters: object, unit: str
) -> list[tuple[str, str]]:
    """The figures under the headline: name and value."""
    facts = []
    if result is not None:
        facts.append(("PSNR on a subset" if result["subset"] else "PSNR", text.decibel(result["psnr"], 2)))
        if result["ssim"] is not None:
            facts.append(("SSIM", text.fixed(result["ssim"], 3)))
    if last is not None:
        for key, value in last["more"].items():
            name = key.replace("_", " ")
            facts.append((name.upper() if len(name) <= 4 else name.capitalize(), text.significant(value)))
        facts += [
            ("Steps", text.count(last["step"])),
            ("Training time", text.duration(last["seconds"])),
        ]
        step_ms = last["step_ms_median"]
        if step_ms is None and last["step"] > 0:
            step_ms = 1e3 * last["seconds"] / last["step"]
        if step_ms:
            facts.append(("Per step", f"{text.significant(step_ms)} ms"))
        if last["samples"]:
            facts.append(("Samples", text.compact(last["samples"])))
            if cells:
                facts.append(
                    (f"Samples per {unit.removesuffix('s')}", text.significant(last["samples"] / cells))
                )
    if text.number(parameters) is not None:
        facts.append(("Parameters", text.compact(parameters)))
    return facts


def _charts(records: list[Record], mixed: bool) -> list[charts.Chart]:
    """PSNR against time and steps; SSIM against time where it was measured."""

    def line(by: str, what: str, unit: float, digits: int, ending: str) -> charts.Line:
        points = [record for record in records if record[what] is not None]
        return charts.Line(
            name="",
            value=text.fixed(points[-1][what], digits) + ending if points else "",
            x=[record[by] / unit for record in points],
            y=[record[what] for record in points],
            marks=[
                f"step {text.count(record['step'])}, {text.duration(record['seconds'])}: "
                f"{text.fixed(record[what], digits + 1)}{ending}"
                for record in points
            ],
            hollow=[mixed and record["subset"] for record in points],
        )

    if sum(record["psnr"] is not None for record in records) < 2:
        return []
    unit, across = charts.time_axis(max((record["seconds"] for record in records), default=0.0))
    drawn = [
        charts.draw(
            [line("seconds", "psnr", unit, 1, " dB")],
            title="PSNR against training time", note="dB, higher is better", across=across,
        ),
        charts.draw(
            [line("step", "psnr", 1.0, 1, " dB")],
            title="PSNR against steps", note="dB, higher is better", across="training steps",
        ),
        charts.draw(
            [line("seconds", "ssim", unit, 3, "")],
            title="SSIM", note="at most 1", across=across, least=0.02, ceiling=1.0,
        ),
    ]  # fmt: skip
    return [chart for chart in drawn if chart is not None]


def _headline(result: Record | None, status: Mapping[str, Any], last: Record | None) -> str:
    if result is None:
        steps = text.number(status.get("step")) or (last["step"] if last is not None else 0)
        return f"No quality was measured{f' in {text.count(steps)} steps' if steps else ''}"
    return (
        f"{text.decibel(result['psnr'])} after {text.several(round(result['step']), 'step')}, "
        f"{text.duration(result['seconds'])} of training"
    )


def fit_page(run: Path) -> dict[str, Any]:
    """The context of ``fit.html``.

    Raises:
        SoftmineError: the folder or its ``config.json`` is missing or damaged.
    """
    config = read_object(run / "config.json")
    records = evaluations(read_lines(run / "metrics.jsonl"))
    status = read_optional(run / "status.json")
    signal = text.mapping(config.get("signal"))
    chosen = text.mapping(config.get("settings"))
    last = records[-1] if records else None
    result = _result(records, status)
    mixed = len({record["subset"] for record in records if record["psnr"] is not None}) > 1
    shape = [text.number(item) for item in text.listing(signal.get("shape"))]
    cells = math.prod(size or 0.0 for size in shape[:-1]) if len(shape) > 1 else None
    unit = str(config.get("unit") or "pixels")
    measured = text.mapping(signal.get("measured"))
    where = text.number(measured.get("cells")) or cells, str(measured.get("unit") or unit)
    extra = {key: config[key] for key in ("seed", "parameters") if key in config}
    groups, rest = text.settings({**chosen, **extra})
    resumed = [text.mapping(one) for one in text.listing(config.get("resumed"))]
    return {
        "title": str(signal.get("name") or "unnamed signal"),
        "task": str(config.get("task") or "signal"),
        "created": text.moment(config.get("created")),
        "headline": _headline(result, status, last),
        "sampler": text.in_prose(str(chosen.get("sampler") or "")),
        "field": text.field_name(chosen.get("field")),
        "machine": text.machines([config.get("device"), *(one.get("device") for one in resumed)]),
        "facts": _facts(result, last, cells, config.get("parameters"), unit),
        "uniform": str(chosen.get("sampler")).partition(":")[0] == "uniform",
        "state": str(status.get("state") or ""),
        "ended": _ended(status, last, chosen),
        "message": _message(status),
        "pictures": pictures(run, config),
        "charts": _charts(records, mixed),
        "records": records,
        "mixed": mixed,
        "unit": unit,
        "measured_on": _measured_on(records, result, *where) if result is not None else "",
        "groups": groups,
        "rest": rest,
        "signal": {
            "path": str(signal.get("path") or ("built in" if signal else text.NOTHING)),
            "size": text.size(signal.get("shape"), unit),
            "dtype": str(signal.get("dtype") or text.NOTHING),
            "fingerprint": str(signal.get("fingerprint") or text.NOTHING),
        },
        "versions": text.versions([config.get("versions"), *(one.get("versions") for one in resumed)]),
        "command": str(config.get("command") or ""),
        "resumed": [str(one.get("command") or "") for one in resumed],
        "seed": config.get("seed"),
    }
