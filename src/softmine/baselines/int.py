"""Training on the cells of largest error: INT (Zhang et al., ICML 2024, arXiv 2405.10531)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softmine.baselines.full_pass import LONGEST, PassTimes, errors, pass_if_due, valid_centers
from softmine.baselines.ranking import check_cells, spread, strides
from softmine.checks import check_count
from softmine.domain import Box, PerSample, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.drawing.supply import in_graph

MAX_IN_FLIGHT = 4096
"""Batches in flight, at most, that are told apart: with more the next is the hardest again."""


class INT(Sampler):
    """Trains on the k cells of largest error, found by a pass over all cells and used again until the next pass.

    A batch that is drawn while others are in flight holds the first cells of the ranking that none of them holds, so that K
    accumulated batches are one of K times the size. (Inside a compiled graph or a recording it holds the same cells.)

    Source: Nonparametric Teaching of Implicit Neural Representations (INT, arXiv 2405.10531) and its released code,
    of which the formulas of ``interval`` and ``ratio`` are. It ranks by the absolute error summed over the channels
    and trains on the plain mean; so does this. It differs where the released formulas run out, at and after
    ``steps``: intervals stay what they were last and ratios stop growing.

    Args:
        domain: where coordinates live.
        batch_size: cells a step, N, at most all of them; where the ratio is not constant, those of the first step.
        interval: updates from one pass to the next. ``incremental``: every step for the first quarter of the run, then
            every 10, 20, 30, 40 and 50 in fifths of the rest. ``dense``: every step. ``decremental``: every 90, 80, ...
            10 in tenths of the run, every step in the last. Or a number.
        ratio: how the share of cells in a batch goes on from r = N / cells. ``constant``: stays. ``step``: grows in ten
            stages to r + 0.9 (1 - r), which is 0.92 for the source's r = 0.2. ``linear``, ``cosine``: grows to 1.
            ``reverse-cosine``: goes to 0.2, from above or below. All but ``constant`` change the number of coordinates
            that ``draw`` returns, at passes, and need an ``update`` that is neither compiled nor recorded.
        steps: length of the run, to which intervals and ratios refer; the source's is 5,000.
        seed: accepted like every sampler's; nothing here is random.

    Raises:
        SoftmineError: the batch holds more cells than there are, or an option is unknown or out of range.

    Example:
        >>> sampler = INT(Box((4,)), batch_size=2)
        >>> sampler.draw(lambda coords: coords[:, 0]).coords
        tensor([[0.8750],
                [0.6250]])
    """

    needs_probe = True
    hardest: Tensor
    measured: Tensor
    count: Tensor
    in_flight: Tensor
    strides: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        interval: str | int = "incremental",
        ratio: str = "constant",
        steps: int = 5000,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, check_cells(batch_size, domain), seed=seed)
        self.steps = check_count("steps", steps)
        self.interval = _check_interval(interval)
        if ratio not in RATIOS:
            raise SoftmineError(f"the ratio '{ratio}' is unknown: choose one of {', '.join(RATIOS)}")
        self.ratio = ratio
        self.passes = PassTimes()
        most = batch_size if ratio == "constant" else domain.valid
        self.register_buffer("hardest", spread(domain, most))
        self.register_buffer("measured", torch.zeros(domain.valid, dtype=torch.float32))
        self.register_buffer("count", torch.tensor(batch_size))
        # Which parts of the ranking, a batch each, are in flight since the last pass.
        self.register_buffer("in_flight", torch.zeros(MAX_IN_FLIGHT, dtype=torch.bool))
        self.register_buffer("strides", strides(domain.valid), persistent=False)
        self._host_count: int = batch_size
        self._host_in_flight: set[int] = set()

    def refresh(self, probe: Probe) -> None:
        """Ranks every cell by its error; ``draw`` does so when it is due, except in a compiled graph.

        Raises:
            SoftmineError: the probe does not give one number for each coordinate.
        """
        self._host_count = self._count_at(self.updates)
        self.measured.copy_(errors(self.domain, probe, self.hardest.device))
        self.hardest[: self._host_count] = self.measured.topk(self._host_count).indices
        self.count.fill_(self._host_count)
        self.in_flight.zero_()
        self._host_in_flight.clear()
        self.passes.made(self.step, self.updates, self._interval(self.updates))

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Batch:
        """The centers of the cells that were hardest at the last pass, hardest first.

        Without a probe the last pass serves on, for loops that call ``refresh`` themselves.

        Raises:
            SoftmineError: there was no pass yet, and no probe is given.
        """
        pass_if_due(self.passes, lambda: self.updates, self.refresh, probe, "int")
        cells = self.hardest[: self._host_count]
        if in_graph(cells):
            return Batch(valid_centers(self.domain, cells), self.step.clone())
        if len(self._host_in_flight) == MAX_IN_FLIGHT:
            self.in_flight.zero_()
            self._host_in_flight.clear()
        part = next(part for part in itertools.count() if part not in self._host_in_flight)
        if part:
            cells = self._part(part)
        self.in_flight[part] = True
        self._host_in_flight.add(part)
        number = self.passes.next * MAX_IN_FLIGHT + part
        return Batch(valid_centers(self.domain, cells), self.step.clone(), number=number)

    def _part(self, part: int) -> Tensor:
        """The cells (N,) that follow those of ``part`` batches in the ranking; after the last, all again in another order."""
        count, start = self.domain.valid, part * self._host_count
        ranking = self.measured.topk(min(start + self._host_count, count)).indices
        places = torch.arange(start, start + self._host_count, device=ranking.device) % count
        return ranking[self.strides[start // count % len(self.strides)] * places % count]

    def _learn(
        self, batch: Batch, error: PerSample, loss: PerSample | None, loss_scale: float | Tensor
    ) -> None:
        """The next batch may hold these cells again."""
        if in_graph(self.in_flight) or isinstance(batch.number, Tensor):
            return
        made, part = divmod(batch.number, MAX_IN_FLIGHT)
        if made == self.passes.next:
            self.in_flight[part] = False
            self._host_in_flight.discard(part)

    def _interval(self, step: int) -> int:
        return next(later for later in itertools.count(step + 1) if self._is_pass(later)) - step

    def _is_pass(self, step: int) -> bool:
        """Whether a step begins with a pass."""
        if isinstance(self.interval, int):
            return step % self.interval == 0
        return step % INTERVALS[self.interval](step, self.steps) == 0

    def _count_at(self, step: int) -> int:
        if self.ratio == "constant":
            return self.batch_size
        share = RATIOS[self.ratio](min(step, self.steps) / self.steps, self.batch_size / self.domain.valid)
        # Half a thousandth of a cell, so that rounding does not cost the first step one.
        return min(self.domain.valid, max(1, int(share * self.domain.valid + 5e-4)))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        # An older state has their number instead of which.
        if state.get(f"{prefix}in_flight", self.in_flight).ndim == 0:
            state[f"{prefix}in_flight"] = torch.zeros_like(self.in_flight)
        super()._load_from_state_dict(state, prefix, *args)
        self._host_count, self._host_in_flight = (
            int(self.count),
            set(self.in_flight.nonzero().view(-1).tolist()),
        )


RATIOS: dict[str, Callable[[float, float], float]] = {
    "constant": lambda progress, first: first,
    "step": lambda progress, first: first + min(int(10 * progress), 9) / 10 * (1 - first),
    "linear": lambda progress, first: first + progress * (1 - first),
    "cosine": lambda progress, first: 1 - (1 - first) * (1 + math.cos(progress * math.pi)) / 2,
    "reverse-cosine": lambda progress, first: first - (first - 0.2) * (1 - math.cos(progress * math.pi)) / 2,
}
"""Share of cells in a batch, given the share of the run that is over and the share at its start."""


def _check_interval(interval: str | int) -> str | int:
    if not isinstance(interval, str):
        return check_count("the interval", interval, most=LONGEST)
    if interval not in INTERVALS:
        raise SoftmineError(
            f"the interval '{interval}' is unknown: choose incremental, dense or decremental, or give a number of steps"
        )
    return interval


def _incremental(step: int, steps: int) -> int:
    dense = int(0.25 * steps)
    stage = max(1, (steps - dense) // 5)
    return 1 if step < max(dense, stage) else 10 * min(5, max(1, step - dense) // stage + 1)


def _decremental(step: int, steps: int) -> int:
    return max(1, 10 * (9 - step // max(1, steps // 10)))


INTERVALS: dict[str, Callable[[int, int], int]] = {
    "incremental": _incremental,
    "dense": lambda step, steps: 1,
    "decremental": _decremental,
}
"""Steps from one pass to the next, by the step and the length of the run."""
