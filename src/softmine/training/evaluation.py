"""Values of fields and signals, a chunk at a time, and how far they are from each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from softmine.domain import Coords, Values

CHUNK = 2**16


@contextmanager
def at_rest(field: nn.Module) -> Iterator[None]:
    """Has ``field`` in evaluation mode, in which the same coordinates give the same values; then in the mode it was in."""
    training = field.training
    field.eval()
    try:
        yield
    finally:
        field.train(training)


@torch.no_grad()
def values_at(function: Callable[[Coords], Values], coords: Coords, device: torch.device) -> Values:
    """Values (N, C) on the CPU of a field or signal at coordinates (N, D), a chunk at a time."""
    parts = [function(chunk.to(device)).float().cpu() for chunk in coords.split(CHUNK)]
    return torch.cat(parts)


def peak_signal_to_noise(prediction: Tensor, target: Tensor) -> float:
    """PSNR in dB for a peak of 1: infinite where both are equal, NaN where a prediction is not finite."""
    return decibels((prediction.double() - target.double()).square().mean().item())


def decibels(error: float) -> float:
    """A mean squared error as PSNR in dB for a peak of 1."""
    if not math.isfinite(error):
        return math.nan
    return -10 * math.log10(error) if error > 0 else math.inf
