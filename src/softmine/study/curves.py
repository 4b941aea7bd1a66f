"""Curves of quality: PSNR between their points, the time to a PSNR, and the median of several."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from softmine.study.json_fields import Record, listing, number, stored

GRID = 160
"""Points of a median curve."""

Axis = Literal["seconds", "step"]


def parse_psnr(value: object) -> float | None:
    """A PSNR of a JSON file, where null stands for the infinite one of an exact fit; ``None`` for what is none."""
    return math.inf if value is None or value == math.inf else number(value)


@dataclass(frozen=True)
class CurvePoint(Record):
    """One evaluation of a run.

    Args:
        step: steps made.
        seconds: training time.
        psnr: in dB; infinite for an exact fit.
        ssim: ``None`` where the kind of signal has none.
        more: further measures by name, such as ``iou``.
    """

    step: int = 0
    seconds: float = math.nan
    psnr: float = stored(default=math.nan, read=parse_psnr)
    ssim: float | None = None
    more: Mapping[str, float] = stored(default={}, rest=True)

    def along(self, axis: Axis) -> float:
        """Where the point lies along an axis."""
        return self.seconds if axis == "seconds" else float(self.step)


Curve = Sequence[CurvePoint]
"""Points of one run, rising in steps and seconds."""


def parse_curve(value: object) -> tuple[CurvePoint, ...]:
    """The curve in a JSON array, rising; points without step, seconds or PSNR are left out."""
    points = map(CurvePoint.parse, listing(value))
    found = {one.step: one for one in points if one.step > 0 and not math.isnan(one.seconds + one.psnr)}
    return tuple(found[step] for step in sorted(found))


def time_to(curve: Curve, psnr: float, axis: Axis) -> float | None:
    """Where a curve first reaches ``psnr`` along ``axis``, interpolated; ``None`` if never."""
    before: CurvePoint | None = None
    for point in curve:
        if point.psnr >= psnr:
            if before is None or math.isinf(point.psnr):
                return point.along(axis)
            share = (psnr - before.psnr) / (point.psnr - before.psnr)
            return before.along(axis) + share * (point.along(axis) - before.along(axis))
        before = point
    return None


def psnr_at(curve: Curve, where: int | float, axis: Axis) -> float:
    """PSNR of a curve at ``where`` along ``axis``, interpolated; that of its first or last point beyond its ends."""
    before = curve[0]
    for point in curve:
        if point.along(axis) >= where:
            span = point.along(axis) - before.along(axis)
            if span <= 0 or math.isinf(point.psnr) or math.isinf(before.psnr):
                # Towards and from an exact fit there is nothing to interpolate.
                return point.psnr if span <= 0 or point.along(axis) == where else before.psnr
            share = (where - before.along(axis)) / span
            return before.psnr + share * (point.psnr - before.psnr)
        before = point
    return before.psnr


def median_psnr_at(curves: Sequence[Curve], where: int | float, axis: Axis) -> float | None:
    """Median over curves of their PSNR at ``where`` along ``axis``; ``None`` without any."""
    found = [psnr_at(curve, where, axis) for curve in curves if curve]
    return statistics.median(found) if found else None


def mean_and_deviation(finals: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean of the PSNR at the ends of curves, and its standard deviation; ``None`` without any, or where it has none."""
    mean = statistics.fmean(finals) if finals else None
    several = len(finals) > 1 and mean is not None and math.isfinite(mean)
    return mean, statistics.stdev(finals) if several else None


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest PSNR of several runs on a common grid."""

    x: list[float]
    median: list[float]
    low: list[float]
    high: list[float]


def spread(curves: Sequence[Curve], axis: Axis) -> Spread | None:
    """Median and range over runs, interpolated to a common grid; ``None`` without any finite point.

    The curve reaches as far as half of the runs do: one long run must not pass for a median.
    """
    finite = [[point for point in curve if math.isfinite(point.psnr)] for curve in curves]
    runs = [([point.along(axis) for point in c], [point.psnr for point in c]) for c in finite if c]
    if not runs:
        return None
    starts, ends = sorted(x[0] for x, _ in runs), sorted(x[-1] for x, _ in runs)
    first, last = starts[len(runs) // 2], ends[(len(runs) - 1) // 2]
    if len(runs) == 1:
        grid = np.array(runs[0][0])
    else:
        grid = np.linspace(first, last, GRID) if last > first else np.array([last])
    values = np.full((len(runs), len(grid)), math.nan)
    # Runs of one time budget end within a step of each other: that is no end for the median.
    slack = 0.02 * last
    for row, (x, psnr) in enumerate(runs):
        covered = (grid >= x[0] - slack) & (grid <= x[-1] + slack)
        values[row, covered] = np.interp(grid[covered], x, psnr)
    keep = ~np.isnan(values).all(0)
    grid, values = grid[keep], values[:, keep]
    return Spread(
        grid.tolist(),
        np.nanmedian(values, 0).tolist(),
        np.nanmin(values, 0).tolist(),
        np.nanmax(values, 0).tolist(),
    )


def gain(curve: Spread, baseline: Spread) -> tuple[list[float], list[float]]:
    """Positions, and the median PSNR above the baseline's at each, where both are known."""
    low = max(curve.x[0], baseline.x[0])
    high = min(curve.x[-1], baseline.x[-1])
    if high < low:
        return [], []
    grid = np.linspace(low, high, GRID) if high > low else np.array([low])
    difference = np.interp(grid, curve.x, curve.median) - np.interp(grid, baseline.x, baseline.median)
    return grid.tolist(), difference.tolist()
