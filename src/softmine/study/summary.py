"""From curves to the figures people compare: final PSNR, speed-up, overhead, worst moment, share of the oracle's gain."""

from __future__ import annotations

import math
import statistics
from typing import Any

from softmine.study import curves
from softmine.study.shorter import shorter_of

Run = dict[str, Any]
Group = tuple[str, int, float]
"""A sampler, its batch size, and how many times shorter its budget is."""

BASELINE = "uniform"
ORACLE = "multinomial"
LEAST_ORACLE_GAIN = 0.1
"""Gain of the oracle in dB below which a share of it is noise."""
SETTLED = 0.1
"""Share of the budget after which a sampler's worst moment counts."""


def summarize(runs: list[Run], tuned: int | None = None) -> list[dict[str, Any]]:
    """One line a sampler, batch size and budget, in the order of the runs.

    Only seeds count in which every line has a run and every run ended; where there is none, those in which all runs
    ended; where there is none either, because a person stopped the comparison in its first seed, all curves are cut to
    the evaluations that every run has. All figures but the mean are medians over seeds, each against a baseline of the
    same seed. A run whose budget is ``shorter`` times shorter is measured like any other, against a baseline that had
    the whole budget; its curve just ends sooner.

    - ``seeds``: those that count, with their runs that diverged.
    - ``psnr_mean``, ``psnr_std``: over runs that did not diverge (infinite and None with an exact fit); ``diverged`` is how many did.
    - ``baseline_batch_size``: the batch size of the uniform sampling that the next figures are against: ``tuned``
      where it is given and was run; else the sampler's own; else that at which uniform ends highest; None without a
      run of uniform that did not diverge.
    - ``speedup_seconds``, ``speedup_steps``: how much sooner than the baseline the sampler first reaches the best PSNR
      that the baseline ends with; None where the median run never does.
    - ``worst_deficit``: the largest distance in dB by which the curve lies below the baseline's at equal seconds, once a
      tenth of the baseline's time is over; negative where it always lies above. At each moment the median over seeds.
      Only moments at which both still train count; None where there are none.
    - ``overhead``: the median step time over uniform's at the same batch size, minus 1; None without such a run.
    - ``overhead_in_all``: the same of the mean step, which includes what a sampler does only now and then.
    - ``oracle_share``: the share of exact multinomial sampling's gain over uniform sampling that the sampler has, all
      three at its batch size, with a budget as short and after equally many steps; None where the oracle gains less than 0.1 dB. Of several
      such, with other options, the oracle is the one that ends highest.
    """
    counted = _comparable(runs)
    groups = _grouped(counted)
    lines = []
    for (sampler, batch_size, shorter), group in groups.items():
        good = [run for run in group if _good(run)]
        finals = [run["curve"][-1]["psnr"] for run in good]
        against = _baseline_size(groups, batch_size, tuned)
        pairs = [(run, base) for run in group if (base := _uniform(counted, against, run["seed"]))]
        like = [(run, base) for run in good if (base := _uniform(counted, batch_size, run["seed"]))]
        overheads = [run["step_ms_median"] / base["step_ms_median"] - 1 for run, base in like]
        in_all = [_step_seconds(run) / _step_seconds(base) - 1 for run, base in like]
        lines.append(
            {
                "sampler": sampler,
                "batch_size": batch_size,
                "shorter": shorter,
                "seeds": [run["seed"] for run in group],
                "baseline_batch_size": against,
                "psnr_mean": statistics.fmean(finals) if finals else None,
                "psnr_std": _deviation(finals),
                "speedup_seconds": _median_speedup(pairs, "seconds"),
                "speedup_steps": _median_speedup(pairs, "step"),
                "worst_deficit": _worst_deficit([(run, base) for run, base in pairs if _good(run)]),
                "overhead": statistics.median(overheads) if overheads else None,
                "overhead_in_all": statistics.median(in_all) if in_all else None,
                "oracle_share": _oracle_share(good, counted),
                "diverged": len(group) - len(good),
            }
        )
    return lines


def _deviation(values: list[float]) -> float | None:
    """Sample standard deviation; 0 of less than two values, None where one is an exact fit's."""
    if not all(map(math.isfinite, values)):
        return None
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _good(run: Run) -> bool:
    return run["diverged_at"] is None and bool(run["curve"])


def _comparable(runs: list[Run]) -> list[Run]:
    """Runs of the seeds in which all ended, as many in each where that can be, or else all runs, cut to the shortest."""
    ended = {run["seed"] for run in runs}
    for run in runs:
        if not run["finished"] and run["diverged_at"] is None:
            ended.discard(run["seed"])
    groups = _grouped(runs).values()
    # Seeds are of unequal difficulty: a line over fewer of them than the next would not compare with it.
    whole = {seed for seed in ended if all(any(run["seed"] == seed for run in group) for group in groups)}
    counted = whole or ended
    if counted:
        return [run for run in runs if run["seed"] in counted]
    shortest = min((len(run["curve"]) for run in runs if run["diverged_at"] is None), default=0)
    return [{**run, "curve": run["curve"][:shortest]} for run in runs] if shortest else []


def _baseline_size(groups: dict[Group, list[Run]], own: int, tuned: int | None) -> int | None:
    for size in (tuned, own):
        if size is not None and any(map(_good, groups.get((BASELINE, size, 1.0), []))):
            return size
    return _highest(groups)


def best_uniform(runs: list[Run]) -> int | None:
    """The batch size at which uniform sampling with the whole budget ends highest; None where no such run ended."""
    return _highest(_grouped(_comparable(runs)))


def _grouped(runs: list[Run]) -> dict[Group, list[Run]]:
    groups: dict[Group, list[Run]] = {}
    for run in runs:
        groups.setdefault((run["sampler"], run["batch_size"], shorter_of(run)), []).append(run)
    return groups


def _highest(groups: dict[Group, list[Run]]) -> int | None:
    finals = {
        size: [run["curve"][-1]["psnr"] for run in group if _good(run)]
        for (sampler, size, shorter), group in groups.items()
        if (sampler, shorter) == (BASELINE, 1)
    }
    known = {size: statistics.fmean(values) for size, values in finals.items() if values}
    return max(known, key=lambda size: known[size], default=None)


def _step_seconds(run: Run) -> float:
    return run["curve"][-1]["seconds"] / run["curve"][-1]["step"]


def _uniform(runs: list[Run], batch_size: int | None, seed: int, shorter: float = 1.0) -> Run | None:
    """The run of plain uniform sampling; None if there is none or it diverged."""
    return next((run for run in _of(runs, batch_size, seed, shorter) if run["sampler"] == BASELINE), None)


def _oracle(runs: list[Run], batch_size: int, seed: int, shorter: float) -> Run | None:
    """The run of exact sampling, of whichever options end highest; None if there is none or all diverged."""
    exact = [
        run for run in _of(runs, batch_size, seed, shorter) if run["sampler"].partition(":")[0] == ORACLE
    ]
    return max(exact, key=lambda run: run["curve"][-1]["psnr"], default=None)


def _of(runs: list[Run], batch_size: int | None, seed: int, shorter: float) -> list[Run]:
    """The runs of a batch size, a seed and a budget that did not diverge."""
    wanted = (batch_size, seed, shorter)
    return [run for run in runs if (run["batch_size"], run["seed"], shorter_of(run)) == wanted and _good(run)]


def _median_speedup(pairs: list[tuple[Run, Run]], axis: str) -> float | None:
    shares = []
    for run, base in pairs:
        goal = base["curve"][-1]["psnr"]
        taken = curves.time_to(base["curve"], goal, axis)
        reached = curves.time_to(run["curve"], goal, axis) if run["diverged_at"] is None else None
        # A share of the baseline's time, so that "never" is larger than anything and medians stay right.
        shares.append(math.inf if reached is None or not taken else reached / taken)
    share = statistics.median(shares) if shares else math.inf
    return 1 / share if 0 < share < math.inf else None


def _worst_deficit(pairs: list[tuple[Run, Run]]) -> float | None:
    if not pairs:
        return None
    start = max(SETTLED * base["curve"][-1]["seconds"] for _, base in pairs)
    start = max([start, *(curve["curve"][0]["seconds"] for pair in pairs for curve in pair)])
    end = min(run["curve"][-1]["seconds"] for pair in pairs for run in pair)
    if end < start:
        return None
    moments = {start, end}
    for pair in pairs:
        for run in pair:
            moments |= {point["seconds"] for point in run["curve"] if start <= point["seconds"] <= end}
    worst = -math.inf
    for moment in moments:
        below = []
        for run, base in pairs:
            own, other = (curves.psnr_at(one["curve"], moment, "seconds") for one in (run, base))
            # Two exact fits are level.
            below.append(0.0 if own == other else other - own)
        worst = max(worst, statistics.median(below))
    return worst


def _oracle_share(group: list[Run], runs: list[Run]) -> float | None:
    gains, shares = [], []
    for run in group:
        # Beside runs that end later this one's learning rate would be ahead of theirs.
        like = (run["batch_size"], run["seed"], shorter_of(run))
        base, oracle = _uniform(runs, *like), _oracle(runs, *like)
        if base is None or oracle is None:
            continue
        three = (run, base, oracle)
        step = min(curves.end(one["curve"], "step") for one in three)
        own, least, most = (curves.psnr_at(one["curve"], step, "step") for one in three)
        if all(map(math.isfinite, (own, least, most))):
            gains.append(most - least)
            shares.append((own - least) / (most - least) if most > least else 0.0)
    if not gains or statistics.median(gains) < LEAST_ORACLE_GAIN:
        return None
    return statistics.median(shares)
