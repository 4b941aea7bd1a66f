"""The running map of the error: its arithmetic, its density, and that it follows the errors it is given."""

import pytest
import torch

from softmine import Box, SoftmineError
from softmine.sampling import ErrorMap

from helpers import FALSE_ALARM, chi_square_p, draw_in, train


def map_density(sampler):
    grid = sampler.density.grid
    return sampler.density.density(grid.centers(torch.arange(grid.cells)))


@pytest.mark.parametrize("shape", [(64,), (16, 12), (6, 8, 6), (4, 6, 4, 5)])
def test_draws_follow_the_error_once_every_cell_was_seen(shape):
    box = Box(shape)
    sampler = ErrorMap(box, 50_000, cells=60, uniform_share=0.3, seed=0)
    cells = sampler.density.cells
    table = torch.rand(cells.count, generator=torch.Generator().manual_seed(1)) ** 2 + 0.05
    train(sampler, lambda coords: table[cells.find(coords)[0]], 2)
    expected = 0.7 * table / cells.mean(table) + 0.3
    torch.testing.assert_close(map_density(sampler), expected, rtol=1e-4, atol=1e-5)
    coords = sampler.draw().coords
    counts = torch.bincount(cells.find(coords)[0], minlength=cells.count).numpy()
    volume = torch.ones(cells.count) if cells.volume is None else cells.volume
    assert chi_square_p(counts, (expected * volume).numpy()) > FALSE_ALARM
    assert chi_square_p(counts, volume.numpy()) < 1e-20, "the test can fail"


def test_full_weight_gives_the_uniform_mean_whatever_the_map_has_learned():
    """Averaged over the steps in which the map changes, within 4.5 standard errors: a false alarm of 7e-6."""
    sampler = ErrorMap(Box((40, 40)), 2000, cells=100, alpha=1.0, warmup=0, uniform_share=0.1, seed=2)
    weighted, plain = [], []
    for _ in range(60):
        batch = sampler.draw()
        values = (batch.coords.sum(-1) - 0.4).square()
        weights = sampler.weigh(batch, values)
        weighted.append(weights * values)
        plain.append(values)
        sampler.update(batch, values)
    weighted, plain = torch.cat(weighted), torch.cat(plain)
    exact = 1 / 6 + 0.6**2
    standard_error = weighted.std() / len(weighted) ** 0.5
    assert (weighted.mean() - exact).abs() < 4.5 * standard_error
    assert (plain.mean() - exact).abs() > 20 * standard_error, "the test can fail"


def test_weights_soften_as_alpha_warms_up():
    sampler = ErrorMap(Box((100,)), 500, cells=10, alpha=0.6, warmup=4, seed=3)
    for step in range(6):
        batch = sampler.draw()
        alpha = 0.6 * min(step / 4, 1.0)
        weights = sampler.weigh(batch, batch.coords[:, 0])
        torch.testing.assert_close(weights, sampler.density.density(batch.coords) ** -alpha)
        sampler.update(batch, batch.coords[:, 0])


def test_a_cell_keeps_a_share_of_its_old_error():
    sampler = ErrorMap(Box((4,)), 4, cells=4, decay=0.25, seed=4)
    sampler.update(draw_in(sampler, [0, 0, 1, 1]), torch.tensor([1.0, 3.0, 8.0, 8.0]))
    # A first sample is not averaged with anything.
    assert sampler.error.tolist() == [2, 8, -1, -1]
    sampler.update(draw_in(sampler, [0, 2, 2, 2]), torch.tensor([6.0, 1.0, 2.0, 3.0]))
    assert sampler.error.tolist() == [0.25 * 2 + 0.75 * 6, 8, 2, -1]


def test_a_cell_not_seen_counts_as_the_mean_of_those_seen():
    sampler = ErrorMap(Box((4,)), 2, cells=4, uniform_share=0.0, importance_floor=0.0, seed=5)
    sampler.update(draw_in(sampler, [0, 1]), torch.tensor([1.0, 3.0]))
    assert map_density(sampler).tolist() == pytest.approx([0.5, 1.5, 1.0, 1.0])


def test_the_map_follows_an_error_that_moves():
    sampler = ErrorMap(Box((32, 32)), 512, cells=64, seed=6)

    def share_near(left):
        coords = sampler.draw().coords
        return ((coords[:, 1] < 0.25) == left).float().mean().item()

    train(sampler, lambda coords: 0.01 + (coords[:, 1] < 0.25).float(), 20)
    assert share_near(left=True) > 0.7
    train(sampler, lambda coords: 0.01 + (coords[:, 1] >= 0.25).float(), 40)
    assert share_near(left=False) > 0.85


def test_the_uniform_share_bounds_the_density_from_below_and_so_the_floor():
    def one_corner(coords):
        return (coords < 0.2).all(-1).float()

    sampler = ErrorMap(Box((50, 50)), 5000, cells=100, uniform_share=0.3, importance_floor=0.0, seed=7)
    train(sampler, one_corner, 10)
    assert map_density(sampler).min().item() == pytest.approx(0.3)
    sampler = ErrorMap(Box((50, 50)), 5000, cells=100, uniform_share=0.0, importance_floor=0.1, seed=7)
    train(sampler, one_corner, 10)
    assert map_density(sampler).min().item() == pytest.approx(0.1, rel=0.1)


def test_what_is_no_number_is_left_out_and_no_error_at_all_is_uniform():
    sampler = ErrorMap(Box((4,)), 4, cells=4, uniform_share=0.0, seed=8)
    sampler.update(draw_in(sampler, [0, 0, 1, 2]), torch.tensor([1.0, float("nan"), float("inf"), 2.0]))
    assert sampler.error.tolist() == [1, -1, 2, -1]
    sampler = ErrorMap(Box((4,)), 400, cells=4, uniform_share=0.0, seed=8)
    train(sampler, lambda coords: torch.zeros(400), 3)
    assert map_density(sampler).tolist() == pytest.approx([1.0] * 4)


def test_collected_samples_are_averaged_at_the_rebuild():
    sampler = ErrorMap(Box((2,)), 1, cells=2, interval=2, decay=0.5, seed=11)
    for cell, error in ((0, 2.0), (0, 4.0)):
        assert sampler.error.tolist() == [-1, -1]
        sampler.update(draw_in(sampler, [cell]), torch.tensor([error]))
    assert sampler.error.tolist() == [3, -1]
    for cell, error in ((0, 5.0), (1, 1.0)):
        sampler.update(draw_in(sampler, [cell]), torch.tensor([error]))
    assert sampler.error.tolist() == [4, 1]


def test_half_precision_does_not_touch_the_map():
    sampler = ErrorMap(Box((40,)), 100, cells=10, seed=12)
    train(sampler, lambda coords: coords[:, 0], 3)
    before = sampler.error.clone()
    sampler.half()
    assert torch.equal(sampler.error, before)
    train(sampler, lambda coords: coords[:, 0], 3)


def test_mistakes_are_named():
    sampler = ErrorMap(Box((8,)), 4)
    batch = sampler.draw()
    for verb in (sampler.update, sampler.weigh):
        with pytest.raises(SoftmineError, match=r"one error for each of the 4 samples.*\(8,\)"):
            verb(batch, torch.ones(8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 1.0}, "decay is 1.0, but then the map never learns"),
        ({"decay": -0.5}, "decay is -0.5"),
        ({"cells": -1}, "cells is -1"),
        ({"cells": 2**27}, "at most 67108864"),
        ({"uniform_share": 2.0}, "uniform_share is 2.0"),
        ({"importance_floor": float("nan")}, "importance_floor is nan"),
        ({"interval": 0}, "interval is 0"),
        ({"growth": 0.5}, "growth is 0.5"),
        ({"start": -1.0}, "start is -1.0"),
        ({"alpha": -1.0}, "alpha is -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(SoftmineError, match=message):
        ErrorMap(Box((8,)), 4, **changes)


def test_errors_near_the_largest_float_do_not_stop_the_map():
    sampler = ErrorMap(Box((8, 8)), 64, interval=1, seed=0)
    for step in range(20):
        batch = sampler.draw()
        sampler.update(batch, torch.full((64,), 1e38) if step == 0 else batch.coords[:, 0] + 0.01)
        assert torch.isfinite(sampler.error).all()
