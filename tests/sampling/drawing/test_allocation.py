"""Allocation: visits follow the shares in time, not only on average."""

import numpy as np
import pytest
import torch

from softmine import Box
from softmine.sampling import QuotaMap, RandomStream
from softmine.sampling.drawing.allocation import Allocation, _found, _listed, _steps

from helpers import FALSE_ALARM, chi_square_p


def shares_of(count, seed=0):
    shares = torch.rand(count, generator=torch.Generator().manual_seed(seed)) ** 2 + 0.05
    return shares / shares.mean()


@pytest.mark.parametrize("total", [500, 2000, 9000])
def test_visits_stay_near_what_the_shares_say_however_long(total):
    random = RandomStream(0)
    allocation, shares = Allocation(2000, random), shares_of(2000)
    visits = torch.zeros(2000)
    for step in range(1, 41):
        cells = allocation.draw(shares, total, random)
        assert len(cells) == total
        assert (cells.diff() >= 0).all()
        visits += torch.bincount(cells, minlength=2000)
        # On top of two visits and a half lie their variations, 5 standard deviations of 1 / root(48) visits each. Of independent
        # draws the worst would be 3.5 roots off.
        expected = step * shares * total / 2000
        assert ((visits - expected).abs() <= 2.5 + 0.72 * expected.sqrt()).all()
    often = expected > 5
    assert often.any()
    assert ((visits - expected).abs() / expected.sqrt())[often].max() < 1.2


def test_the_first_draw_has_the_shares_as_its_chances():
    """Counts over 400 seeds against the shares: chi-square, a false alarm of 1e-5."""
    shares = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.5]).repeat(20) / 1.6
    counts = np.zeros(100)
    for seed in range(400):
        random = RandomStream(seed)
        counts += np.bincount(Allocation(100, random).draw(shares, 50, random).numpy(), minlength=100)
    grouped = counts.reshape(20, 5)
    assert chi_square_p(grouped, np.tile(shares[:5].numpy(), (20, 1))) > FALSE_ALARM
    assert grouped.sum(0)[0] > 6 * grouped.sum(0)[3]


def test_cells_of_equal_shares_do_not_stay_in_step():
    random = RandomStream(0)
    allocation, alike = Allocation(1000, random), torch.ones(1000)
    draws = [set(allocation.draw(alike, 250, random).tolist()) for _ in range(200)]
    # Four draws visit all; for good in step, the fourth next would be the same cells again.
    together = len(draws[195] & draws[199]) / 250
    assert together < 0.6


@pytest.mark.parametrize("total", [1, 7, 300])
def test_the_list_and_the_search_find_the_same(total):
    for seed in range(20):
        accumulated = torch.rand(100, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.4
        accumulated[seed] = 5.0 if seed % 2 else 0.5
        nth = (torch.arange(total, dtype=torch.float64) + 0.37) / total
        assert torch.equal(_listed(accumulated, nth.clone()), _found(accumulated, nth.clone()))


def test_where_nobody_is_due_the_next_one_is_chosen():
    accumulated = torch.tensor([0.2, 0.9, 0.4])
    nth = torch.tensor([0.1, 0.6])
    assert _listed(accumulated, nth.clone()).tolist() == [1, 1]
    assert _found(accumulated, nth).tolist() == [1, 1]


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_offsets_fill_a_cell_evenly(dim):
    random = RandomStream(0)
    allocation = Allocation(3, random, turns=True)
    cells = torch.zeros(256, dtype=torch.int64)
    drawn = [torch.stack(allocation.offsets(cells, dim, random), -1) for _ in range(2)]
    points = torch.cat(drawn)
    assert points.min() >= 0
    assert points.max() < 1
    assert points.unique(dim=0).shape == points.shape
    side = {1: 64, 2: 8, 3: 4, 4: 2}[dim]
    counts = np.histogramdd(points.numpy(), bins=side, range=[(0, 1)] * dim)[0]
    mean = 512 / side**dim
    assert counts.min() >= 0.4 * mean
    assert ((counts - mean) ** 2 / mean).sum() < 0.6 * side**dim, "more evenly than chance"


def test_cells_start_at_offsets_of_their_own():
    """Chi-square of the first offsets of all cells; a false alarm of 1e-5 an axis and a pair."""
    random = RandomStream(4)
    allocation = Allocation(20_000, random, turns=True)
    first = torch.stack(allocation.offsets(torch.arange(20_000), 4, random), -1).numpy()
    for one in range(4):
        for other in range(one):
            counts = np.histogram2d(first[:, one], first[:, other], bins=8, range=[[0, 1], [0, 1]])[0]
            assert chi_square_p(counts, np.ones((8, 8))) > FALSE_ALARM


def test_without_turns_offsets_are_random_and_no_visits_are_counted():
    random = RandomStream(0)
    allocation = Allocation(3, random)
    offsets = allocation.offsets(torch.zeros(1000, dtype=torch.int64), 3, random)
    assert allocation.visits is None
    for offset in offsets:
        assert chi_square_p(np.histogram(offset.numpy(), bins=10, range=(0, 1))[0], np.ones(10)) > FALSE_ALARM


def test_the_steps_are_those_of_the_golden_ratio_and_its_kin():
    assert _steps(1)[0] / 2**24 == pytest.approx(0.6180339887, abs=1e-7)
    assert [step / 2**24 for step in _steps(2)] == pytest.approx([0.7548776662, 0.5698402910], abs=1e-7)


def test_half_precision_changes_nothing():
    sampler = QuotaMap(Box((50,)), 4, seed=0).half()
    assert sampler.diffusion.allocation.accumulated.dtype == torch.float32


def test_a_long_run_accumulates_no_more_and_no_less_in_all():
    random = RandomStream(0)
    allocation, shares = Allocation(100, random), shares_of(100)
    for _ in range(5000):
        cells = allocation.draw(shares, 16, random)
        assert cells.unique().numel() >= 8
    assert allocation.accumulated.mean().item() == pytest.approx(0.5, abs=0.02)
    assert allocation.accumulated.abs().max() < 2


def test_a_sampler_that_searches_draws_what_one_that_lists_does(monkeypatch):
    def batches(sampler):
        for _ in range(9):
            batch = sampler.draw()
            sampler.update(batch, batch.coords[:, 0])
            yield batch.coords

    def make():
        return QuotaMap(Box((20, 20)), 64, cells=100, period=2, seed=0)

    listed, searched = make(), make()
    first = torch.stack(list(batches(listed)))
    monkeypatch.setattr("softmine.sampling.drawing.allocation._listed", _found)
    assert torch.equal(torch.stack(list(batches(searched))), first)
    assert torch.equal(searched.diffusion.allocation.accumulated, listed.diffusion.allocation.accumulated)


def test_every_draw_varies_the_visits_anew():
    """What a visit costs a cell in one draw says nothing of the next, at its own place in the list or a few further on."""
    random, alike = RandomStream(0), torch.ones(20_000)
    allocation = Allocation(20_000, random)
    costs, visits = [], []
    for _ in range(2):
        before = allocation.accumulated - allocation.accumulated.mean() + 0.5 + 1
        cells = allocation.draw(alike, 20_000, random)
        visits.append(torch.bincount(cells, minlength=20_000))
        costs.append(before - allocation.accumulated)
    for lag in range(-8, 9):
        once = (visits[0] == 1) & (visits[1].roll(lag) == 1)
        assert once.sum() > 5_000
        one, other = costs[0][once].numpy(), costs[1].roll(lag)[once].numpy()
        assert np.abs(one - 1).max() <= 0.2501
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(len(one))
