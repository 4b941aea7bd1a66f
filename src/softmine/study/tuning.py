"""The best batch size of uniform sampling: a gain over a badly chosen baseline is no gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from softmine.runs.build import build_run
from softmine.runs.interrupt import Interrupted
from softmine.runs.task import Evaluator, Task
from softmine.study.interleave import ComparedRun, interleave
from softmine.study.matrix import CompareSettings, Entry, run_settings
from softmine.study.matrix_progress import MatrixProgress
from softmine.study.summary import BASELINE

SHARE = 1 / 6
"""Share of the comparison's budget that each run of the search gets."""
LEAST, MOST = 512, 65_536
SEED = 0


def climb(measure: Callable[[list[int]], dict[int, float]], start: int, least: int, most: int) -> int:
    """The best size between ``least`` and ``most``, found uphill from ``start`` in factors of 4, then of 2.

    ``measure`` is given sizes to compare with each other and returns their scores. The best so far is measured again
    beside every new size, because only what takes turns compares well.
    """

    def best_of(sizes: list[int]) -> int:
        sizes = [size for size in sizes if least <= size <= most or size == start]
        if len(sizes) == 1:
            return sizes[0]
        scores = measure(sizes)
        return max(sizes, key=lambda size: scores[size])

    best = best_of([start, start // 4, start * 4])
    up = best > start
    while best != start:
        following = best_of([best, best * 4 if up else best // 4])
        if following == best:
            break
        best = following
    return best_of([best, best // 2, best * 2])


def limits(start: int, cells: int) -> tuple[int, int]:
    """Least and greatest batch size worth trying: more samples than the signal has cells are not."""
    return min(LEAST, start), max(start, min(MOST, cells))


class Search:
    """Uniform sampling at several batch sizes, each for the same time on the training clock.

    Args:
        task: the signal.
        settings: of the comparison; its first batch size is where the search starts.
        evaluator: measures the fields.
        device: where they train.
        console: where progress is shown.
        interrupted: tells whether a person wants to stop.
    """

    def __init__(
        self,
        task: Task,
        settings: CompareSettings,
        evaluator: Evaluator,
        device: torch.device,
        console: Console,
        interrupted: Interrupted,
    ) -> None:
        self.task, self.settings, self.evaluator, self.device = task, settings, evaluator, device
        self.console, self.interrupted = console, interrupted
        self.start = settings.batch_sizes[0]
        self.lines: list[dict[str, Any]] = []
        self._groups = 0
        self._seconds = 0.0

    def run(self) -> dict[str, Any] | None:
        """The search as ``results.json`` has it under ``tuning``; None if it was interrupted."""
        self._seconds = self._clock()
        least, most = limits(self.start, self.task.signal.domain.cells)
        chosen = climb(self._measure, self.start, least, most)
        if self.interrupted():
            return None
        return {
            "sampler": BASELINE,
            "seed": SEED,
            "start": self.start,
            "seconds": round(self._seconds, 4),
            "runs": self.lines,
            "batch_size": chosen,
            "steps": self._steps(chosen),
        }

    def _clock(self) -> float:
        """Seconds that each run gets: a share of the budget, in steps as long as that many take at the start."""
        settings = self.settings
        if settings.steps is None:
            return SHARE * float(settings.seconds or 0.0)
        seconds = None if settings.seconds is None else SHARE * settings.seconds
        short = replace(settings, steps=math.ceil(SHARE * settings.steps), seconds=seconds)
        alone = self._interleave([self.start], short)[0]
        return max(alone.trainer.clock.seconds, 1e-3)

    def _measure(self, sizes: list[int]) -> dict[int, float]:
        if self.interrupted():
            return dict.fromkeys(sizes, 0.0)
        compared = self._interleave(sizes, replace(self.settings, steps=None, seconds=self._seconds))
        self._groups += 1
        scores = {}
        for one in compared:
            psnr = one.curve[-1]["psnr"] if one.curve and one.diverged_at is None else None
            self.lines.append(
                {
                    "batch_size": one.batch_size,
                    "race": self._groups,
                    "steps": one.trainer.step,
                    "train_seconds": round(one.trainer.clock.seconds, 4),
                    "step_ms_median": one.trainer.timer.medians()[0],
                    "psnr": psnr,
                }
            )
            scores[one.batch_size] = -math.inf if psnr is None else psnr
        return scores

    def _interleave(self, sizes: Sequence[int], settings: CompareSettings) -> list[ComparedRun]:
        compared = [
            ComparedRun(
                build_run(self.task, run_settings(settings, Entry(BASELINE, size), SEED), self.device),
                self.evaluator,
                BASELINE,
                SEED,
                [1.0],
            )
            for size in sizes
        ]
        with MatrixProgress(self.console, len(compared)) as progress:
            interleave(
                compared,
                progress,
                lambda one: f"finding uniform's batch size: {one.batch_size:,}",
                self.interrupted,
            )
        return compared

    def _steps(self, chosen: int) -> int | None:
        """Steps at the chosen size that take as long as the budget's steps at the start; None without such a budget."""
        if self.settings.steps is None:
            return None
        step_ms = {line["batch_size"]: line["step_ms_median"] for line in self.lines}
        if not step_ms.get(chosen) or not step_ms.get(self.start):
            return self.settings.steps
        return max(1, round(self.settings.steps * step_ms[self.start] / step_ms[chosen]))
