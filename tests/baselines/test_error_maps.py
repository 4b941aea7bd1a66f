"""The error maps of two systems in use: their cells, what they keep, and when they are rebuilt."""

import pytest
import torch

from softmine import Box
from softmine.baselines import instant_ngp_error_map, torch_ngp_error_map

from helpers import draw_in, train


def map_density(sampler):
    grid = sampler.density.grid
    return sampler.density.density(grid.centers(torch.arange(grid.cells)))


def test_the_map_of_torch_ngp_starts_at_one_and_keeps_a_tenth():
    sampler = torch_ngp_error_map(Box((256, 256)), 2, seed=9)
    assert sampler.density.grid.shape == (128, 128)
    batch, error = draw_in(sampler, [0, 1]), torch.tensor([0.5, 0.0])
    assert sampler.weigh(batch, error).tolist() == [1.0, 1.0]
    sampler.update(batch, error)
    assert sampler.error[:3].tolist() == pytest.approx([0.1 + 0.45, 0.1, 1.0])
    assert map_density(sampler)[:3].tolist() == pytest.approx([0.55, 0.1, 1.0], rel=1e-3)


@pytest.mark.parametrize(
    ("make", "cells"),
    [(torch_ngp_error_map, 100 * 2**14), (instant_ngp_error_map, 100 * 3.5**2 * (128 * 40.96) ** 0.5)],
)
def test_each_view_has_a_map_as_large_as_the_sources(make, cells):
    sampler = make(Box((100, 800, 800), discrete=(0,)), 4096, seed=0)
    assert sampler.density.grid.shape[0] == 100
    assert sampler.density.cells.count == pytest.approx(cells, rel=0.1)


def test_the_map_of_instant_ngp_is_rebuilt_ever_more_rarely():
    sampler = instant_ngp_error_map(Box((300, 300)), 50, seed=10)
    # The square of 3.5 times the fourth root of 50 * 128 samples is 980; blocks of 10 x 10 cells are the next.
    assert sampler.density.grid.cells == 900
    rebuilt = []
    for step in range(1, 800):
        before = sampler.density.cumulative.clone()
        train(sampler, lambda coords: 0.01 + coords[:, 0] + 0.1 * coords[:, 1], 1)
        if not torch.equal(sampler.density.cumulative, before):
            rebuilt.append(step)
    assert rebuilt == [128, 128 + 192, 128 + 192 + 288]
    assert map_density(sampler).min() >= 0.505 - 1e-6
    assert sampler.weigh(sampler.draw(), torch.ones(50)).tolist() == [1.0] * 50
