"""Uniform sampling without replacement."""

import copy

import numpy as np
import pytest
import torch

from softmine import Box, Shuffled, SoftmineError

from helpers import FALSE_ALARM, chi_square_p


def batches(sampler, steps):
    for _ in range(steps):
        batch = sampler.draw()
        yield batch.coords
        sampler.update(batch, torch.ones(sampler.batch_size))


@pytest.mark.parametrize("shape", [(64,), (16, 12), (4, 5, 6), (2, 3, 4, 5)])
def test_every_cell_comes_once_before_any_comes_again(shape):
    # As many batches as make two passes, where the order has no places to spare.
    box = Box(shape)
    sampler = Shuffled(box, box.cells // 4, seed=3)
    counts = sum(torch.bincount(box.cell(coords), minlength=box.cells) for coords in batches(sampler, 8))
    assert counts.sum() == 2 * box.cells
    # 64, 192, 120 cells fill a table; every one of them is there twice.
    assert (counts == 2).all()


def test_where_the_order_does_not_fill_its_table_nearly_so():
    mask = torch.zeros(40, 50, dtype=torch.bool)
    mask.view(-1)[:1009] = True
    box = Box((40, 50), mask)
    sampler = Shuffled(box, 100, seed=0)
    counts = sum(torch.bincount(box.cell(coords), minlength=box.cells) for coords in batches(sampler, 100))
    assert (counts[~mask.view(-1)] == 0).all()
    inside = counts[mask.view(-1)]
    assert inside.sum() == 10_000
    assert inside.min() >= 8
    assert inside.max() <= 13


def test_coordinates_are_uniform_within_their_cells():
    """Chi-square; a false alarm of 1e-5."""
    sampler = Shuffled(Box((20, 20)), 500, seed=1)
    inside = torch.cat([sampler.domain.to_native(coords) % 1 for coords in batches(sampler, 20)]).numpy()
    counts = np.histogram2d(inside[:, 0], inside[:, 1], bins=6, range=[[0, 1], [0, 1]])[0]
    assert chi_square_p(counts, np.ones((6, 6))) > FALSE_ALARM


def test_each_pass_has_another_order():
    box = Box((32, 32))
    first, second = (box.cell(coords) for coords in batches(Shuffled(box, 1024, seed=0), 2))
    assert torch.equal(first.sort().values, second.sort().values)
    assert (first == second).sum() < 20


def test_weights_are_one_and_half_precision_changes_nothing():
    sampler = Shuffled(Box((8, 8)), 16, seed=0)
    batch, other = sampler.draw(), copy.deepcopy(sampler).half().draw()
    sampler.weigh(batch, torch.rand(16)).zero_()
    assert torch.equal(sampler.weigh(batch, torch.rand(16)), torch.ones(16))
    assert torch.equal(sampler.draw().coords, other.coords)


def test_large_batches_are_not_drawn_far_ahead():
    assert Shuffled(Box((64, 64)), 16, seed=0).period == 16
    sampler = Shuffled(Box((512, 1024)), 2**17, seed=0)
    assert sampler.period == 2
    cells = torch.cat([sampler.domain.cell(coords) for coords in batches(sampler, 4)])
    assert cells.unique().numel() == 512 * 1024


def test_too_many_cells_to_shuffle_are_named():
    with pytest.raises(SoftmineError, match=r"more than 2.60 cells to shuffle: choose uniform"):
        Shuffled(Box((2**31, 2**31)), 16)
