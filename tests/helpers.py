"""What several tests need."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import jaxtyping
import numpy as np
import torch
from scipy import stats

FALSE_ALARM = 1e-5
"""Chance that a statistical test fails although the code is right (seeds are fixed, so it is spent once)."""


def chi_square_p(counts, expected) -> float:
    """P-value of counts against expected counts of the same total; cells expected below 5 are merged."""
    counts, expected = np.asarray(counts, float).ravel(), np.asarray(expected, float).ravel()
    expected = expected * counts.sum() / expected.sum()
    order = np.argsort(expected)
    small = order[np.cumsum(expected[order]) < 5]
    small = order[: max(len(small) + 1, int((expected < 5).sum()))] if (expected < 5).any() else []
    if len(small):
        keep = np.setdiff1d(np.arange(len(counts)), small)
        counts = np.append(counts[keep], counts[small].sum())
        expected = np.append(expected[keep], expected[small].sum())
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, len(counts) - 1))


def histogram(coords: torch.Tensor, bins: int) -> np.ndarray:
    """Counts of unit coordinates (N, D) on a grid of ``bins`` cells an axis."""
    points = coords.detach().numpy()
    return np.histogramdd(points, bins=[np.linspace(0, 1, bins + 1)] * points.shape[1])[0]


def train(sampler, error_at, steps: int) -> None:
    """The loop of a user whose error does not decay."""
    for _ in range(steps):
        batch = sampler.draw()
        sampler.update(batch, error_at(batch.coords))


def draw_in(sampler, cells: list[int]):
    """A batch whose samples pretend to lie in these map cells."""
    return dataclasses.replace(sampler.draw(), cells=torch.tensor(cells))


@contextlib.contextmanager
def unchecked_types():
    """Calls without the type checks that tests switch on, as users make them, for arguments of a wrong type or shape."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def next_batches(samplers: dict, count: int, pipe) -> None:
    """In a process of its own: sends the coordinates of the next batches of each sampler."""
    pipe.send(
        {
            name: torch.stack([sampler.draw().coords.detach() for _ in range(count)]).numpy()
            for name, sampler in samplers.items()
        }
    )


def run_quietly(words: list[str]) -> None:
    """Runs the command line in a process of its own, with its output thrown away."""
    from softmine.cli.main import main

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    raise SystemExit(main(words))
