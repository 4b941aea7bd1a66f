"""Exact sampling from full passes: what is drawn, what it weighs, and when the field is looked at."""

import numpy as np
import pytest
import torch

from softmine import Box, SoftmineError
from softmine.baselines import Multinomial

from helpers import FALSE_ALARM, chi_square_p


def cell_counts(box, coords):
    return torch.bincount(box.cell(coords), minlength=box.cells).numpy()


def error_at(coords):
    """Positive, peaked, and different along every axis."""
    axes = torch.arange(1, coords.shape[1] + 1)
    return ((3 * coords + 0.7 * axes).sin().square()).prod(-1) ** 2


@pytest.mark.parametrize("shape", [(60,), (9, 12), (4, 5, 6), (3, 4, 3, 4)])
@pytest.mark.parametrize("uniform_share", [0.0, 0.3])
def test_cells_are_drawn_in_proportion_to_their_error_and_the_uniform_share(shape, uniform_share):
    box = Box(shape)
    sampler = Multinomial(box, 100_000, uniform_share=uniform_share, importance_floor=0.0, seed=0)
    coords = sampler.draw(error_at).coords
    assert box.contains(coords).all()
    error = error_at(box.centers(torch.arange(box.cells)))
    expected = (1 - uniform_share) * error / error.mean() + uniform_share
    counts = cell_counts(box, coords)
    assert chi_square_p(counts, expected.numpy()) > FALSE_ALARM
    assert chi_square_p(counts, np.ones(box.cells)) < 1e-20, "the test can fail"
    torch.testing.assert_close(
        sampler.density.density(coords), expected[box.cell(coords)], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("uniform_share", [0.0, 0.1, 1.0])
def test_full_weight_gives_the_uniform_mean(uniform_share):
    """At alpha = 1 the weighted mean is the uniform mean within 4.5 standard errors: a false alarm of 7e-6."""
    box = Box((20, 30))
    sampler = Multinomial(box, 200_000, alpha=1.0, warmup=0, uniform_share=uniform_share, seed=1)
    batch = sampler.draw(error_at)
    coords = batch.coords
    values = error_at(coords) + coords[:, 0]
    weighted = sampler.weigh(batch, values) * values
    fine = Box((600, 600))
    fine = fine.centers(torch.arange(fine.cells))
    exact = (error_at(fine) + fine[:, 0]).mean()
    standard_error = weighted.std() / len(weighted) ** 0.5
    assert (weighted.mean() - exact).abs() < 4.5 * standard_error
    if uniform_share < 1:
        assert (values.mean() - exact).abs() > 10 * standard_error, "the test can fail"


def test_weights_soften_as_alpha_warms_up():
    sampler = Multinomial(Box((50,)), 500, alpha=0.6, warmup=4, seed=2)
    for step in range(7):
        batch = sampler.draw(error_at)
        alpha = 0.6 * min(step / 4, 1.0)
        weights = sampler.weigh(batch, error_at(batch.coords))
        torch.testing.assert_close(weights, sampler.density.density(batch.coords) ** -alpha)
        sampler.update(batch, error_at(batch.coords))
    assert sampler.alpha == pytest.approx(0.6)


def test_no_weight_exceeds_the_share_that_bounds_it():
    for share, floor, least in ((0.25, 0.0, 0.25), (0.0, 0.05, 0.05)):
        sampler = Multinomial(
            Box((100,)), 4, alpha=1.0, warmup=0, uniform_share=share, importance_floor=floor, seed=3
        )
        sampler.refresh(lambda coords: (coords[:, 0] < 0.01).float())
        density = sampler.density.density(sampler.domain.centers(torch.arange(100)))
        # The floor counts in the mean as well.
        assert density.min().item() == pytest.approx(least, rel=0.06)
        assert density.mean().item() == pytest.approx(1.0)


def test_an_error_of_zero_or_no_number_leaves_every_cell_reachable():
    box = Box((10, 10))
    for nothing in (0.0, float("nan")):
        sampler = Multinomial(box, 10, uniform_share=0.0, seed=4)
        sampler.refresh(lambda coords, value=nothing: torch.full((len(coords),), value))
        torch.testing.assert_close(sampler.density.density(torch.rand(9, 2)), torch.ones(9))


def test_the_field_is_looked_at_every_interval_and_the_samples_follow():
    passes = []
    sampler = Multinomial(Box((8,)), 1000, interval=3, uniform_share=0.0, importance_floor=0.0, seed=5)
    for step in range(8):

        def probe(coords, step=step):
            passes.append(step)
            return (coords[:, 0] * 8).floor() == step

        batch = sampler.draw(lambda coords: probe(coords).float())
        assert sampler.domain.cell(batch.coords).unique().tolist() == [step - step % 3]
        sampler.update(batch, torch.ones(1000))
    assert passes == [0, 3, 6]


def test_without_a_probe_it_says_so_until_a_pass_was_made():
    sampler = Multinomial(Box((8,)), 4, seed=6)
    with pytest.raises(
        SoftmineError, match=r"multinomial measures every cell before it chooses: give draw\(\) a probe"
    ):
        sampler.draw()
    sampler.refresh(error_at)
    for _ in range(3):
        sampler.update(sampler.draw(), torch.ones(4))


def test_mistakes_are_named():
    with pytest.raises(SoftmineError, match=r"one error for each of N coordinates.*\(8, 1\)"):
        Multinomial(Box((8,)), 4).draw(lambda coords: coords)
    with pytest.raises(SoftmineError, match=r"536,870,912 and the limit.*choose error-map"):
        Multinomial(Box((2**15, 2**14)), 4)
    for settings, message in (
        ({"interval": 0}, "interval is 0"),
        ({"uniform_share": 1.5}, "uniform_share is 1.5"),
        ({"importance_floor": -1.0}, "importance_floor is -1"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"warmup": -5}, "warmup is -5"),
    ):
        with pytest.raises(SoftmineError, match=message):
            Multinomial(Box((8,)), 4, **settings)
