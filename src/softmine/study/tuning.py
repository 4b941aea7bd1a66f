"""The best batch size of uniform sampling: a gain over a badly chosen baseline is no gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from rich.console import Console

from softmine.runs.build import build_run
from softmine.runs.interrupt import Interrupted
from softmine.runs.task import Evaluator, Task
from softmine.study.interleave import ComparedRun, MatrixProgress, interleave
from softmine.study.matrix import CompareSettings, run_settings
from softmine.study.results import Entry, Tuning, TuningRun
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


@dataclass
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

    task: Task
    settings: CompareSettings
    evaluator: Evaluator
    device: torch.device
    console: Console
    interrupted: Interrupted
    _runs: list[TuningRun] = field(default_factory=list, init=False)
    _seconds: float = field(default=0.0, init=False)

    @property
    def start(self) -> int:
        """The batch size at which the search starts."""
        return self.settings.batch_sizes[0]

    def run(self) -> Tuning | None:
        """What was found; None if it was interrupted."""
        self._seconds = self._clock()
        least, most = limits(self.start, self.task.signal.domain.cells)
        chosen = climb(self._measure, self.start, least, most)
        if self.interrupted():
            return None
        seconds, runs = round(self._seconds, 4), tuple(self._runs)
        return Tuning(BASELINE, SEED, self.start, seconds, runs, chosen, self._steps(chosen))

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
        group = 1 + max((run.interleaved or 0 for run in self._runs), default=0)
        scores = {}
        for one in compared:
            run = one.result(group)
            size, psnr = one.trainer.sampler.batch_size, run.final_psnr if run.good else None
            self._runs.append(
                TuningRun(size, run.interleaved, run.steps, run.train_seconds, run.step_ms, psnr)
            )
            scores[size] = -math.inf if psnr is None else psnr
        return scores

    def _interleave(self, sizes: Sequence[int], settings: CompareSettings) -> list[ComparedRun]:
        compared = []
        for entry in (Entry(BASELINE, size) for size in sizes):
            trainer = build_run(self.task, run_settings(settings, entry, SEED), self.device)
            compared.append(ComparedRun(trainer, self.evaluator, entry, SEED, [1.0]))
        with MatrixProgress(self.console, len(compared)) as progress:
            interleave(
                compared,
                progress,
                lambda one: f"finding uniform's batch size: {one.entry.batch_size:,}",
                self.interrupted,
            )
        return compared

    def _steps(self, chosen: int) -> int | None:
        """Steps at the chosen size that take as long as the budget's steps at the start; None without such a budget."""
        if self.settings.steps is None:
            return None
        step_ms = {run.batch_size: run.step_ms for run in self._runs}
        here, there = step_ms.get(self.start), step_ms.get(chosen)
        return max(1, round(self.settings.steps * here / there)) if here and there else self.settings.steps
