"""Line charts as plain geometry, drawn by the macro ``chart`` of ``templates/parts.html``.

Lines are stretched to the width of the page while text keeps its size: positions across are given
in percent, positions down in pixels of a fixed height. So one drawing serves a phone, a wide screen
and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from softmine.study.report_text import MINUS, compact, fixed

BASELINE = "#4a4f57"
# Okabe and Ito's colour-blind safe set, darkened where needed to stand out on white.
COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b3589a", "#b07a00", "#3a9ad9", "#7a1f3d")
DASHES = ("", "7 3", "2 2.5", "9 3 2 3")
LABEL_GAP = 17.0
LONGEST_LABEL = 26
MOST_POINTS = 400
MOST_MARKS = 60


@dataclass(frozen=True)
class Line:
    """One curve.

    Args:
        name: what its label says.
        x: positions, rising; same length as ``y``.
        y: values.
        low: lower edge of the band around the curve, or ``None`` for no band.
        high: upper edge of the band.
        colour: any CSS colour.
        dash: an SVG dash pattern; empty for a solid line.
        value: the figure beside the name.
        marks: a tooltip for every point; empty for a curve without dots.
        hollow: which dots are drawn hollow; empty for none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: str = COLOURS[0]
    dash: str = ""
    value: str = ""
    marks: Sequence[str] = ()
    hollow: Sequence[bool] = ()


@dataclass(frozen=True)
class Tick:
    """A tick: its place (percent across, or pixels down) and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Dot:
    """A marked point: percent across, pixels down, its tooltip."""

    left: float
    top: float
    text: str
    hollow: bool


@dataclass(frozen=True)
class Curve:
    """A line ready to draw: SVG paths in a box 1000 wide and as high as the chart."""

    name: str
    value: str
    colour: str
    dash: str
    path: str
    band: str
    dots: list[Dot]
    end: tuple[float, float]
    label: float


@dataclass(frozen=True)
class Chart:
    """A chart ready to draw."""

    title: str
    note: str
    across: str
    height: int
    gutter: float
    columns: list[Tick]
    rows: list[Tick]
    curves: list[Curve]
    zero: Tick | None
    zero_label: float
    spoken: str


def place_labels(wanted: Sequence[float], gap: float, height: float) -> list[float]:
    """Move labels apart, each as little as possible, so that neighbours are ``gap`` apart.

    Isotonic regression of the positions less their share of the gaps (pool adjacent violators).
    Labels keep their order and stay within ``[0, height]`` where there is room for all.
    """
    order = np.argsort(np.asarray(wanted, dtype=float), kind="stable")
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, members = wanted[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean = (mean * members + before * more) / (members + more)
            members += more
        pools.append((mean, members))
    room = max(height - (len(wanted) - 1) * gap, 0.0)
    levels = [min(max(mean, 0.0), room) for mean, members in pools for _ in range(members)]
    placed = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        placed[int(index)] = levels[rank] + rank * gap
    return placed


def time_axis(longest: float) -> tuple[float, str]:
    """The divisor and the name of the unit that suits a time axis up to ``longest`` seconds."""
    if longest > 3 * 3600:
        return 3600.0, "hours of training"
    return (60.0, "minutes of training") if longest > 600 else (1.0, "seconds of training")


def colours(names: Sequence[str], baseline: str) -> dict[str, tuple[str, str]]:
    """A colour and a dash for every name: grey for the baseline, then colours, then dashed ones."""
    others = [name for name in dict.fromkeys(names) if name != baseline]
    styles = {
        name: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, name in enumerate(others)
    }
    return {baseline: (BASELINE, ""), **styles}


def _ticks(low: float, high: float, most: int) -> list[float]:
    values = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * max(abs(low), abs(high), 1e-9)
    return [float(value) for value in values if low - slack <= value <= high + slack]


def _tick_texts(values: Sequence[float]) -> list[str]:
    if not values:
        return []
    if max(abs(value) for value in values) >= 1e4:
        return [compact(value).replace(" ", "") for value in values]
    digits = next(d for d in range(8) if d == 7 or all(abs(v - round(v, d)) < 1e-9 for v in values))
    return [f"{value:,.{digits}f}".replace("-", MINUS) for value in values]


def _value_range(lines: Sequence[Line], right: float, focus: float, least: float) -> tuple[float, float]:
    """Lowest and highest value to show; what lies left of ``focus`` of the width may leave it."""
    values: list[float] = []
    for line in lines:
        late = [i for i, x in enumerate(line.x) if x >= focus * right] or [len(line.x) - 1]
        for series in (line.y, line.low, line.high):
            values += [series[i] for i in late] if series is not None else []
    low, high = min(values), max(values)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def draw(
    lines: Sequence[Line],
    *,
    title: str,
    note: str,
    across: str,
    height: int = 280,
    focus: float = 0.0,
    zero: str = "",
    least: float = 0.5,
    ceiling: float | None = None,
) -> Chart | None:
    """Lay a chart out.

    Args:
        lines: the curves; those without points are left out.
        title: what is plotted.
        note: unit, and what is better.
        across: what the horizontal axis measures.
        height: least height in pixels; grows with the number of labels.
        focus: share of the width at the left whose values may run out of the frame.
        zero: label of an emphasised line at 0, which is then always in view.
        least: least difference between the ends of the value axis, so as not to magnify noise.
        ceiling: the highest value that can occur.

    Returns:
        The chart, or ``None`` when no line holds a point.
    """
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return None
    height = max(height, round(LABEL_GAP * (len(lines) + bool(zero)) + 30))
    right = max(float(max(line.x)) for line in lines) or 1.0
    low, high = _value_range(lines, right, focus, least)
    if zero:
        pad = 0.08 * (max(high, 0.0) - min(low, 0.0))
        low, high = min(low, -pad), max(high, pad)
    if ceiling is not None and low < ceiling:
        high = min(high, ceiling)

    def over(value: float) -> float:
        return round(1000 * value / right, 1)

    def down(value: float) -> float:
        # Far outside the frame is as good as just outside, and keeps the numbers short.
        share = (high - value) / (high - low)
        return round(height * min(max(share, -2.0), 3.0), 1)

    def inside(value: float) -> float:
        return min(max(down(value), 0.0), float(height))

    wanted = [inside(line.y[-1]) for line in lines] + ([inside(0.0)] if zero else [])
    labels = place_labels(wanted, LABEL_GAP, float(height))
    curves = []
    for line, label in zip(lines, labels, strict=False):
        stride = -(-len(line.x) // MOST_POINTS)
        keep = sorted({*range(0, len(line.x), stride), len(line.x) - 1})
        path = " ".join(f"{over(line.x[i])},{down(line.y[i])}" for i in keep)
        band = ""
        if line.low is not None and line.high is not None:
            upper = [f"{over(line.x[i])},{down(line.high[i])}" for i in keep]
            lower = [f"{over(line.x[i])},{down(line.low[i])}" for i in reversed(keep)]
            band = " ".join(upper + lower)
        marked = range(len(line.x)) if len(line.marks) <= MOST_MARKS else [len(line.x) - 1]
        dots = [
            Dot(
                over(line.x[i]) / 10,
                down(line.y[i]),
                line.marks[i],
                bool(line.hollow) and line.hollow[i],
            )
            for i in (marked if line.marks else [])
            if low <= line.y[i] <= high
        ]
        end = (over(line.x[-1]) / 10, inside(line.y[-1]))
        curves.append(Curve(line.name, line.value, line.colour, line.dash, path, band, dots, end, label))

    columns, rows = _ticks(0.0, right, 5), _ticks(low, high, max(4, height // 55))
    row_texts = _tick_texts(rows)
    if zero:
        row_texts = [f"+{text}" if row > 1e-9 else text for row, text in zip(rows, row_texts, strict=True)]
    longest = max([len(f"{line.name} {line.value}") for line in lines] + [len(zero)])
    ends = "; ".join(f"{line.name} ends at {line.value or fixed(line.y[-1])}" for line in lines)
    return Chart(
        title=title,
        note=note,
        across=across,
        height=height,
        gutter=round(0.95 * min(longest, LONGEST_LABEL) + 3.5, 1),
        columns=[
            Tick(over(value) / 10, text) for value, text in zip(columns, _tick_texts(columns), strict=True)
        ],
        rows=[Tick(down(value), text) for value, text in zip(rows, row_texts, strict=True)],
        curves=curves,
        zero=Tick(down(0.0), zero) if zero else None,
        zero_label=labels[-1],
        spoken=f"{title} ({note}), against {across}. {ends}.",
    )
