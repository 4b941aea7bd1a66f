"""How fields are evaluated: at which cells, a chunk at a time, and how far their values are from the signal's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, Values

CHUNK = 2**16
ALL = 2**20
SUBSET = 2**17
SEED = 231200075


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


def evaluated_cells(domain: Box) -> tuple[Tensor, torch.Generator]:
    """Flat cells (M,) that count, the same for every run: all up to 2^20, else 2^17 distinct ones drawn uniformly.

    What a mask leaves out never counts.

    Also gives the random numbers that drew them, for those who draw more.
    """
    random = torch.Generator().manual_seed(SEED)
    if domain.valid <= ALL:
        return domain.nth_valid(torch.arange(domain.valid)), random
    # Distinct cells without a list of all: twice as many as needed, doubles dropped, in random order.
    drawn = torch.randint(domain.valid, (2 * SUBSET,), generator=random).unique()
    return domain.nth_valid(drawn[torch.randperm(len(drawn), generator=random)[:SUBSET]]), random
