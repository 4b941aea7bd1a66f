"""Runs that are interleaved, a short slice each in turn, so that a noisy machine slows all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from softmine.runs.interrupt import Interrupted
from softmine.runs.task import Evaluation, Evaluator, finite
from softmine.study.matrix_progress import MatrixProgress
from softmine.training import devices
from softmine.training.trainer import Diverged, Trainer, train_and_evaluate

SLICES = 40


class ComparedRun:
    """One run of a comparison, advanced a slice at a time.

    Args:
        trainer: at its start.
        evaluator: measures its field, with the clock stopped.
        sampler: the sampler's description, for the record.
        seed: for the record.
        points: shares of its budget at which to evaluate, rising; done after the last, or where the loss has diverged.
        shorter: how many times shorter its budget is than the comparison's, for the record.
    """

    def __init__(
        self,
        trainer: Trainer,
        evaluator: Evaluator,
        sampler: str,
        seed: int,
        points: Sequence[float],
        shorter: float = 1.0,
    ) -> None:
        self.trainer, self.evaluator = trainer, evaluator
        self.sampler, self.seed, self.shorter = sampler, seed, shorter
        self.curve: list[dict[str, Any]] = []
        self.diverged_at: int | None = None
        self.done = False
        self._last = points[-1]
        self._until: float = 0.0
        self._interrupted: Interrupted = lambda: False
        self._loop = train_and_evaluate(trainer, points, self._measure, self._pause)

    @property
    def batch_size(self) -> int:
        """Coordinates a step."""
        return self.trainer.sampler.batch_size

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
            known, result = {"step": point.step, "seconds": round(point.seconds, 4)}, point.value
            self.curve.append({**known, "psnr": result.psnr, "ssim": result.ssim, **result.more})
            self.done = self.trainer.progress >= self._last

    def _pause(self) -> bool:
        return self._interrupted() or self.trainer.progress >= self._until

    def _measure(self, field: nn.Module) -> Evaluation:
        return finite(self.evaluator(field), self.trainer)

    def result(self, group: int) -> dict[str, Any]:
        """The run as ``results.json`` has it; ``group`` is the number of those that were interleaved with each other."""
        step_ms, sampler_ms = self.trainer.timer.medians()
        return {
            "sampler": self.sampler,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "shorter": self.shorter,
            "race": group,
            "steps": self.trainer.step,
            "train_seconds": round(self.trainer.clock.seconds, 4),
            "step_ms_median": step_ms,
            "sampler_ms_median": sampler_ms,
            "peak_rss_mb": devices.peak_memory_mb(),
            "finished": self.done and self.diverged_at is None,
            "diverged_at": self.diverged_at,
            "curve": self.curve,
        }


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
            progress.say(share, f"{label(one)}  {one.share:.0%}{_latest(one)}")
            evaluations = len(one.curve)
            one.advance(1 / SLICES, interrupted)
            if len(one.curve) > evaluations:
                share = sum(one.share for one in compared)
                progress.line(share, f"{label(one)}  {one.share:4.0%}{_latest(one)}")
        turn += 1


def _latest(one: ComparedRun) -> str:
    if not one.curve:
        return ""
    point = one.curve[-1]
    return f"  step {point['step']:,}  PSNR {point['psnr']:.2f} dB"
