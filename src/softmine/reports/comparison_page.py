"""What the page of a comparison shows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from softmine.reports import charts, text
from softmine.reports.images import gallery
from softmine.reports.page import read_object
from softmine.reports.signal_table import signal_context
from softmine.reports.verdict import Row, best_figures, compared, given, strip, table, verdict
from softmine.runs.files import refuse_links
from softmine.study.curves import Spread, gain
from softmine.study.results import Comparison, machine
from softmine.study.summary import BASELINE

FOCUS = 0.08
"""Share of the width where curves may leave the frame: their start would dwarf the differences."""
STACKED = 104
"""Height in pixels of what lies between two stacked charts: axis labels, a gap and a title."""
LARGE, BESIDE = 604, 525
"""Natural widths of the large chart and of those that are stacked beside it, in the ratio of the page's columns."""

Style = tuple[str, tuple[float, ...]]
"""Color and dash of a line."""


def _styles(rows: list[Row]) -> dict[str, Style]:
    """The style of every row by its label: colors tell samplers apart, dashes batch sizes and shorter budgets."""
    colors = charts.colors([row.sampler for row in rows], BASELINE)
    styles = {}
    for row in rows:
        color, dash = colors[row.sampler]
        alike = [other for other in rows if other.sampler == row.sampler]
        variants = sorted({(other.shorter, other.batch_size or 0) for other in alike})
        place = variants.index((row.shorter, row.batch_size or 0))
        styles[row.label] = (color, charts.DASHES[place % len(charts.DASHES)] if place else dash)
    return styles


def _line(row: Row, style: Style, curve: Spread, unit: float) -> charts.Line:
    several = sum(any(math.isfinite(point.psnr) for point in run.curve) for run in row.counted) > 1
    return charts.Line(
        name=row.label,
        value=text.fixed(curve.median[-1], 1),
        color=style[0],
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
    timed = [(row, row.by_seconds) for row in ordered if row.by_seconds is not None and row.by_seconds.x]
    stepped = [(row, row.by_step) for row in ordered if row.by_step is not None and row.by_step.x]
    unit, across = charts.time_axis(max((curve.x[-1] for _, curve in timed), default=0.0))
    lines = [_line(row, styles[row.label], curve, unit) for row, curve in timed]
    note = "dB, higher is better"
    by_step = charts.draw(
        [_line(row, styles[row.label], curve, 1.0) for row, curve in stepped],
        title="PSNR against steps", note=note, across="training steps", height=240, focus=FOCUS,
        wide=BESIDE,
    )  # fmt: skip

    base = next((row for row in rows if row.baseline), None)
    gains: list[charts.Line] = []
    for (row, curve), line in zip(timed, lines, strict=True):
        if base is None or base.by_seconds is None or not base.by_seconds.x or row.baseline:
            continue
        x, above = gain(curve, base.by_seconds)
        if x:
            x, value = [place / unit for place in x], text.signed(above[-1])
            gains.append(replace(line, x=x, y=above, low=None, high=None, value=value))
    name = base.label if base is not None else BASELINE
    over = charts.draw(
        gains, title=f"Gain over {name} at equal time", note="dB, above the line is better",
        across=across, height=200, focus=FOCUS, zero=name, wide=BESIDE,
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
        wide=LARGE if over is not None else BESIDE,
    )
    return {"time": by_time, "step": by_step, "gain": over}


def compare_page(folder: Path) -> dict[str, Any]:
    """The context of ``compare.html``.

    Raises:
        SoftmineError: the folder or its ``results.json`` is missing or damaged.
    """
    refuse_links(folder)
    comparison = Comparison.parse(read_object(folder / "results.json"))
    rows = table(comparison)
    styles = _styles(rows)
    seconds, steps = comparison.seconds, comparison.steps
    result = verdict(rows, seconds, steps)
    runs = [run for row in rows for run in row.runs]
    groups = {run.interleaved for run in runs if run.interleaved is not None}
    shown, folded = text.settings(comparison.settings)
    return {
        "comparison": comparison,
        **signal_context(comparison),
        "created": text.moment(comparison.created),
        "headline": result.lead,
        "qualified": result.rest,
        "field": text.field_name(comparison.field),
        "samplers": len({row.sampler for row in rows}),
        "seeds": max((len(row.counted) for row in rows), default=0),
        "machine": machine(comparison.device),
        "rows": rows,
        "styles": styles,
        "winner": compared(rows)[0].label if rows and result.clear else "",
        "baseline": next((row for row in rows if row.baseline), None),
        "best": best_figures(rows),
        "strip": strip(rows),
        "charts": _charts(rows, styles),
        "gallery": gallery(folder, comparison, rows),
        "runs": runs,
        "empty": sum(run.final_psnr is None for run in runs),
        "diverged": sum(run.diverged_at is not None for run in runs),
        "unfinished": not comparison.complete,
        "tuning": comparison.tuning if comparison.tuning and comparison.tuning.runs else None,
        "own_baselines": len({row.against for row in rows if row.psnr is not None}) > 1,
        "shown": {
            key: any(getattr(row, key) is not None for row in rows)
            for key in ("minimum_margin", "exact_share")
        },
        "now_and_then": any(row.occasional_overhead is not None for row in rows),
        "interleaved": len(groups),
        "added": len(groups) > max((len(row.runs) for row in rows), default=0),
        "groups": shown,
        "folded": folded,
        "seconds": seconds,
        "steps": steps,
        "shorter": {row.label: given(row, seconds, steps) for row in rows if row.shorter > 1},
        "versions": text.versions([comparison.versions, *(one.versions for one in comparison.resumed)]),
        "resumed": [one.command for one in comparison.resumed],
    }
