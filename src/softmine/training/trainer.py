"""The loop that every run shares: a training step, stretches of them under the training clock, evaluations between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from softmine.domain import Coords, PerSample, SoftmineError, Values
from softmine.fields import HashGridField
from softmine.kernels import bookkeeping_on_device
from softmine.optim import SCHEDULES, CapturedStep, RowAdam
from softmine.optim.cuda_graph import warn_eager
from softmine.sampling import Sampler
from softmine.sampling.base import Batch
from softmine.signals import Signal
from softmine.training.budget import Budget
from softmine.training.fused_step import FusedStep, why_not_fused
from softmine.training.probe import FieldProbe
from softmine.training.protocols import FollowsSteps, KnownAtCells, Regularized, able
from softmine.training.record import SampleRecord
from softmine.training.recordable import why_not_recorded
from softmine.training.timing import Pace, StepTimer, TrainingClock

V = TypeVar("V")


class Diverged(SoftmineError):
    """The loss stopped being a finite number."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"the loss turned NaN or infinite at step {step}, so training has stopped: start again with a lower "
            "learning_rate"
        )
        self.step = step


class Trainer:
    """Fits a field to a signal at the coordinates a sampler chooses.

    Args:
        field: coordinates (N, D) to values (N, C).
        signal: what it learns.
        sampler: where it learns it.
        budget: when it ends; the learning rate follows the share of it that is spent.
        learning_rate: Adam's, at the start.
        device: where everything lives; field and sampler are moved there.
        schedule: of the learning rate: ``cosine`` or ``constant``.
        snap: train at the centers of cells (pixels) only, where the signal is known, instead of on the
            interpolation between them too.

    On an NVIDIA GPU steps are recorded as a CUDA graph and replayed (``softmine.optim.CapturedStep``), where ``why_not_recorded``
    finds nothing against it; where it does, a warning says what, once.

    A field may be ``Regularized``, ``FollowsSteps`` and ``Recordable`` (``training/protocols.py``).

    Attributes:
        fused: makes forward and backward in a few launches (``training/fused_step.py``), or None.
        not_fused: why there is none, which is what stands against the field; empty where there is.
    """

    def __init__(
        self,
        field: nn.Module,
        signal: Signal,
        sampler: Sampler,
        *,
        budget: Budget,
        learning_rate: float,
        device: torch.device,
        schedule: str = "cosine",
        snap: bool = False,
    ) -> None:
        self.field, self.signal, self.sampler = field.to(device), signal, sampler.to(device)
        self.budget, self.device, self.snap = budget, device, snap
        on_gpu = device.type == "cuda"
        rate = torch.tensor(learning_rate, device=device) if on_gpu else learning_rate
        self.optimizer = RowAdam(field.parameters(), lr=rate, batch_size=sampler.batch_size)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = learning_rate
        self.schedule = SCHEDULES[schedule](self.optimizer)
        self.probe = FieldProbe(field, signal, signal.domain if snap else None)
        self.step = 0
        # Coordinates trained on so far: some samplers draw more and more of them.
        self.samples = 0
        self.clock = TrainingClock(device)
        self.timer = StepTimer(device)
        self.record = SampleRecord(signal.domain, device)
        self.loss = torch.zeros((), device=device)
        regularized, follows = able(field, Regularized), able(field, FollowsSteps)
        self._regularization = regularized.regularization if regularized else None
        self._after_step = follows.after_step if follows else None
        self._first_bad = torch.full((), torch.iinfo(torch.int64).max, device=device)
        at_cells, like = able(signal, KnownAtCells), torch.empty(0, device=device)
        by_cell = snap and at_cells is not None and bookkeeping_on_device(like)
        self._at_cells = at_cells.at_cells if at_cells is not None and by_cell else None
        self.fused: FusedStep | None = None
        self.not_fused = "it regularizes itself" if self._regularization else why_not_fused(self.field)
        if not self.not_fused:
            self.fused = FusedStep(cast(HashGridField, self.field), self.optimizer)
            self._first_bad = self.fused.first_bad
        self._checked = False
        self._coords: Tensor | None = None
        self._pace = Pace(device)
        self._captured: CapturedStep | None = None
        if on_gpu:
            reason = why_not_recorded(self.field, sampler)
            if reason:
                warn_eager(reason)
            else:
                given = getattr(signal, "signal", signal)  # as it was before training wrapped it
                signal_parts = [given] if isinstance(given, nn.Module) else []
                self._captured = CapturedStep(
                    self._compute, [self.field, *signal_parts, sampler, self.optimizer]
                )

    @property
    def progress(self) -> float:
        """Share of the budget that is spent: none before the first step, so that there is one, however little time there is."""
        return self.budget.progress(self.step, self.clock.seconds) if self.step else 0.0

    def advance(self, pause: Callable[[], bool]) -> None:
        """Trains until the budget is spent or ``pause()``, called before every step, is true.

        Raises:
            Diverged: the loss is no longer finite; says since which step.
            SoftmineError: the sampler misses a gradient it needs (looked for once, after the first step).
        """
        with self.clock:
            while self.progress < 1.0 and not pause():
                self._train_step()
        self.timer.read()
        # It is counted in updates of the sampler, which may have been used before.
        first_bad = int(self._first_bad.item())
        if first_bad <= (updates := self.sampler.updates):
            raise Diverged(first_bad + self.step - updates)

    def _train_step(self) -> None:
        self.schedule.step(self.progress)
        if self._captured is None:
            replayed, self.loss = False, self._compute()
        else:
            start = self.timer.start_replay()
            self.loss = self._captured()
            if replayed := self._captured.replayed:
                self.timer.end_replay(start)
            self._pace.step()
        assert self._coords is not None
        self.step += 1
        if self._after_step:
            self._after_step(self.step)
        self.samples += len(self._coords)
        self.record.add(self._coords)
        if not replayed:
            self.timer.mark()

    def _compute(self) -> Tensor:
        """A step up to new parameters, all of it on the device; returns the weighted loss ()."""
        # What is frozen or hooked on the way is no field for it any more.
        if self.fused is not None and (reason := why_not_fused(self.field)):
            self.fused.end()
            self.fused, self.not_fused = None, reason
        try:
            return self._compute_as_it_is()
        except BaseException:
            # Kernels may have begun to add up gradients of a step that is never made.
            self.optimizer.zero_grad()
            raise

    def _compute_as_it_is(self) -> Tensor:
        sampler, mark = self.sampler, self.timer.mark
        mark()
        batch = sampler.draw(self.probe if sampler.needs_probe else None)
        coords = batch.coords
        mark()
        points, target = self._look_up(coords)
        if self.fused is None:
            error, loss, objective = self._forward_and_backward(batch, points, target)
        else:
            # It weighs in between.
            mark()
            mark()
            error, loss = self.fused(sampler, batch, points, target)
            objective = self.fused.loss
        mark()
        sampler.update(batch, error, loss=loss)
        if not self._checked:
            sampler.check()
            self._checked = True
        mark()
        self.optimizer.step()
        if self.fused is None:
            # Without waiting for the device, and in place, where a replay finds it.
            bad = torch.where(objective.isfinite(), self._first_bad, sampler.step)
            torch.minimum(self._first_bad, bad, out=self._first_bad)
        self._coords = coords.detach()
        return objective

    def _look_up(self, coords: Coords) -> tuple[Coords, Values]:
        """Where to train, (N, D), and the signal's values there, (N, C)."""
        found = self._at_cells(coords) if self._at_cells else None
        if found is not None:
            return found
        points = self.signal.domain.snap(coords) if self.snap else coords
        return points, self.signal(points if self.sampler.follows_signal else points.detach())

    def _forward_and_backward(
        self, batch: Batch, points: Coords, target: Values
    ) -> tuple[PerSample, PerSample, Tensor]:
        """Error and loss (N,) of a batch, and its weighted loss (), whose gradient is left behind."""
        mark = self.timer.mark
        residual = self.field(points) - target
        loss = residual.square().mean(-1)
        mark()
        error = residual.detach().abs().mean(-1)
        weights = self.sampler.weigh(batch, error)
        mark()
        objective = (weights * loss).mean()
        extra = self._regularization() if self._regularization else None
        if extra is not None:
            objective = objective + extra
        self.optimizer.zero_grad()
        objective.backward()
        return error, loss.detach(), objective.detach()


@dataclass(frozen=True)
class Point(Generic[V]):
    """How far a run is.

    Attributes:
        step: steps done.
        seconds: of training, without evaluations.
        loss: of the last batch, as it was weighted.
        value: what the evaluation of the field gave.
    """

    step: int
    seconds: float
    loss: float
    value: V


def train_and_evaluate(
    trainer: Trainer,
    shares: Iterable[float],
    evaluate: Callable[[nn.Module], V],
    pause: Callable[[], bool] = lambda: False,
) -> Iterator[Point[V] | None]:
    """Trains to the end of the budget, and evaluates on the way; the clock stands still while it does not train.

    Args:
        trainer: at its start, or anywhere in its budget.
        shares: of the budget at which to evaluate, rising; those that are spent already are left out.
        evaluate: measures the field, without gradient.
        pause: called before every step; where it is true, the caller has its turn and decides whether to resume.

    Yields:
        A point at each evaluation, and None at each pause before one.

    Raises:
        Diverged: the loss is no longer finite, or ``evaluate`` found that the field is not.
    """
    ahead = deque(share for share in shares if share > trainer.progress)
    while ahead:
        trainer.advance(lambda: pause() or trainer.progress >= ahead[0])
        if trainer.progress < ahead[0]:
            yield None
            continue
        # In a short run one step can pass several points.
        while ahead and ahead[0] <= trainer.progress:
            ahead.popleft()
        yield evaluate_now(trainer, evaluate)


@torch.no_grad()
def evaluate_now(trainer: Trainer, evaluate: Callable[[nn.Module], V]) -> Point[V]:
    """The point at which ``trainer`` is; a stretch of its record of samples ends here."""
    trainer.record.close(trainer.step)
    value = evaluate(trainer.field)
    return Point(trainer.step, trainer.clock.seconds, trainer.loss.item(), value)
