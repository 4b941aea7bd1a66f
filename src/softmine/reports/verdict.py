"""The rows of a comparison's page, each a line of its summary, and their result in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from statistics import median, median_high

from softmine.registry import with_shorter
from softmine.reports import text
from softmine.study.curves import Spread, spread
from softmine.study.results import Comparison, Line, RunResult
from softmine.study.summary import BASELINE, baseline, gain, level, speedup

LEAST_GAIN = 0.05
"""Differences below this many dB are called a tie, whatever the spread."""
REACHED = 0.98
"""From this share of a budget on, it counts as spent."""


@dataclass(frozen=True)
class Row(Line):
    """A line of the summary as a page shows it, with its speed-ups as the table has them.

    Args:
        short: the sampler in short, and how many times shorter its budget is: ``auto/2.5``.
        label: its name in charts, with the batch size where one sampler has several.
        prose: its name in a sentence.
        runs: its runs.
        counted: those of the seeds that count, of which its figures and curves are.
        gain: mean final PSNR above the baseline's; ``None`` for the baseline itself.
        baseline: whether the others are measured against it.
        reached_seconds: speed-up to the final PSNR of the page's baseline.
        reached_steps: the same in steps.
        step_ms: median time of a step.
        sampler_ms: the sampler's part of it.
        by_seconds: its curve over training time.
        by_step: its curve over steps.
    """

    short: str = ""
    label: str = ""
    prose: str = ""
    runs: tuple[RunResult, ...] = ()
    counted: tuple[RunResult, ...] = ()
    gain: float | None = None
    baseline: bool = False
    reached_seconds: float | None = None
    reached_steps: float | None = None
    step_ms: float | None = None
    sampler_ms: float | None = None
    by_seconds: Spread | None = None
    by_step: Spread | None = None

    @property
    def against(self) -> int | None:
        """The batch size of the baseline that the file's speed-ups speak of; its own where the file does not say."""
        return self.batch_size if self.baseline_batch_size is None else self.baseline_batch_size

    @property
    def own_baseline(self) -> bool:
        """Whether its speed-up is against itself."""
        return (self.sampler, self.shorter) == (BASELINE, 1) and self.against == self.batch_size


def _median_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def table(comparison: Comparison) -> list[Row]:
    """The rows of a comparison, best first."""
    lines = comparison.lines
    names = text.short_names(line.sampler for line in lines)
    batches = Counter(sampler for sampler, _ in {line.entry[:2] for line in lines})
    base = baseline(comparison)
    rows = [_row(comparison, line, names[line.sampler], batches[line.sampler] > 1, base) for line in lines]
    return sorted(rows, key=level, reverse=True)


def _row(comparison: Comparison, line: Line, name: str, several: bool, base: Line | None) -> Row:
    short = label = prose = with_shorter(name, line.shorter)
    if several:
        size = text.count(line.batch_size)
        label, prose = f"{short} {size}", f"{short} at batch {size}"
    counted = tuple(comparison.counted(line))
    curves = [run.curve for run in counted]
    reached = None, None
    if base is not None:
        reached = speedup(comparison, line, base, "seconds"), speedup(comparison, line, base, "step")
    shown = line.speedup_seconds, line.speedup_steps
    sizes = {one.batch_size for one in comparison.lines if (one.sampler, one.shorter) == (BASELINE, 1)}
    if line.batch_size not in sizes and shown[0] is None:
        shown = reached
    figures = {one.name: getattr(line, one.name) for one in fields(line)}
    figures |= {"speedup_seconds": shown[0], "speedup_steps": shown[1]}
    return Row(
        **figures,
        short=short,
        label=label,
        prose=prose,
        runs=tuple(comparison.runs_of(line)),
        counted=counted,
        gain=None if line is base else gain(line, base),
        baseline=line is base,
        reached_seconds=reached[0],
        reached_steps=reached[1],
        step_ms=_median_of(run.step_ms for run in counted),
        sampler_ms=_median_of(run.sampler_ms for run in counted),
        by_seconds=spread(curves, "seconds"),
        by_step=spread(curves, "step"),
    )


def strip(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Where each row's PSNR and spread lie between the lowest and the highest, in percent."""
    known = [
        (row, row.psnr, row.deviation or 0.0) for row in rows if row.psnr is not None and row.psnr < math.inf
    ]
    low = min((psnr - wide for _, psnr, wide in known), default=0.0)
    span = max((psnr + wide for _, psnr, wide in known), default=0.0) - low
    if len(known) < 2 or span < 1e-6:
        return {}

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / span, 2)

    return {
        row.label: {"at": place(psnr), "from": place(psnr - wide), "to": place(psnr + wide)}
        for row, psnr, wide in known
    }


def best_figures(rows: list[Row]) -> dict[str, float | None]:
    """The best figure of every column, for highlighting; ``None`` where there is no choice."""
    better = {
        "psnr": max,
        "speedup_seconds": max,
        "speedup_steps": max,
        "step_ms": min,
    }
    best: dict[str, float | None] = {}
    for key, choose in better.items():
        values = [value for row in rows if (value := getattr(row, key)) is not None]
        best[key] = choose(values) if len(set(values)) > 1 else None
    return best


def spent(rows: list[Row], seconds: float | None, steps: int | float | None) -> str:
    """What every run was given, or what they had where they ended before it, as words that end a sentence."""
    each = " each" if len(rows) > 1 else ""
    trained = _had(rows, lambda run: run.train_seconds)
    made = _had(rows, lambda run: run.steps)
    if seconds is not None and (trained is None or trained >= REACHED * seconds):
        return f"after {text.duration(seconds)} of training{each}"
    if steps is not None and (made is None or made >= REACHED * steps):
        return f"after {text.several(round(steps), 'step')}{each}"
    if made is not None and seconds is None and steps is not None:
        return f"after {text.several(round(made), 'step')}{each}"
    return f"after {text.duration(trained)} of training{each}" if trained is not None else "at the end"


def _had(rows: list[Row], spent: Callable[[RunResult], int | float | None]) -> float | None:
    """The median over runs with the whole budget, of two the higher: a tuned uniform may have fewer steps by plan."""
    runs = [run for row in rows if row.shorter == 1 for run in row.counted]
    values = [value for run in runs if (value := spent(run)) is not None]
    return float(median_high(values)) if values else None


def given(row: Row, seconds: float | None, steps: int | float | None) -> str:
    """The budget of a row, as words: ``24 s``, or ``2,000 steps``."""
    if seconds is not None and steps is not None:
        most = text.several(round(steps / row.shorter), "step")
        return f"at most {text.duration(seconds / row.shorter)} or {most}"
    if seconds is not None:
        return text.duration(seconds / row.shorter)
    if steps is not None:
        return f"{text.count(steps / row.shorter)} steps"
    return (
        f"a budget {text.significant(row.shorter)} times shorter" if row.shorter > 1 else "the whole budget"
    )


def compared(rows: list[Row]) -> list[Row]:
    """The rows that the result speaks of: those with the whole budget, or all where at most uniform sampling had it."""
    whole = [row for row in rows if row.shorter == 1]
    others = {row.shorter == 1 for row in rows if row.sampler != BASELINE and row.psnr is not None}
    return rows if others == {False} or not whole else whole


def _noise(row: Row, base: Row) -> float:
    return max(LEAST_GAIN, math.hypot(row.deviation or 0.0, base.deviation or 0.0))


def _caveats(best: Row, base: Row, equal_steps: bool) -> str:
    """What a fair reader must know beside the two figures."""
    found = ""
    if equal_steps and best.overhead is not None and abs(best.overhead) >= 0.02:
        found += f" Its steps take {text.percent(best.overhead, sign=True)} time."
    if best.batch_size != base.batch_size and best.batch_size and base.batch_size:
        own, other = text.count(best.batch_size), text.count(base.batch_size)
        found += f" Here {base.short} draws {other} samples a step, {best.short} {own}."
        steps = [row.runs[0].steps if row.runs else None for row in (best, base)]
        if equal_steps and None not in steps and steps[0] != steps[1] and best.shorter == 1:
            found += f" {base.short.capitalize()} was given {text.count(steps[1])} steps, which take about as long."
    if max(len(best.counted), len(base.counted)) < 2:
        found += " With one seed each, how much of this is chance is not known."
    return found


@dataclass(frozen=True)
class Verdict:
    """The result: one sentence without a full stop, the sentences that qualify it, and whether one
    sampler is ahead of the rest.
    """

    lead: str
    rest: str
    clear: bool


def verdict(rows: list[Row], seconds: float | None, steps: int | float | None) -> Verdict:
    """Say who wins by how much, or that nobody does.

    Runs with a shorter budget follow, each with the budget it had; they are the result where nothing but
    uniform sampling had the whole budget.

    Args:
        rows: of the summary, best first.
        seconds: training time each run was given, if that was the budget.
        steps: steps each run was given, if those were the budget.
    """
    chosen = compared(rows)
    scored = [row for row in chosen if row.psnr is not None]
    base = next((row for row in scored if row.baseline), None)
    best = next((row for row in scored if row.sampler != BASELINE), None)
    if base is not None and best is not None and best.shorter > 1:
        found, named = _of_shorter(best, base, seconds, steps), best
    else:
        found, named = _of_equal(chosen, rows, seconds, steps), scored[0] if scored else None
    others = [row for row in rows if row.shorter > 1 and row.psnr is not None and row is not named]
    return replace(found, rest=found.rest + _shorter_beside(others, base, seconds, steps))


def _shorter_beside(
    rows: list[Row], base: Row | None, seconds: float | None, steps: int | float | None
) -> str:
    """Where runs with a shorter budget end, as a sentence; empty without any."""
    found = []
    for row in rows:
        place = f"at {text.decibels(row.psnr)}"
        if base is not None:
            gain, noise = row.gain or 0.0, _noise(row, base)
            place = f"{text.decibels(abs(gain))} {'above' if gain > 0 else 'below'}"
            place = f"within {text.decibels(noise)}" if abs(gain) < noise else place
        found.append(f"{row.prose} ({given(row, seconds, steps)}) {place}")
    if not found:
        return ""
    against = "" if base is None else f", against {base.prose} with the whole one"
    return f" Runs with a shorter budget end{against}: {', '.join(found)}."


def _of_shorter(best: Row, base: Row, seconds: float | None, steps: int | float | None) -> Verdict:
    """The result where the best sampler had less to spend than the baseline."""
    gain, noise = best.gain or 0.0, _noise(best, base)
    spent_by = f"trained for {given(best, seconds, steps)} instead of {given(base, seconds, steps)}"
    equal_steps = seconds is None and steps is not None
    rest = f"{best.prose}: {text.fixed(best.psnr, 2)} against {text.decibels(base.psnr)}."
    factor = best.reached_steps if equal_steps else best.reached_seconds
    if factor:
        share = f"{text.fixed(1 / factor, 2)} of the {'steps' if equal_steps else 'time'}"
        rest += f" It reaches that level in {share}."
    rest += _caveats(best, base, equal_steps)
    if abs(gain) < noise:
        return Verdict(
            f"{best.prose} ends within {text.decibels(noise)} of {base.prose}, {spent_by}", rest, False
        )
    place = "above" if gain > 0 else "below"
    lead = f"{best.prose} ends {text.decibels(abs(gain))} {place} {base.prose}, {spent_by}"
    return Verdict(lead, rest, gain > 0)


def _of_equal(rows: list[Row], every: list[Row], seconds: float | None, steps: int | float | None) -> Verdict:
    """The result where the best sampler of ``rows`` and the baseline had as much to spend."""
    scored = [row for row in rows if row.psnr is not None]
    if not scored:
        return Verdict("No run of this comparison was evaluated", "", False)
    first = scored[0]
    base = next((row for row in scored if row.baseline), None)
    best = next((row for row in scored if row.sampler != BASELINE), None)
    budget = spent(rows, seconds, steps)
    if first.shorter > 1:
        budget = f"after {given(first, seconds, steps)}"
    if base is None:
        verb = "ends highest, at" if len(scored) > 1 else "ends at"
        alone = f"There is no result of {BASELINE} sampling here to measure a gain against."
        return Verdict(f"{first.prose} {verb} {text.decibels(first.psnr, 1)} {budget}", alone, True)
    if best is None:
        alone = "No other sampler has a result here, so there is nothing to compare it with."
        return Verdict(f"{base.prose} ends at {text.decibels(base.psnr, 1)} {budget}", alone, True)
    gain = best.gain or 0.0
    noise = _noise(best, base)
    ends = f"{text.fixed(best.psnr, 2)} against {text.decibels(base.psnr)} {budget}"
    equal_steps = seconds is None and steps is not None
    caveats = _caveats(best, base, equal_steps)
    if abs(gain) < noise:
        lead = f"No clear winner: {best.prose} and {base.prose} end within {text.decibels(noise)}"
        rest = f"{best.prose}: {ends}. The difference is no larger than the noise.{caveats}"
        return Verdict(lead, rest, False)
    if gain < 0:
        whole = " with the whole budget" if any(row.shorter > 1 for row in every) else ""
        lead = f"No sampler{whole} beats {base.prose}: the next, {best.prose}, ends lower by "
        return Verdict(lead + text.decibels(-gain), f"{best.prose}: {ends}.{caveats}", True)
    factor = best.reached_steps if equal_steps else best.reached_seconds
    if not factor:
        lead = f"{best.prose} ends {text.decibels(gain)} above {base.prose}"
        return Verdict(lead, f"{best.prose}: {ends}.{caveats}", True)
    share = f"{text.fixed(1 / factor, 2)} of the {'steps' if equal_steps else 'time'}"
    goal = f"{base.short}\u2019s final {text.decibels(base.psnr, 1)}"
    if base.prose != base.short:
        goal = f"the final {text.decibels(base.psnr, 1)} of {base.prose}"
    rest = f"It ends {text.decibels(gain)} higher: {ends}.{caveats}"
    return Verdict(f"{best.prose} reaches {goal} in {share}", rest, True)
