"""The result of a comparison in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from softmine.study import report_text as text
from softmine.study.report_summary import BASELINE, Row, speedup

LEAST_GAIN = 0.05
"""Differences below this many dB are called a tie, whatever the spread."""


def spent(rows: list[Row], seconds: float | None, steps: float | None) -> str:
    """What every run was given, as words that end a sentence."""
    each = " each" if len(rows) > 1 else ""
    times = [
        value
        for row in rows
        for run in row.runs
        if (value := text.number(run.get("train_seconds"))) is not None
    ]
    if seconds is None and steps is None and times:
        seconds = float(median(times))
    if seconds is not None:
        return f"after {text.duration(seconds)} of training{each}"
    return f"after {text.count(steps)} steps{each}" if steps is not None else "at the end"


def _caveats(best: Row, base: Row, equal_steps: bool) -> str:
    """What a fair reader must know beside the two figures."""
    found = ""
    if equal_steps and best.overhead is not None and abs(best.overhead) >= 0.02:
        found += f" Its steps take {text.signed(100 * best.overhead, 0)}% time."
    if best.batch_size != base.batch_size and best.batch_size and base.batch_size:
        own, other = text.count(best.batch_size), text.count(base.batch_size)
        found += f" Here {base.name} draws {other} samples a step, {best.name} {own}."
        steps = [text.number(row.runs[0].get("steps")) if row.runs else None for row in (best, base)]
        if equal_steps and None not in steps and steps[0] != steps[1]:
            found += (
                f" {base.name.capitalize()} was given {text.count(steps[1])} steps, which take about as long."
            )
    if max(len(best.runs), len(base.runs)) < 2:
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


def verdict(rows: list[Row], seconds: float | None, steps: float | None) -> Verdict:
    """Say who wins by how much, or that nobody does.

    Args:
        rows: of the summary, best first.
        seconds: training time each run was given, if that was the budget.
        steps: steps each run was given, if those were the budget.
    """
    budget = spent(rows, seconds, steps)
    scored = [row for row in rows if row.psnr is not None]
    if not scored:
        return Verdict("No run of this comparison was evaluated", "", False)
    first = scored[0]
    base = next((row for row in scored if row.baseline), None)
    best = next((row for row in scored if row.sampler != BASELINE), None)
    if base is None:
        verb = "ends highest, at" if len(scored) > 1 else "ends at"
        alone = f"There is no result of {BASELINE} sampling here to measure a gain against."
        return Verdict(f"{first.prose} {verb} {text.decibel(first.psnr)} {budget}", alone, True)
    if best is None:
        alone = "No other sampler has a result here, so there is nothing to compare it with."
        return Verdict(f"{base.prose} ends at {text.decibel(base.psnr)} {budget}", alone, True)
    gain = best.gain or 0.0
    noise = max(LEAST_GAIN, math.hypot(best.deviation or 0.0, base.deviation or 0.0))
    ends = f"{text.fixed(best.psnr, 2)} against {text.decibel(base.psnr, 2)} {budget}"
    equal_steps = seconds is None and steps is not None
    caveats = _caveats(best, base, equal_steps)
    if abs(gain) < noise:
        lead = f"No clear winner: {best.prose} and {base.prose} end within {text.decibel(noise, 2)}"
        rest = f"{best.prose}: {ends}. The difference is no larger than the noise.{caveats}"
        return Verdict(lead, rest, False)
    if gain < 0:
        lead = f"No sampler beats {base.prose}: the next, {best.prose}, ends lower by "
        return Verdict(lead + text.decibel(-gain, 2), f"{best.prose}: {ends}.{caveats}", True)
    sooner = speedup(best, base, "step" if equal_steps else "seconds")
    if not sooner:
        lead = f"{best.prose} ends {text.decibel(gain, 2)} above {base.prose}"
        return Verdict(lead, f"{best.prose}: {ends}.{caveats}", True)
    share = f"{text.fixed(1 / sooner, 2)} of the {'steps' if equal_steps else 'time'}"
    goal = f"{base.name}\u2019s final {text.decibel(base.psnr)}"
    if base.prose != base.name:
        goal = f"the final {text.decibel(base.psnr)} of {base.prose}"
    rest = f"It ends {text.decibel(gain, 2)} higher: {ends}.{caveats}"
    return Verdict(f"{best.prose} reaches {goal} in {share}", rest, True)
