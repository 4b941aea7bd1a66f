"""Line charts as inline SVG, drawn by matplotlib in a wide and a narrow variant.

A page shows the variant for the width it has, so that text keeps its size on a phone, a wide screen and paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from softmine.formatting import compact, fixed
from softmine.reports.text import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINE = "#4a4f57"
# Okabe and Ito's color-blind safe set, darkened where needed to stand out on white.
COLORS = ("#0072b2", "#d55e00", "#00875f", "#b3589a", "#b07a00", "#3a9ad9", "#7a1f3d")
DASHES: tuple[tuple[float, ...], ...] = ((), (7.0, 3.0), (2.0, 2.5), (9.0, 3.0, 2.0, 3.0))
INK, SOFT, RULE, EDGE = "#16191d", "#565e69", "#eceef1", "#aeb4bb"
FONT = 12.5
"""Size of text in the units of the SVG, which are CSS pixels where it is shown at its natural width."""
LABEL_GAP = 17.0
MOST_MARKS = 60
WIDE, NARROW = 570, 370
"""Natural widths of the two variants in CSS pixels; the first may be chosen."""
LEFT, BOTTOM, TOP, LEAD = 40.0, 42.0, 8.0, 19.0
"""Pixels beside the plot: for the ticks' texts, the axis below, half a text above, and the leads to the labels."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Args:
        name: what its label says.
        x: positions, rising; same length as ``y``.
        y: values.
        low: lower edge of the band around the curve, or ``None`` for no band.
        high: upper edge of the band.
        color: any CSS color in hexadecimal.
        dash: lengths of strokes and gaps in pixels; empty for a solid line.
        value: the figure beside the name.
        marks: a tooltip for every point; empty for a curve without dots.
        hollow: which dots are drawn hollow; empty for none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    color: str = COLORS[0]
    dash: tuple[float, ...] = ()
    value: str = ""
    marks: Sequence[str] = ()
    hollow: Sequence[bool] = ()


@dataclass(frozen=True)
class Chart:
    """A chart ready to show.

    Args:
        title: what is plotted.
        note: unit, and what is better.
        height: of the plot in pixels.
        wide: SVG for places of about 570 pixels.
        narrow: SVG for places of about 370 pixels.
        spoken: what it shows, in words.
    """

    title: str
    note: str
    height: int
    wide: str
    narrow: str
    spoken: str


@dataclass(frozen=True)
class _Frame:
    """What all variants of a chart share: its ends, the plot's height in pixels, and how it is labelled."""

    right: float
    low: float
    high: float
    height: int
    across: str
    zero: str

    def nearest(self, value: float) -> float:
        """A value, or the end of the value axis beyond which it lies."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class _Label:
    """A label beside a curve: the whole name, what is shown of it, the figure beside it, and where on the value axis it belongs."""

    name: str
    shown: str
    value: str
    color: str
    at: float


def place_labels(wanted: Sequence[float], gap: float, height: float) -> list[float]:
    """Move labels apart, each as little as possible, so that neighbors are ``gap`` apart.

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
    """The divisor and the name of the unit of a time axis up to ``longest`` seconds."""
    if longest > 3 * 3600:
        return 3600.0, "hours of training"
    return (60.0, "minutes of training") if longest > 600 else (1.0, "seconds of training")


def colors(names: Sequence[str], baseline: str) -> dict[str, tuple[str, tuple[float, ...]]]:
    """A color and a dash for every name: grey for the baseline, then colors, then dashed ones."""
    others = [name for name in dict.fromkeys(names) if name != baseline]
    styles = {
        name: (COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)])
        for i, name in enumerate(others)
    }
    return {baseline: (BASELINE, ()), **styles}


def _tick_texts(values: Sequence[float]) -> list[str]:
    if not len(values):
        return []
    if max(abs(value) for value in values) >= 1e4:
        return [typeset(compact(value).replace(" ", "")) for value in values]
    digits = next(d for d in range(8) if d == 7 or all(abs(v - round(v, d)) < 1e-9 for v in values))
    return [typeset(f"{value:,.{digits}f}") for value in values]


def _ticks(low: float, high: float, most: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * max(abs(low), abs(high), 1e-9)
    return [float(value) for value in values if low - slack <= value <= high + slack]


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
    wide: int = WIDE,
) -> Chart | None:
    """Draw a chart.

    Args:
        lines: the curves; those without points are left out.
        title: what is plotted.
        note: unit, and what is better.
        across: what the horizontal axis measures.
        height: least height of the plot in pixels; grows with the number of labels.
        focus: share of the width at the left whose values may run out of the frame.
        zero: label of an emphasised line at 0, which is then always in view.
        least: least difference between the ends of the value axis, so as not to magnify noise.
        ceiling: the highest value that can occur.
        wide: natural width of the wide variant in pixels.

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
    frame = _Frame(right, low, high, height, across, zero)
    ends = "; ".join(f"{line.name} ends at {line.value or fixed(line.y[-1])}" for line in lines)
    return Chart(
        title=title,
        note=note,
        height=height,
        wide=_svg(lines, frame, wide, title),
        narrow=_svg(lines, frame, NARROW, title),
        spoken=f"{title} ({note}), against {across}. {ends}.",
    )


def _svg(lines: Sequence[Line], frame: _Frame, width: int, title: str) -> str:
    """One variant of a chart: no pyplot, and no setting of the process is touched."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    most = 28 if width > NARROW else 17
    labels = [
        _Label(line.name, _shortened(line.name, most), line.value, line.color, frame.nearest(line.y[-1]))
        for line in lines
    ]
    if frame.zero:
        labels.append(_Label(frame.zero, _shortened(frame.zero, most), "", BASELINE, 0.0))
    gutter = LEAD + 0.56 * FONT * max(len(f"{label.shown} {label.value}".strip()) for label in labels)
    full = frame.height + TOP + BOTTOM
    # Identifiers must not meet those of another chart on the page.
    salt = f"{title} {width}"
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "path.simplify_threshold": 0.2}):
        figure = Figure(figsize=(width / 72, full / 72), dpi=72)
        figure.patch.set_visible(False)
        plot = (LEFT / width, BOTTOM / full, (width - LEFT - gutter) / width, frame.height / full)
        axes = figure.add_axes(plot)
        _draw_frame(axes, frame, 5 if width > NARROW else 4)
        titles: dict[str, str] = {}
        for number, line in enumerate(lines):
            titles |= _draw_line(axes, frame, line, number)
        wanted = [(frame.high - label.at) / (frame.high - frame.low) * frame.height for label in labels]
        placed = place_labels(wanted, LABEL_GAP, float(frame.height))
        for number, (label, start, end) in enumerate(zip(labels, wanted, placed, strict=True)):
            _draw_label(axes, label, start - end, f"label{number}")
        return _inline(figure, titles, labels)


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


def _draw_frame(axes: Axes, frame: _Frame, most: int) -> None:
    axes.set_xlim(0.0, frame.right)
    axes.set_ylim(frame.low, frame.high)
    axes.set_facecolor("none")
    columns, rows = (
        _ticks(0.0, frame.right, most),
        _ticks(frame.low, frame.high, max(4, frame.height // 55)),
    )
    texts = _tick_texts(rows)
    if frame.zero:
        texts = [f"+{text}" if row > 1e-9 else text for row, text in zip(rows, texts, strict=True)]
    axes.set_xticks(columns, _tick_texts(columns))
    axes.set_yticks(rows, texts)
    axes.tick_params(labelsize=FONT, labelcolor=SOFT, color=EDGE, width=1)
    axes.tick_params(axis="y", length=0, pad=7)
    axes.tick_params(axis="x", length=4, pad=4)
    axes.set_xlabel(frame.across, fontsize=FONT, color=SOFT, labelpad=4)
    axes.grid(axis="y", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(EDGE)
    if frame.zero:
        axes.axhline(0.0, color=BASELINE, linewidth=1)


def _draw_line(axes: Axes, frame: _Frame, line: Line, number: int) -> dict[str, str]:
    """Draws band, curve and dots; returns the tooltips of the dots by identifier."""
    if line.low is not None and line.high is not None:
        band = axes.fill_between(line.x, line.low, line.high, color=line.color, alpha=0.13, linewidth=0)
        band.set_gid(f"band{number}")
    # matplotlib's dashes are in widths of the line.
    dash: Any = (0, tuple(length / 2 for length in line.dash)) if line.dash else "solid"
    style: dict[str, Any] = {"color": line.color, "solid_joinstyle": "round", "dash_joinstyle": "round"}
    axes.plot(line.x, line.y, linewidth=2, linestyle=dash, **style)
    end, last = line.x[-1], frame.nearest(line.y[-1])
    dot: dict[str, Any] = {
        "marker": "o", "markersize": 5.5, "markeredgewidth": 1.5, "linestyle": "none", "color": line.color,
        "clip_on": False,
    }  # fmt: skip
    if end < 0.99 * frame.right:
        axes.plot(
            [end, frame.right], [last, last], color=line.color, linewidth=1, alpha=0.45, linestyle=(0, (1, 4))
        )
        if not line.marks:
            axes.plot([end], [last], **dot)
    titles = {}
    marked = range(len(line.x)) if len(line.marks) <= MOST_MARKS else [len(line.x) - 1]
    for i in marked if line.marks else []:
        if frame.low <= line.y[i] <= frame.high:
            hollow = bool(line.hollow) and line.hollow[i]
            identifier = f"mark{number}-{i}"
            face = "white" if hollow else line.color
            axes.plot([line.x[i]], [line.y[i]], gid=identifier, markerfacecolor=face, **dot)
            titles[identifier] = line.marks[i]
    return titles


def _draw_label(axes: Axes, label: _Label, up: float, identifier: str) -> None:
    """Places a label ``up`` pixels above its place, with a lead from there.

    Its text is its identifier until ``_inline``: the page's font, not matplotlib's, must know all letters of a name.
    """
    lead = {
        "arrowstyle": "-", "connectionstyle": "arc,angleA=180,angleB=0,armA=9,armB=4,rad=3", "color": label.color,
        "linewidth": 1.3, "relpos": (0.0, 0.62), "shrinkA": 4, "shrinkB": 1,
    }  # fmt: skip
    axes.annotate(
        identifier,
        (1.0, label.at),
        xycoords=("axes fraction", "data"),
        xytext=(LEAD, up),
        textcoords="offset points",
        fontsize=FONT,
        color=INK,
        va="center_baseline",
        annotation_clip=False,
        arrowprops=lead,
        gid=identifier,
    )


def _inline(figure: Figure, titles: dict[str, str], labels: Sequence[_Label]) -> str:
    """A figure as an SVG element for a page: no namespaces, identifiers of its own, tooltips, short numbers."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    # A style would hold for the whole page.
    svg = re.sub(
        r"<style.*?</style>|(?<= )xmlns(:\w+)?=\"[^\"]*\"|(?<= )xlink:", "", buffer.getvalue(), flags=re.S
    )
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip(), (element.tail or "").strip()
        identifier = element.attrib.pop("id", "") if element.tag in ("g", "svg") else ""
        for key, value in element.items():
            element.set(key, _short(key, value))
        if identifier.startswith(("band", "mark", "label")):
            element.set("class", identifier.rstrip("0123456789-"))
        if identifier in titles:
            _add(element, "title", titles[identifier])
    for group, label in zip(root.findall(".//g[@class='label']"), labels, strict=True):
        _add(group, "title", label.name)
        text = next(group.iter("text"))
        text.text = f"{label.shown} " if label.shown else ""
        if label.value:
            _add(text, "tspan", label.value, **{"class": "value"})
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode")


def _add(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = text


def _short(key: str, value: str) -> str:
    """An attribute with its numbers to two decimals, and without a font: text has the page's."""
    if key in ("d", "x", "y", "transform", "points"):
        value = re.sub(
            r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value
        )
        return " ".join(value.split())
    return re.sub(r"font-family: [^;]*; ?", "", value) if key == "style" else value
