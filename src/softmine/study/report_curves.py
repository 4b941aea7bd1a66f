"""Curves of quality over several seeds: median, spread, and the time to reach a level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softmine.study import report_text as text

GRID = 160
"""Points of a median curve."""


@dataclass(frozen=True)
class Points:
    """One run's evaluations: positions (seconds or steps), rising, and PSNR."""

    x: list[float]
    psnr: list[float]


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest PSNR of several runs on a common grid."""

    x: list[float]
    median: list[float]
    low: list[float]
    high: list[float]


def read_points(curve: object, by: str) -> Points:
    """The points of a curve that hold both numbers, sorted by ``by`` ("seconds" or "step")."""
    pairs: dict[float, float] = {}
    for item in text.listing(curve):
        point = text.mapping(item)
        x, psnr = text.number(point.get(by)), text.number(point.get("psnr"))
        if x is not None and psnr is not None:
            pairs[x] = psnr
    ordered = sorted(pairs.items())
    return Points([x for x, _ in ordered], [psnr for _, psnr in ordered])


def final_psnr(run: Mapping[str, Any]) -> float | None:
    """The PSNR in dB of a run's last evaluation; infinite for an exact fit, which JSON keeps as null, ``None`` without any."""
    points = [text.mapping(item) for item in text.listing(run.get("curve"))]
    found = [point["psnr"] for point in points if "psnr" in point]
    return math.inf if found and found[-1] is None else text.number(found[-1] if found else None)


def spread(runs: Sequence[Points]) -> Spread | None:
    """Median and range over runs, interpolated to a common grid; ``None`` without any point.

    The curve reaches as far as half of the runs do: one long run must not pass for a median.
    """
    runs = [run for run in runs if run.x]
    if not runs:
        return None
    starts, ends = sorted(run.x[0] for run in runs), sorted(run.x[-1] for run in runs)
    first, last = starts[len(runs) // 2], ends[(len(runs) - 1) // 2]
    if len(runs) == 1:
        grid = np.array(runs[0].x)
    else:
        grid = np.linspace(first, last, GRID) if last > first else np.array([last])
    values = np.full((len(runs), len(grid)), math.nan)
    # Runs of one time budget end within a step of each other: that is no end for the median.
    slack = 0.02 * last
    for row, run in enumerate(runs):
        covered = (grid >= run.x[0] - slack) & (grid <= run.x[-1] + slack)
        values[row, covered] = np.interp(grid[covered], run.x, run.psnr)
    keep = ~np.isnan(values).all(0)
    grid, values = grid[keep], values[:, keep]
    return Spread(
        grid.tolist(),
        np.nanmedian(values, 0).tolist(),
        np.nanmin(values, 0).tolist(),
        np.nanmax(values, 0).tolist(),
    )


def gain(curve: Spread, baseline: Spread) -> Points:
    """Median PSNR above the baseline's at the same x, where both are known."""
    low = max(curve.x[0], baseline.x[0])
    high = min(curve.x[-1], baseline.x[-1])
    if high < low:
        return Points([], [])
    grid = np.linspace(low, high, GRID) if high > low else np.array([low])
    difference = np.interp(grid, curve.x, curve.median) - np.interp(grid, baseline.x, baseline.median)
    return Points(grid.tolist(), difference.tolist())


def reach(curve: Spread, level: float) -> float | None:
    """The first x at which the median attains ``level``, interpolated; ``None`` if it never is."""
    for i, value in enumerate(curve.median):
        if value >= level:
            if i == 0:
                return curve.x[0]
            before = curve.median[i - 1]
            return curve.x[i - 1] + (level - before) / (value - before) * (curve.x[i] - curve.x[i - 1])
    return None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; ``None`` below two values, or where one is an exact fit's."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and all(map(math.isfinite, values)) else None
