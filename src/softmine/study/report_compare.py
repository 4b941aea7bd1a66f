"""What the page of a comparison shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softmine.study import charts
from softmine.study import report_text as text
from softmine.study.report_curves import Spread, final_psnr, gain, read_points
from softmine.study.report_gallery import gallery
from softmine.study.report_page import read_object
from softmine.study.report_summary import BASELINE, Row, best_figures, strip, table
from softmine.study.report_verdict import compared, given, verdict
from softmine.study.shorter import with_shorter

FOCUS = 0.08
"""Share of the width where curves may leave the frame: their start would dwarf the differences."""
NOW_AND_THEN = 0.1
"""From this on, what a sampler does only in some of its steps is told beside the median step's overhead."""
STACKED = 106
"""Height in pixels of what lies between two stacked charts: axis labels, a gap and a title."""


Style = tuple[str, str]
"""Colour and dash of a line."""


def _styles(rows: list[Row]) -> dict[str, Style]:
    """The style of every row by its label: colours tell samplers apart, dashes batch sizes and shorter budgets."""
    colours = charts.colours([row.sampler for row in rows], BASELINE)
    styles = {}
    for row in rows:
        colour, dash = colours[row.sampler]
        alike = [other for other in rows if other.sampler == row.sampler]
        variants = sorted({(other.shorter, other.batch_size or 0) for other in alike})
        place = variants.index((row.shorter, row.batch_size or 0))
        styles[row.label] = (colour, charts.DASHES[place % len(charts.DASHES)] if place else dash)
    return styles


def _line(row: Row, style: Style, curve: Spread, by: str, unit: float) -> charts.Line:
    several = sum(bool(read_points(run.get("curve"), by).x) for run in row.counted) > 1
    return charts.Line(
        name=row.label,
        value=text.fixed(curve.median[-1], 1),
        colour=style[0],
        dash=style[1],
        x=[x / unit for x in curve.x],
        y=curve.median,
        low=curve.low if several else None,
        high=curve.high if several else None,
    )


def _charts(rows: list[Row], styles: dict[str, Style]) -> dict[str, charts.Chart | None]:
    """PSNR against time (large), against steps, and the gain over the baseline, where known."""
    # Baseline first, so that the others are drawn over it.
    ordered = sorted(rows, key=lambda row: not row.baseline)
    timed = [(row, row.by_seconds) for row in ordered if row.by_seconds is not None]
    stepped = [(row, row.by_step) for row in ordered if row.by_step is not None]
    unit, across = charts.time_axis(max((curve.x[-1] for _, curve in timed), default=0.0))
    lines = [_line(row, styles[row.label], curve, "seconds", unit) for row, curve in timed]
    note = "dB, higher is better"
    by_step = charts.draw(
        [_line(row, styles[row.label], curve, "step", 1.0) for row, curve in stepped],
        title="PSNR against steps", note=note, across="training steps", height=240, focus=FOCUS,
    )  # fmt: skip

    base = next((row for row in rows if row.baseline), None)
    gains: list[charts.Line] = []
    for (row, curve), line in zip(timed, lines, strict=True):
        if base is None or base.by_seconds is None or row.baseline:
            continue
        above = gain(curve, base.by_seconds)
        if above.x:
            x, value = [x / unit for x in above.x], text.signed(above.psnr[-1])
            gains.append(replace(line, x=x, y=above.psnr, low=None, high=None, value=value))
    name = base.label if base is not None else BASELINE
    over = charts.draw(
        gains, title=f"Gain over {name} at equal time", note="dB, above the line is better",
        across=across, height=200, focus=FOCUS, zero=name,
    )  # fmt: skip
    tall = by_step.height if by_step is not None else 240
    if over is not None:
        tall += over.height + STACKED
    by_time = charts.draw(
        lines,
        title="PSNR against training time",
        note=note,
        across=across,
        height=tall,
        focus=FOCUS,
    )
    return {"time": by_time, "step": by_step, "gain": over}


def _run_lines(rows: list[Row]) -> list[dict[str, Any]]:
    lines = []
    for row in rows:
        for run in row.runs:
            points = [text.mapping(item) for item in text.listing(run.get("curve"))]
            ssim = [value for item in points if (value := text.number(item.get("ssim"))) is not None]
            lines.append(
                {
                    **{key: run.get(key) for key in (
                        "seed", "batch_size", "race", "steps", "train_seconds", "step_ms_median",
                        "sampler_ms_median",
                    )},
                    "sampler": with_shorter(row.sampler, row.shorter),
                    "diverged_at": text.number(run.get("diverged_at")),
                    "psnr": final_psnr(run),
                    "ssim": ssim[-1] if ssim else None,
                }
            )  # fmt: skip
    return lines


def _tuning(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The search for uniform's batch size, with its runs by race; ``None`` where there was none."""
    tuning = text.mapping(data.get("tuning"))
    runs = [text.mapping(run) for run in text.listing(tuning.get("runs"))]
    if text.number(tuning.get("batch_size")) is None or not runs:
        return None
    keys = ("race", "batch_size", "steps", "psnr")
    return {
        "batch_size": text.number(tuning["batch_size"]),
        "seconds": text.number(tuning.get("seconds")),
        "runs": [{key: text.number(run.get(key)) for key in keys} for run in runs],
    }


def compare_page(folder: Path) -> dict[str, Any]:
    """The context of ``compare.html``.

    Raises:
        SoftmineError: the folder or its ``results.json`` is missing or damaged.
    """
    data = read_object(folder / "results.json")
    rows = table(data)
    styles = _styles(rows)
    chosen: Mapping[str, Any] = text.mapping(data.get("settings"))
    signal = text.mapping(data.get("signal"))
    seconds, steps = text.number(chosen.get("seconds")), text.number(chosen.get("steps"))
    result = verdict(rows, seconds, steps)
    runs = _run_lines(rows)
    races = {race for run in runs if (race := text.number(run["race"])) is not None}
    groups, folded = text.settings(chosen)
    resumed = text.listing(data.get("resumed"))
    return {
        "title": str(signal.get("name") or "unnamed signal"),
        "task": str(data.get("task") or "signal"),
        "size": text.size(signal.get("shape"), str(data.get("unit") or "pixels")),
        "created": text.moment(data.get("created")),
        "headline": result.lead,
        "qualified": result.rest,
        "field": text.field_name(chosen.get("field")),
        "samplers": len({row.sampler for row in rows}),
        "seeds": max((len(row.counted) for row in rows), default=0),
        "machine": text.machine(data.get("device")),
        "rows": rows,
        "styles": styles,
        "winner": compared(rows)[0].label if rows and result.clear else "",
        "baseline": next((row for row in rows if row.baseline), None),
        "best": best_figures(rows),
        "strip": strip(rows),
        "charts": _charts(rows, styles),
        "gallery": gallery(folder, data, [(row.label, row.runs, row.baseline) for row in rows]),
        "runs": runs,
        "empty": sum(run["psnr"] is None for run in runs),
        "diverged": sum(run["diverged_at"] is not None for run in runs),
        "unfinished": data.get("complete") is False,
        "measured": str(data.get("measured") or ""),
        "tuning": _tuning(data),
        "own_baselines": len({row.against for row in rows if row.psnr is not None}) > 1,
        "shown": {key: any(getattr(row, key) is not None for row in rows) for key in ("worst", "oracle")},
        "now_and_then": any(
            row.overhead is not None
            and row.overhead_in_all is not None
            and row.overhead_in_all - row.overhead > NOW_AND_THEN
            for row in rows
        ),
        "races": len(races),
        "added": len(races) > max((len(row.runs) for row in rows), default=0),
        "groups": groups,
        "folded": folded,
        "seconds": seconds,
        "steps": steps,
        "shorter": {row.label: given(row, seconds, steps) for row in rows if row.shorter > 1},
        "versions": text.versions(
            [data.get("versions"), *(text.mapping(one).get("versions") for one in resumed)]
        ),
        "command": str(data.get("command") or ""),
        # Files of before there were versions beside them hold the commands alone.
        "resumed": [str(one.get("command") or "") if isinstance(one, dict) else str(one) for one in resumed],
    }
