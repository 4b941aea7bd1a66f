"""How long to train, and the learning rate that follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from softmine.checks import check_count, check_positive
from softmine.errors import SoftmineError


@dataclass(frozen=True)
class Budget:
    """A number of steps, a number of seconds of training, or both: whichever is spent first ends the run."""

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise SoftmineError("a budget needs a number of steps or of seconds")
        if self.steps is not None:
            check_count("steps", self.steps)
        if self.seconds is not None:
            check_positive("seconds", self.seconds)

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, 0 to 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps)
        if self.seconds is not None:
            shares.append(seconds / self.seconds)
        return min(1.0, max(shares))


def cosine_decay(progress: float, final: float = 0.05) -> float:
    """Factor on the learning rate: from 1 to ``final`` along half a cosine of the budget's progress."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def constant(progress: float) -> float:
    """Factor on the learning rate: 1, however much of the budget is spent."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine_decay, "constant": constant}
"""Factors on the learning rate, given the share of the budget that is spent."""


def evaluation_points(count: int) -> list[float]:
    """Shares of the budget at which to evaluate: ``count`` even ones, and a few early ones where most happens."""
    even = [(index + 1) / count for index in range(count)]
    early = [share for share in (0.01, 0.02, 0.05) if share < even[0]]
    return early + even
