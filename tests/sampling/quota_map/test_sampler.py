"""The quota map: its density follows the error, and its weights know it."""

import math

import numpy as np
import pytest
import torch

from softmine import Box, SoftmineError
from softmine.sampling import PiecewiseConstant, QuotaMap

from helpers import FALSE_ALARM, chi_square_p, train


def lookup(box, values):
    return lambda coords: values.flatten()[box.cell(coords)]


@pytest.mark.parametrize("shape", [(64,), (16, 12), (6, 8, 6), (4, 6, 4, 5)])
def test_draws_follow_the_power_of_the_error_once_every_cell_was_seen(shape):
    box = Box(shape)
    values = torch.rand(box.cells, generator=torch.Generator().manual_seed(1)) + 0.2
    sampler = QuotaMap(box, 64, power=2.0, rate=1.0, period=4, repeats=math.inf, seed=0)
    train(sampler, lookup(box, values), 801)
    expected = 0.9 * values**2 / (values**2).mean() + 0.1
    # Error diffusion is more even than chance, so that counts are compared with a tolerance, not with chi-square.
    counts = torch.bincount(sampler.diffusion.drawn, minlength=box.cells)
    mean = expected * sampler.diffusion.drawn.numel() / box.cells
    assert (counts - mean).abs().max() <= 2.5, "some visits of a quarter more or less do not add up to more"
    density = sampler.memory.density(sampler.uniform_share, math.inf, sampler.cells)
    torch.testing.assert_close(density, expected, rtol=1e-4, atol=1e-5)
    cells, in_order = sampler.diffusion.density_in_order()
    torch.testing.assert_close(in_order, expected[cells], rtol=1e-4, atol=1e-5)
    # Every batch's own density is that of the cells in which its samples lie.
    batch = sampler.draw()
    torch.testing.assert_close(batch.density, expected[box.cell(batch.coords)], rtol=1e-4, atol=1e-5)


def test_every_batch_of_a_period_is_drawn_from_the_whole_density():
    """Chi-square of each batch against uniform within cells; a false alarm of 1e-5 a batch."""
    sampler = QuotaMap(Box((50, 50)), 4000, period=4, seed=3)
    for _ in range(4):
        batch = sampler.draw()
        coords = batch.coords
        inside = (sampler.domain.to_native(coords) % 1).numpy()
        counts = np.histogram2d(inside[:, 0], inside[:, 1], bins=6, range=[[0, 1], [0, 1]])[0]
        assert chi_square_p(counts, np.ones((6, 6))) > FALSE_ALARM
        rows = np.histogram(coords[:, 0].numpy(), bins=10, range=(0, 1))[0]
        # Drawn independently they would differ by more than 30 nearly always.
        assert abs(rows - 400).max() <= 12, "a period's batches take turns, so each covers the domain evenly"
        sampler.update(batch, torch.ones(4000))


def test_what_training_sees_teaches_the_map():
    box = Box((20, 20))
    values = torch.ones(20, 20)
    values[:5] = 4.0
    sampler = QuotaMap(box, 512, power=1.0, period=2, rate=0.7, seed=1)
    train(sampler, lookup(box, values), 40)
    shares = sampler.error.view(20, 20)
    torch.testing.assert_close(shares, values, rtol=0.05, atol=0.05)


def test_the_map_follows_an_error_that_moves():
    box = Box((40,))
    sampler = QuotaMap(box, 256, period=2, rate=0.7, repeats=math.inf, seed=1)
    for hot in (5, 30):
        values = torch.full((40,), 0.01)
        values[hot] = 1.0
        train(sampler, lookup(box, values), 40)
        drawn = box.cell(sampler.draw().coords)
        assert (drawn == hot).float().mean() > 0.8


def test_samples_of_one_cell_count_as_their_mean():
    sampler = QuotaMap(Box((8,)), 64, cells=1, power=1.0, period=1, rate=0.5, seed=0)
    sampler.update(sampler.draw(), torch.full((64,), 2.0))
    second = sampler.draw()
    assert sampler.error.item() == pytest.approx(2.0), "the first period sets the scale"
    sampler.update(second, torch.arange(64.0))
    sampler.draw()
    assert sampler.error.item() == pytest.approx(0.5 * 2.0 + 0.5 * 31.5)


def test_the_prior_is_followed_until_errors_are_known():
    box = Box((10, 10))
    weights = torch.full((10, 10), 0.1)
    weights[3, 4] = 10.0
    sampler = QuotaMap(
        box, 500, power=1.0, prior=PiecewiseConstant(weights), uniform_share=0.0, repeats=math.inf, seed=0
    )
    share = (box.cell(sampler.draw().coords) == 34).float().mean()
    likely = 100 ** (2 / 3)
    assert share.item() == pytest.approx(likely / (likely + 99), abs=0.01)


def test_full_weight_gives_the_uniform_mean_whatever_the_map_has_learned():
    """Over steps in which the map changes, within 4.5 standard errors of independent draws: at most 7e-6."""
    sampler = QuotaMap(
        Box((40, 40)), 2000, alpha=1.0, warmup=0, period=5, power=1.0, repeats=math.inf, seed=2
    )
    weighted, plain = [], []
    for _ in range(60):
        batch = sampler.draw()
        values = (batch.coords.sum(-1) - 0.4).square()
        weighted.append(sampler.weigh(batch, values) * values)
        plain.append(values)
        sampler.update(batch, values)
    weighted, plain = torch.cat(weighted), torch.cat(plain)
    exact = 1 / 6 + 0.6**2
    standard_error = weighted.std() / len(weighted) ** 0.5
    assert (weighted.mean() - exact).abs() < 4.5 * standard_error
    assert (plain.mean() - exact).abs() > 20 * standard_error, "the test can fail"


def test_the_field_is_never_evaluated():
    def probe(coords):
        raise AssertionError("evaluated")

    sampler = QuotaMap(Box((100, 100)), 100, period=2, seed=0)
    assert not sampler.needs_probe
    for _ in range(7):
        batch = sampler.draw(probe)
        sampler.update(batch, batch.coords[:, 0])


def test_samples_that_nobody_took_are_not_counted():
    sampler = QuotaMap(Box((100, 100)), 100, power=0.0, period=10, seed=0)
    counts = torch.zeros(10_000)
    for _ in range(100):
        batch = sampler.draw()
        counts += torch.bincount(sampler.domain.cell(batch.coords), minlength=10_000)
        sampler.update(batch, batch.coords[:, 0])
    assert counts.max() <= 3
    assert (counts == 0).float().mean() < 0.15, "independent draws leave out 0.37"


def test_an_error_that_is_not_finite_does_not_spoil_the_map():
    sampler = QuotaMap(Box((16,)), 64, period=1, seed=0)
    for bad in (float("nan"), float("inf")):
        sampler.update(sampler.draw(), torch.full((64,), bad))
    sampler.draw()
    assert sampler.error.isfinite().all()
    assert sampler.diffusion.density.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e30, 3e38])
def test_errors_of_any_size_give_a_density_of_mean_one(value):
    sampler = QuotaMap(Box((30, 30)), 200, period=2, rate=1.0, uniform_share=0.0, seed=0)
    train(sampler, lambda c: torch.full((200,), value), 8)
    sampler.draw()
    assert sampler.error.isfinite().all()
    # Drawn in proportion to it, the density's inverse has a mean of one.
    assert (1 / sampler.diffusion.density).mean().item() == pytest.approx(1.0, abs=0.05)
    assert sampler.domain.contains(sampler.diffusion.coords.view(-1, 2)).all()


@pytest.mark.parametrize(("cells", "reliable"), [(2**19, False), (100, True)])
def test_only_a_map_of_single_cells_shrinks_its_density(cells, reliable):
    chance = torch.Generator().manual_seed(0)
    sampler = QuotaMap(Box((40, 40)), 512, cells=cells, period=2, seed=0)
    train(sampler, lambda c: torch.rand(len(c), generator=chance), 40)
    assert (sampler.memory.reliability == 1) == reliable


def test_without_a_uniform_share_cells_of_no_density_do_no_harm():
    sampler = QuotaMap(Box((64, 64)), 512, uniform_share=0.0, rate=1.0, period=8, repeats=math.inf, seed=0)
    for _ in range(90):
        batch = sampler.draw()
        error = (batch.coords[:, 0] < 0.5).float()
        weights = sampler.weigh(batch, error)
        assert weights.isfinite().all()
        assert (weights > 0).all()
        sampler.update(batch, error)
    assert sampler.memory.reliability.isfinite()
    assert sampler.diffusion.density.isfinite().all()


def test_a_high_power_of_one_large_error_stays_in_range():
    box = Box((2000,))
    values = torch.full((2000,), 1e-6)
    values[7] = 1.0
    sampler = QuotaMap(box, 500, power=20.0, rate=1.0, period=1, repeats=math.inf, seed=0)
    train(sampler, lookup(box, values), 100)
    assert (box.cell(sampler.draw().coords) == 7).float().mean().item() == pytest.approx(0.9, abs=0.03)


def test_errors_may_be_in_double_precision():
    sampler = QuotaMap(Box((16,)), 8, period=1, seed=0)
    train(sampler, lambda c: c[:, 0].double(), 3)
    assert sampler.error.dtype == torch.float32


def test_a_batch_of_one_may_fall_anywhere_at_the_first_step():
    """Chi-square over 800 seeds; a false alarm of 1e-5."""
    first = [QuotaMap(Box((64,)), 1, seed=seed).draw().coords.item() for seed in range(800)]
    counts = np.histogram(first, bins=8, range=(0, 1))[0]
    assert chi_square_p(counts, np.ones(8)) > FALSE_ALARM


def test_cells_too_fine_for_float32_are_joined():
    sampler = QuotaMap(Box((2**24,)), 100, cells=2**24, seed=0)
    drawn = sampler.map.cell(sampler.diffusion.coords.transpose(0, 1).reshape(-1, 1))
    assert torch.equal(drawn, sampler.diffusion.drawn)


@pytest.mark.parametrize("cells", [2**19, 100])
@pytest.mark.parametrize("mask", [None, torch.rand(40, 30, generator=torch.Generator().manual_seed(0)) < 0.6])
def test_snapped_samples_lie_at_the_centers_of_cells(cells, mask):
    box = Box((40, 30), mask)
    sampler = QuotaMap(box, 256, cells=cells, snapped=True, seed=0)
    coords = sampler.draw().coords
    assert box.contains(coords).all()
    torch.testing.assert_close(coords, box.snap(coords), rtol=0, atol=1e-6)
    assert len(box.cell(coords).unique()) > 150


@pytest.mark.parametrize(
    ("shape", "batch_size", "period", "rate"),
    [
        ((512, 768), 8192, 8, 0.7),  # a visit in 48 steps
        ((128, 192), 2048, 4, 0.3),  # in 12: an average over some visits
        ((128, 192), 12288, 4, 0.1),  # in 2, of which a period sees four as one
        ((4000, 4000), 32768, 4, 0.7),  # a coarse map: in 488, of a pixel
    ],
)
def test_periods_and_what_is_remembered_suit_the_batch(shape, batch_size, period, rate):
    sampler = QuotaMap(Box(shape), batch_size, seed=0)
    assert sampler.period == period
    assert sampler.rate == pytest.approx(rate, abs=0.005)
    assert QuotaMap(Box(shape), batch_size, period=3, rate=0.5, seed=0).rate == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"power": -1.0}, "power is -1.0"),
        ({"cells": 0}, "cells is 0"),
        ({"period": 0}, "period is 0"),
        ({"rate": 2.0}, "rate is 2.0"),
        ({"uniform_share": -0.1}, "uniform_share is -0.1"),
        ({"repeats": 0.0}, "repeats is 0.0"),
        ({"period": 2**30}, "a period of 1073741824 batches of 16 samples"),
        ({"prior": PiecewiseConstant(torch.ones(4))}, "1 axes, but the domain Box.* has 2"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(SoftmineError, match=message):
        QuotaMap(Box((8, 8)), 16, **settings)


def test_wrong_shapes_are_named():
    sampler = QuotaMap(Box((8, 8)), 16, period=1, seed=0)
    batch = sampler.draw()
    for verb in (sampler.weigh, sampler.update):
        with pytest.raises(SoftmineError, match="one error for each of the 16"):
            verb(batch, torch.ones(15))


@pytest.mark.parametrize(("repeats", "hot"), [(0.75, 4), (1.0, 4), (35.0, 200)])
def test_no_cell_fills_a_batch_that_is_a_good_part_of_the_domain(repeats, hot):
    box = Box((1000,))
    values = torch.linspace(0, 1, 1000) ** hot
    sampler = QuotaMap(box, 200, power=2.0, rate=1.0, period=4, repeats=repeats, seed=0)
    train(sampler, lookup(box, values), 401)
    expected = sampler.diffusion.density * sampler.batch_size / box.cells
    assert expected.max() <= 1.05 * repeats
    assert expected.max() > 0.9 * repeats, "the limit binds"
    # What is cut off goes to the others.
    density = sampler.memory.density(sampler.uniform_share, 5 * repeats, sampler.cells)
    assert density.mean().item() == pytest.approx(1.0, abs=0.01)


def test_the_limit_counts_only_the_cells_that_a_mask_leaves():
    mask = torch.arange(1000) % 2 == 0
    box = Box((1000,), mask)
    values = torch.linspace(0, 1, 1000) ** 20
    sampler = QuotaMap(box, 100, power=2.0, rate=1.0, period=4, repeats=1.0, seed=0)
    train(sampler, lookup(box, values), 401)
    expected = sampler.diffusion.density * sampler.batch_size / box.valid
    # Four passes keep a limit nearly; of all cells it would be two.
    assert expected.max() <= 1.2
    assert expected.max() > 0.9, "the limit binds"


def test_what_one_period_sees_is_known_in_the_next():
    box = Box((40,))
    values = torch.full((40,), 0.01)
    values[7] = 1.0
    sampler = QuotaMap(box, 256, period=2, rate=1.0, repeats=math.inf, seed=1)
    train(sampler, lookup(box, values), 2)
    assert (box.cell(sampler.draw().coords) == 7).float().mean() > 0.8
