"""Learning rates that follow the progress of training."""

from __future__ import annotations

import abc
import math
from typing import Any

import torch
from torch import Tensor

from softmine.checks import check_count, check_share
from softmine.errors import SoftmineError


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of all groups: in place where it is a tensor, so that a recorded CUDA graph sees it."""
    _set_rates(optimizer, [rate] * len(optimizer.param_groups))


def cosine_decay(progress: float, final: float = 0.05) -> float:
    """Factor on the learning rate: from 1 to ``final`` along half a cosine as ``progress`` goes from 0 to 1."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


class Schedule(abc.ABC):
    """Multiplies the learning rates of an optimizer by a factor of the share of training that is done.

    Each group starts from its ``initial_lr``, which is set to its ``lr`` where it has none, as by torch's schedulers.

    Args:
        optimizer: any, also with rates in tensors, which are changed in place.
        steps: steps of the whole training, positive; None where every call of ``step`` has the progress.

    Raises:
        SoftmineError: ``steps`` is not positive.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int | None = None) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise SoftmineError(
                f"a schedule needs a torch.optim.Optimizer, but got a {type(optimizer).__name__}"
            )
        self.optimizer, self.steps = optimizer, None if steps is None else check_count("steps", steps)
        self.done = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))

    @abc.abstractmethod
    def factor(self, progress: float) -> float:
        """What the initial rates are multiplied by when a share ``progress``, 0 to 1, is done."""

    def step(self, progress: float | None = None) -> None:
        """Sets the learning rates of the optimizer's next step.

        Args:
            progress: share of training that is done, 0 to 1, such as seconds spent over seconds given. None counts one step
                more, and is the share of ``steps`` that is done.

        Raises:
            SoftmineError: neither ``progress`` nor ``steps`` is known, or ``progress`` is no share.
        """
        self.done += 1
        if progress is None:
            if self.steps is None:
                raise SoftmineError(
                    "a schedule needs steps=N when it is made, or the progress at every step()"
                )
            progress = min(1.0, self.done / self.steps)
        factor = self.factor(check_share("progress", progress))
        # A group that was added or loaded since starts from the rate it came with.
        first = [
            group["initial_lr"]
            if "initial_lr" in group
            else group.setdefault("initial_lr", float(group["lr"]))
            for group in self.optimizer.param_groups
        ]
        _set_rates(self.optimizer, [rate * factor for rate in first])

    def state_dict(self) -> dict[str, Any]:
        """Steps done; the rates are in the optimizer's own ``state_dict``."""
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a ``state_dict``."""
        self.done = int(state_dict["done"])


class CosineSchedule(Schedule):
    """Decays the rates along half a cosine, to a twentieth by default.

    Args:
        optimizer: any.
        steps: steps of the whole training; None where every call of ``step`` has the progress.
        final: factor on the rates at the end, 0 to 1.

    Raises:
        SoftmineError: ``steps`` is not positive, or ``final`` is no share.

    Example:
        >>> field = softmine.HashGridField(2, 3)
        >>> optimizer = softmine.optim.RowAdam(field.parameters(), lr=1e-2, batch_size=256)
        >>> schedule = softmine.optim.CosineSchedule(optimizer, steps=100)
        >>> for _ in range(100):
        ...     field(torch.rand(256, 2)).square().mean().backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        ...     schedule.step()
        >>> optimizer.param_groups[0]["lr"]
        0.0005
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, steps: int | None = None, *, final: float = 0.05
    ) -> None:
        super().__init__(optimizer, steps)
        self.final = check_share("final", final)

    def factor(self, progress: float) -> float:
        """From 1 to ``final``."""
        return cosine_decay(progress, self.final)


class ConstantSchedule(Schedule):
    """Leaves the rates as they were: for where a schedule can be chosen."""

    def factor(self, progress: float) -> float:
        """Always 1."""
        return 1.0


SCHEDULES: dict[str, type[Schedule]] = {"cosine": CosineSchedule, "constant": ConstantSchedule}
"""Schedules by name."""


def _set_rates(optimizer: torch.optim.Optimizer, rates: list[float]) -> None:
    """Sets the rate of each group; a tensor that several groups share is filled once, by the last of them."""
    shared: dict[int, tuple[Tensor, float]] = {}
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            shared[id(group["lr"])] = group["lr"], rate
        else:
            group["lr"] = rate
    for tensor, rate in shared.values():
        tensor.fill_(rate)
