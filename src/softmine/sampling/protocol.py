"""The protocol every sampler speaks: draw, weigh, update."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from softmine.domain import Box, Coords, PerSample, SoftmineError

Probe = Callable[[Coords], PerSample]
"""Error (N,) of the field at coordinates (N, D), without gradient: for samplers that look before they choose."""

MAX_BATCH_SIZE = 2**22


@runtime_checkable
class Sampler(Protocol):
    """What a training loop asks of a sampler. Samplers are ``nn.Module``s whose state is all in buffers.

    A training step calls, in this order::

        coords = sampler.draw()                    # (N, D) in [0, 1)^D
        weights = sampler.weigh(importance)        # (N,), no gradient
        (weights * loss).mean().backward()         # loss: per sample, (N,)
        sampler.update()                           # moves the samples
    """

    domain: Box
    batch_size: int
    """N at first; the schedule of a sampler may change it."""
    needs_probe: bool
    """Whether draw() must be given a probe."""

    @property
    def follows_signal(self) -> bool:
        """Whether the signal's own gradient at the drawn coordinates should reach them."""
        ...

    def draw(self, probe: Probe | None = None) -> Coords:
        """Coordinates (N, D) to train on."""
        ...

    def weigh(self, importance: PerSample, loss: PerSample | None = None) -> PerSample:
        """Loss weights (N,), given the importance Q (N,) and, where it matters, the loss (N,) at the last draw."""
        ...

    def update(self, loss_scale: float | Tensor = 1.0) -> None:
        """Moves on to the next batch; ``loss_scale`` is what the differentiated loss was multiplied by."""
        ...

    def check(self) -> None:
        """After backward and before update: raises if something the sampler needs is missing."""
        ...


def check_batch_size(batch_size: int) -> int:
    """Returns a sensible batch size, or raises SoftmineError."""
    if not isinstance(batch_size, numbers.Integral) or not 1 <= batch_size <= MAX_BATCH_SIZE:
        raise SoftmineError(
            f"batch size {batch_size} is out of range: give a whole number from 1 to {MAX_BATCH_SIZE}"
        )
    return int(batch_size)


def check_errors(errors: Tensor, count: int) -> PerSample:
    """Returns what a probe answered at ``count`` coordinates, or raises SoftmineError where it is not one number each."""
    if errors.shape != (count,):
        raise SoftmineError(
            f"the probe must return one error for each of N coordinates, shape (N,), but {count} coordinates gave the "
            f"shape {tuple(errors.shape)}; reduce channels first: residual.abs().mean(-1)"
        )
    return errors


def check_importance(importance: Tensor, count: int, name: str = "importance") -> PerSample:
    """Returns what ``weigh`` was given for ``count`` samples, in float32 without gradient, or raises SoftmineError."""
    if importance.shape != (count,):
        raise SoftmineError(
            f"weigh() needs one {name} for each of the {count} samples, but got the shape "
            f"{tuple(importance.shape)}; reduce channels first: residual.abs().mean(-1)"
        )
    return importance.detach().float()


def check_share(name: str, share: float) -> float:
    """Returns a share in [0, 1], or raises SoftmineError."""
    if not isinstance(share, numbers.Real) or not 0.0 <= share <= 1.0:
        raise SoftmineError(f"{name} is {share}, but a share lies between 0 and 1")
    return float(share)
