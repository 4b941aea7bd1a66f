"""How long to train."""

from __future__ import annotations

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


def evaluation_points(count: int) -> list[float]:
    """Shares of the budget at which to evaluate: ``count`` even ones, and a few early ones where most happens."""
    even = [(index + 1) / count for index in range(count)]
    early = [share for share in (0.01, 0.02, 0.05) if share < even[0]]
    return early + even
