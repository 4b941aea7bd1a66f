"""From curves to the figures people compare: final PSNR, speed-up, overhead, minimum margin over uniform."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from softmine.study.curves import Axis, mean_and_deviation, psnr_at, time_to
from softmine.study.results import Comparison, Entry, Line, RunResult

BASELINE = "uniform"
EXACT = "multinomial"
"""Exact importance sampling, from errors of the whole signal."""
LEAST_EXACT_GAIN = 0.1
"""Gain of exact sampling in dB below which a gain relative to it is noise."""
SETTLED = 0.1
"""Share of the budget after which the margin over uniform counts."""
Pair = tuple[RunResult, RunResult]
"""A run, and the baseline's of the same seed."""


def summarize(runs: Sequence[RunResult], tuned: int | None = None) -> list[Line]:
    """One line a sampler, batch size and budget, in the order of the runs.

    Only seeds count in which every line has a run and every run ended; where there is none, those in which all runs
    ended; where there is none either, because a person stopped the comparison in its first seed, all curves are cut to
    the evaluations that every run has. All figures but the mean are medians over seeds, each against a baseline of the
    same seed. A run whose budget is ``shorter`` times shorter is measured like any other, against a baseline that had
    the whole budget; its curve just ends earlier. ``Line`` says what each figure is.

    Args:
        runs: of one comparison.
        tuned: the batch size of uniform that all are measured against, or None for the sampler's own.
    """
    counted = _comparable(runs)
    groups = _grouped(counted)
    lines = []
    for key, group in groups.items():
        batch_size = key.batch_size
        good = [run for run in group if run.good]
        mean, deviation = mean_and_deviation([run.curve[-1].psnr for run in good])
        against = _baseline_size(groups, batch_size, tuned)
        pairs = [(run, base) for run in group if (base := _uniform(counted, against, run.seed))]
        like = [(run, base) for run in good if (base := _uniform(counted, batch_size, run.seed))]
        lines.append(
            Line(
                *key,
                seeds=tuple(run.seed for run in group if run.seed is not None),
                baseline_batch_size=against,
                psnr=mean,
                deviation=deviation,
                speedup_seconds=_median_speedup(pairs, "seconds"),
                speedup_steps=_median_speedup(pairs, "step"),
                minimum_margin=_minimum_margin([(run, base) for run, base in pairs if run.good]),
                overhead=_median(
                    run.step_ms / base.step_ms - 1 for run, base in like if run.step_ms and base.step_ms
                ),
                overhead_in_all=_median(_step_seconds(run) / _step_seconds(base) - 1 for run, base in like),
                exact_share=_exact_share(good, counted),
                diverged=len(group) - len(good),
            )
        )
    return lines


def baseline(comparison: Comparison) -> Line | None:
    """The line that gains are over: uniform with the whole budget, at the batch size at which it ends highest.

    Where a comparison looked for that size, its figures are against the one that its lines name.
    """
    uniform = [line for line in comparison.lines if (line.sampler, line.shorter) == (BASELINE, 1)]
    named = {line.baseline_batch_size for line in comparison.lines} if comparison.tuning else set()
    found = [line for line in uniform if line.batch_size in named]
    return max(found[:1] or uniform, key=level, default=None)


def against_best(comparison: Comparison) -> Comparison:
    """A comparison whose figures are against uniform sampling at the batch size at which it ended highest."""
    return replace(comparison, lines=tuple(summarize(comparison.runs, _size(baseline(comparison)))))


def by_seed(comparison: Comparison, line: Line) -> list[Line]:
    """A line made anew of each seed alone, against the overall baseline."""
    size = _size(baseline(comparison))
    seeds = sorted({run.seed for run in comparison.runs if run.seed is not None})
    return [
        one
        for seed in seeds
        for one in summarize([run for run in comparison.runs if run.seed == seed], size)
        if one.entry == line.entry
    ]


def gain(line: Line, base: Line | None) -> float | None:
    """How far a line's mean PSNR lies above the baseline's, in dB; None where one is not known."""
    if base is None or line.psnr is None or base.psnr is None:
        return None
    # Two exact fits are level.
    return 0.0 if line.psnr == base.psnr else line.psnr - base.psnr


def speedup(comparison: Comparison, line: Line, base: Line, axis: Axis) -> float | None:
    """The time of a baseline to its final PSNR over a line's time to the same; None if it never gets there.

    The line's own figure where it speaks of this baseline.
    """
    against = line.batch_size if line.baseline_batch_size is None else line.baseline_batch_size
    if against == base.batch_size:
        return line.speedup_seconds if axis == "seconds" else line.speedup_steps
    bases = {run.seed: run for run in comparison.counted(base) if run.good}
    pairs = [(run, bases[run.seed]) for run in comparison.counted(line) if run.seed in bases]
    return _median_speedup(pairs, axis)


def level(line: Line) -> float:
    """A line's PSNR for ranking: below all others where it has none."""
    return -math.inf if line.psnr is None else line.psnr


def best_uniform(runs: Sequence[RunResult]) -> int | None:
    """The batch size at which uniform sampling with the whole budget ends highest; None where no such run ended."""
    return _highest(_grouped(_comparable(runs)))


def _size(base: Line | None) -> int | None:
    return None if base is None else base.batch_size


def _comparable(runs: Sequence[RunResult]) -> list[RunResult]:
    """Runs of the seeds in which all ended, as many in each where that can be, or else all runs, cut to the shortest."""
    ended = {run.seed for run in runs}
    for run in runs:
        if not run.ended:
            ended.discard(run.seed)
    groups = _grouped(runs).values()
    # Seeds are of unequal difficulty: a line over fewer of them than the next would not compare with it.
    whole = {seed for seed in ended if all(any(run.seed == seed for run in group) for group in groups)}
    counted = whole or ended
    if counted:
        return [run for run in runs if run.seed in counted]
    shortest = min((len(run.curve) for run in runs if run.diverged_at is None), default=0)
    return [replace(run, curve=run.curve[:shortest]) for run in runs] if shortest else []


def _baseline_size(groups: dict[Entry, list[RunResult]], own: int | None, tuned: int | None) -> int | None:
    for size in (tuned, own):
        if size is not None and any(run.good for run in groups.get(Entry(BASELINE, size), [])):
            return size
    return _highest(groups)


def _grouped(runs: Sequence[RunResult]) -> dict[Entry, list[RunResult]]:
    groups: dict[Entry, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(run.entry, []).append(run)
    return groups


def _highest(groups: dict[Entry, list[RunResult]]) -> int | None:
    finals = {
        size: [run.curve[-1].psnr for run in group if run.good]
        for (sampler, size, shorter), group in groups.items()
        if (sampler, shorter) == (BASELINE, 1)
    }
    known = {size: statistics.fmean(values) for size, values in finals.items() if values}
    return max(known, key=lambda size: known[size], default=None)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _step_seconds(run: RunResult) -> float:
    return run.curve[-1].seconds / run.curve[-1].step


def _uniform(
    runs: Sequence[RunResult], batch_size: int | None, seed: int | None, shorter: float = 1.0
) -> RunResult | None:
    """The run of plain uniform sampling; None if there is none or it diverged."""
    return next((run for run in _of(runs, batch_size, seed, shorter) if run.sampler == BASELINE), None)


def _exact(
    runs: Sequence[RunResult], batch_size: int | None, seed: int | None, shorter: float
) -> RunResult | None:
    """The run of exact sampling, of whichever options end highest; None if there is none or all diverged."""
    exact = [run for run in _of(runs, batch_size, seed, shorter) if run.sampler.partition(":")[0] == EXACT]
    return max(exact, key=lambda run: run.curve[-1].psnr, default=None)


def _of(
    runs: Sequence[RunResult], batch_size: int | None, seed: int | None, shorter: float
) -> list[RunResult]:
    """The runs of a batch size, a seed and a budget that did not diverge."""
    wanted = (batch_size, seed, shorter)
    return [run for run in runs if (run.batch_size, run.seed, run.shorter) == wanted and run.good]


def _median_speedup(pairs: Sequence[Pair], axis: Axis) -> float | None:
    shares = []
    for run, base in pairs:
        goal = base.curve[-1].psnr
        taken = time_to(base.curve, goal, axis)
        reached = time_to(run.curve, goal, axis) if run.diverged_at is None else None
        # A share of the baseline's time, so that "never" is larger than anything and medians stay right.
        shares.append(math.inf if reached is None or not taken else reached / taken)
    share = statistics.median(shares) if shares else math.inf
    return 1 / share if 0 < share < math.inf else None


def _minimum_margin(pairs: Sequence[Pair]) -> float | None:
    if not pairs:
        return None
    start = max(SETTLED * base.curve[-1].seconds for _, base in pairs)
    start = max([start, *(run.curve[0].seconds for pair in pairs for run in pair)])
    stop = min(run.curve[-1].seconds for pair in pairs for run in pair)
    if stop < start:
        return None
    moments = {start, stop}
    for pair in pairs:
        for run in pair:
            moments |= {point.seconds for point in run.curve if start <= point.seconds <= stop}
    return min(statistics.median(_above(pair, moment) for pair in pairs) for moment in moments)


def _above(pair: Pair, moment: float) -> float:
    own, other = (psnr_at(run.curve, moment, "seconds") for run in pair)
    # Two exact fits are level.
    return 0.0 if own == other else own - other


def _exact_share(group: Sequence[RunResult], runs: Sequence[RunResult]) -> float | None:
    gains, shares = [], []
    for run in group:
        # Beside runs that end later this one's learning rate would be ahead of theirs.
        like = (run.batch_size, run.seed, run.shorter)
        base, exact = _uniform(runs, *like), _exact(runs, *like)
        if base is None or exact is None:
            continue
        three = (run, base, exact)
        step = min(one.curve[-1].step for one in three)
        own, least, most = (psnr_at(one.curve, step, "step") for one in three)
        if all(map(math.isfinite, (own, least, most))):
            gains.append(most - least)
            shares.append((own - least) / (most - least) if most > least else 0.0)
    if not gains or statistics.median(gains) < LEAST_EXACT_GAIN:
        return None
    return statistics.median(shares)
