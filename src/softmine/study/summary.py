"""From curves to the figures people compare: final PSNR, speed-up, overhead."""

from __future__ import annotations

import statistics
from typing import Any

Run = dict[str, Any]


def summarize(runs: list[Run]) -> list[dict[str, Any]]:
    """One line a sampler and batch size, in the order of the runs.

    ``speedup_seconds`` and ``speedup_steps`` say how much sooner the sampler's curve reaches the final PSNR of
    ``uniform`` at the same batch size and seed: medians over seeds, None where the median run never does.
    ``overhead`` is the median step time over uniform's at the same batch size, minus 1.
    """
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        if run["curve"]:
            groups.setdefault((run["sampler"], run["batch_size"]), []).append(run)
    lines = []
    for (sampler, batch_size), group in groups.items():
        finals = [run["curve"][-1]["psnr"] for run in group]
        pairs = [(run, _baseline(run, runs)) for run in group]
        known = [(run, base) for run, base in pairs if base is not None]
        overheads = [run["step_ms_median"] / base["step_ms_median"] - 1 for run, base in known]
        lines.append(
            {
                "sampler": sampler,
                "batch_size": batch_size,
                "psnr_mean": statistics.fmean(finals),
                "psnr_std": statistics.stdev(finals) if len(finals) > 1 else 0.0,
                "speedup_seconds": _median_speedup(known, "seconds"),
                "speedup_steps": _median_speedup(known, "step"),
                "overhead": statistics.median(overheads) if overheads else None,
            }
        )
    return lines


def time_to(curve: list[dict[str, Any]], psnr: float, axis: str) -> float | None:
    """Where a curve first reaches ``psnr`` along ``axis`` (``seconds`` or ``step``), interpolated; None if never."""
    before: dict[str, Any] | None = None
    for point in curve:
        if point["psnr"] >= psnr:
            if before is None or point["psnr"] == before["psnr"]:
                return float(point[axis])
            share = (psnr - before["psnr"]) / (point["psnr"] - before["psnr"])
            return before[axis] + share * (point[axis] - before[axis])
        before = point
    return None


def _baseline(run: Run, runs: list[Run]) -> Run | None:
    for other in runs:
        same = other["seed"] == run["seed"] and other["batch_size"] == run["batch_size"]
        if same and other["sampler"] == "uniform" and other["curve"]:
            return other
    return None


def _median_speedup(pairs: list[tuple[Run, Run]], axis: str) -> float | None:
    shares = []
    for run, base in pairs:
        final = base["curve"][-1]
        reached = time_to(run["curve"], final["psnr"], axis)
        # A share of the baseline's time, so that "never" is larger than anything and medians stay right.
        shares.append(float("inf") if reached is None else reached / final[axis])
    if not shares:
        return None
    share = statistics.median(shares)
    return 1 / share if 0 < share < float("inf") else None
