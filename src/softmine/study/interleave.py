"""Runs that are interleaved, a short slice each in turn, so that a noisy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from torch import nn

from softmine.formatting import clock, decibels
from softmine.runs.interrupt import Interrupted
from softmine.runs.progress import Progress
from softmine.runs.task import Evaluation, Evaluator, finite
from softmine.study.curves import CurvePoint
from softmine.study.results import Entry, RunResult
from softmine.training import devices
from softmine.training.trainer import Diverged, Trainer, train_and_evaluate

SLICES = 40


class MatrixProgress(Progress):
    """Shows runs done, percent and time left over all runs: one live line in a terminal, plain lines elsewhere.

    The time left is the wall clock's (evaluation and images included), from what this process has done so far. Use
    as a context manager.

    Args:
        console: where to print.
        total: runs in all.
        before: of them, done by an earlier process.
    """

    def __init__(self, console: Console, total: int, before: int = 0) -> None:
        super().__init__(console, steps=None)
        self.total, self.before, self.done = total, before, before
        self._started: float | None = None

    def finished(self, runs: int) -> None:
        """Notes that ``runs`` more have come to their end."""
        self.done += runs

    def show(self, training: float, text: str) -> None:
        """Shows ``text`` in the live line; ``training`` is how many runs' worth of work is done in those that train now."""
        self.say(f"{self.overview(training)}  {text}")

    def print(self, training: float, text: str) -> None:
        """Prints ``text`` where there is no live line."""
        self.line(f"{self.overview(training)}  {text}")

    def overview(self, training: float) -> str:
        """Percent, runs done of all, and the time left: ``42%  5/12 runs  ETA 3:20``."""
        # From the first word on: what a process pays once, before it trains, says nothing about the rest.
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        worth = self.done + training
        here = worth - self.before
        left = clock((now - self._started) * (self.total - worth) / here) if here > 0 else "..."
        return f"{worth / self.total:4.0%}  {self.done}/{self.total} runs  ETA {left}"


class ComparedRun:
    """One run of a comparison, advanced a slice at a time.

    Args:
        trainer: at its start.
        evaluator: measures its field, with the clock stopped.
        entry: what it is a run of.
        seed: random seed.
        points: shares of its budget at which to evaluate, rising; done after the last, or where the loss has diverged.
    """

    def __init__(
        self, trainer: Trainer, evaluator: Evaluator, entry: Entry, seed: int, points: Sequence[float]
    ) -> None:
        self.trainer, self.evaluator, self.entry, self.seed = trainer, evaluator, entry, seed
        self.curve: list[CurvePoint] = []
        self.diverged_at: int | None = None
        self.done = False
        self._last = points[-1]
        self._until: float = 0.0
        self._interrupted: Interrupted = lambda: False
        self._loop = train_and_evaluate(trainer, points, self._measure, self._pause)

    @property
    def share(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return 1.0 if self.done else self.trainer.progress

    def advance(self, share: float, interrupted: Interrupted) -> None:
        """Trains for ``share`` of its budget, or to the next evaluation, which is then made with the clock stopped."""
        self._until, self._interrupted = self.trainer.progress + share, interrupted
        try:
            point = next(self._loop)
        except Diverged as error:
            self.diverged_at, self.done = error.step, True
            return
        if point is not None:
            result = point.value
            seconds = round(point.seconds, 4)
            self.curve.append(CurvePoint(point.step, seconds, result.psnr, result.ssim, result.more))
            self.done = self.trainer.progress >= self._last

    def _pause(self) -> bool:
        return self._interrupted() or self.trainer.progress >= self._until

    def _measure(self, field: nn.Module) -> Evaluation:
        return finite(self.evaluator(field), self.trainer)

    def result(self, group: int) -> RunResult:
        """The run as a record; ``group`` is the number of those that were interleaved with each other."""
        step_ms, sampler_ms = self.trainer.timer.medians()
        return RunResult(
            *self.entry,
            seed=self.seed,
            interleaved=group,
            steps=self.trainer.step,
            train_seconds=round(self.trainer.clock.seconds, 4),
            step_ms=step_ms,
            sampler_ms=sampler_ms,
            peak_rss_mb=devices.peak_memory_mb(),
            finished=self.done and self.diverged_at is None,
            diverged_at=self.diverged_at,
            curve=tuple(self.curve),
        )


def interleave(
    compared: list[ComparedRun],
    progress: MatrixProgress,
    label: Callable[[ComparedRun], str],
    interrupted: Interrupted,
) -> None:
    """Trains all runs in turns, a fortieth of its budget each; the order turns by one every round.

    So those with a shorter budget are spread over as much of the wall clock as all others.
    """
    turn = 0
    while not interrupted() and any(not one.done for one in compared):
        start = turn % len(compared)
        for one in compared[start:] + compared[:start]:
            if one.done or interrupted():
                continue
            share = sum(one.share for one in compared)
            progress.show(share, f"{label(one)}  {one.share:.0%}{_latest(one)}")
            evaluations = len(one.curve)
            one.advance(1 / SLICES, interrupted)
            if len(one.curve) > evaluations:
                share = sum(one.share for one in compared)
                progress.print(share, f"{label(one)}  {one.share:4.0%}{_latest(one)}")
        turn += 1


def _latest(one: ComparedRun) -> str:
    if not one.curve:
        return ""
    point = one.curve[-1]
    return f"  step {point.step:,}  PSNR {decibels(point.psnr)}"
