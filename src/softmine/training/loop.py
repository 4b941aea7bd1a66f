"""The loop that every run shares: train to the next evaluation, evaluate, and so on to the end of the budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import nn

from softmine.training.trainer import Trainer

V = TypeVar("V")


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
        pause: asked before every step; where it says yes, the caller has its turn and decides whether to resume.

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
