"""From curves to the figures people compare: final PSNR, speed-up, overhead."""

from __future__ import annotations

import math
import statistics
from typing import Any

Run = dict[str, Any]


def summarize(runs: list[Run]) -> list[dict[str, Any]]:
    """One line a sampler and batch size, in the order of the runs.

    Only seeds in which every run ended count; where there is none, because a person stopped the comparison in its
    first seed, all curves are cut to the evaluations that every run has. ``psnr_mean`` and ``psnr_std`` are over
    runs that did not diverge, ``diverged`` is how many did. ``speedup_seconds`` and ``speedup_steps`` say how much
    sooner than ``uniform`` at the same batch size and seed the sampler first reaches the best PSNR that uniform
    ends with: medians over seeds, None where the median run never does or there is no uniform. ``overhead`` is the
    median step time over uniform's, minus 1.
    """
    groups: dict[tuple[str, int], list[Run]] = {}
    counted = _comparable(runs)
    for run in counted:
        groups.setdefault((run["sampler"], run["batch_size"]), []).append(run)
    lines = []
    for (sampler, batch_size), group in groups.items():
        good = [run for run in group if run["diverged_at"] is None and run["curve"]]
        finals = [run["curve"][-1]["psnr"] for run in good]
        pairs = [(run, base) for run in group if (base := _baseline(run, counted)) is not None]
        overheads = [run["step_ms_median"] / base["step_ms_median"] - 1 for run, base in pairs if run in good]
        lines.append(
            {
                "sampler": sampler,
                "batch_size": batch_size,
                "psnr_mean": statistics.fmean(finals) if finals else None,
                "psnr_std": statistics.stdev(finals) if len(finals) > 1 else 0.0,
                "speedup_seconds": _median_speedup(pairs, "seconds"),
                "speedup_steps": _median_speedup(pairs, "step"),
                "overhead": statistics.median(overheads) if overheads else None,
                "diverged": len(group) - len(good),
            }
        )
    return lines


def time_to(curve: list[dict[str, Any]], psnr: float, axis: str) -> float | None:
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


def _comparable(runs: list[Run]) -> list[Run]:
    """Runs of the seeds in which all ended, or else all runs, cut to the shortest."""
    ended = {run["seed"] for run in runs}
    for run in runs:
        if not run["finished"] and run["diverged_at"] is None:
            ended.discard(run["seed"])
    if ended:
        return [run for run in runs if run["seed"] in ended]
    shortest = min((len(run["curve"]) for run in runs if run["diverged_at"] is None), default=0)
    return [{**run, "curve": run["curve"][:shortest]} for run in runs] if shortest else []


def _baseline(run: Run, runs: list[Run]) -> Run | None:
    for other in runs:
        same = other["seed"] == run["seed"] and other["batch_size"] == run["batch_size"]
        if same and other["sampler"] == "uniform" and other["curve"] and other["diverged_at"] is None:
            return other
    return None


def _median_speedup(pairs: list[tuple[Run, Run]], axis: str) -> float | None:
    shares = []
    for run, base in pairs:
        goal = base["curve"][-1]["psnr"]
        taken = time_to(base["curve"], goal, axis)
        reached = time_to(run["curve"], goal, axis) if run["diverged_at"] is None else None
        # A share of the baseline's time, so that "never" is larger than anything and medians stay right.
        shares.append(math.inf if reached is None or not taken else reached / taken)
    share = statistics.median(shares) if shares else math.inf
    return 1 / share if 0 < share < math.inf else None
