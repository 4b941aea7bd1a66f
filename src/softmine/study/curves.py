"""Reading curves between their points. A curve is a list of ``{"step", "seconds", "psnr"}``, rising in both."""

from __future__ import annotations

import math
from typing import Any

Curve = list[dict[str, Any]]


def end(curve: Curve, axis: str) -> float:
    """Where a curve ends along ``axis`` (``seconds`` or ``step``)."""
    return float(curve[-1][axis])


def time_to(curve: Curve, psnr: float, axis: str) -> float | None:
    """Where a curve first reaches ``psnr`` along ``axis`` (``seconds`` or ``step``), interpolated; None if never."""
    before: dict[str, Any] | None = None
    for point in curve:
        if point["psnr"] >= psnr:
            if before is None or math.isinf(point["psnr"]):
                return float(point[axis])
            share = (psnr - before["psnr"]) / (point["psnr"] - before["psnr"])
            return before[axis] + share * (point[axis] - before[axis])
        before = point
    return None


def psnr_at(curve: Curve, where: float, axis: str) -> float:
    """PSNR of a curve at ``where`` along ``axis``, interpolated; that of its first or last point beyond its ends."""
    before = curve[0]
    for point in curve:
        if point[axis] >= where:
            span = point[axis] - before[axis]
            if span <= 0 or math.isinf(point["psnr"]) or math.isinf(before["psnr"]):
                # Towards and from an exact fit there is nothing to interpolate.
                return float(point["psnr"] if span <= 0 or point[axis] == where else before["psnr"])
            share = (where - before[axis]) / span
            return before["psnr"] + share * (point["psnr"] - before["psnr"])
        before = point
    return float(before["psnr"])
