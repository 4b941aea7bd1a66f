"""The numbers of Langevin's steps: the same however many steps are made at a time."""

import numpy as np
import pytest
import torch

from softmine import Box
from softmine.sampling import PiecewiseConstant, RandomStream
from softmine.sampling.langevin.sampler import Stock

from helpers import FALSE_ALARM, chi_square_p, histogram


def draws_of(seed, *, prior=None, dim=2, noise=37, anew=37, fresh=5, own=None, scale=None):
    return Stock(
        RandomStream(seed),
        Box([8] * dim),
        noise=noise,
        scale=torch.ones(dim) if scale is None else scale,
        anew=anew,
        fresh=fresh,
        prior=prior,
        own=own,
    )


def assert_equal(one, other):
    for ours, theirs in zip(one, other, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("with_prior", [False, True])
def test_made_ahead_or_one_at_a_time_the_numbers_are_the_same(dim, with_prior):
    prior = PiecewiseConstant(torch.rand([6] * dim)) if with_prior else None
    ahead, single = (draws_of(1, dim=dim, prior=prior, own=9) for _ in range(2))
    single.steps = 1
    assert ahead.steps > 1
    for _ in range(2 * ahead.steps + 1):
        assert_equal(ahead.take(), single.take())
    assert torch.equal(ahead.random.counter, single.random.counter)


def test_wherever_the_stream_is_moved_the_numbers_follow_its_state():
    one, other = draws_of(1), draws_of(2)
    one.take()
    for _ in range(3):
        other.take()
    one.random.load_state_dict(other.random.state_dict())
    assert_equal(one.take(), other.take())
    one.random.uniform(3, 1)
    other.random.uniform(3, 1)
    assert_equal(one.take(), other.take())


def test_every_step_has_numbers_of_its_own():
    draws = draws_of(3)
    steps = [draws.take() for _ in range(3 * draws.steps)]
    for numbers in zip(*steps, strict=True):
        values = torch.cat(numbers).flatten()
        assert len(values.unique()) > 0.999 * len(values)


def test_noise_has_its_scale_in_every_axis():
    draws = draws_of(4, noise=50_000, scale=torch.tensor([0.5, 4.0]))
    noise = draws.take().noise
    # Of 50,000 samples a deviation is known within 0.32%; this is 5 of those.
    torch.testing.assert_close(noise.std(0), torch.tensor([0.5, 4.0]), rtol=0.016, atol=0.0)
    assert abs(torch.corrcoef(noise.T)[0, 1]) < 5 / 50_000**0.5


def test_the_first_to_be_drawn_anew_follow_the_prior_and_the_others_are_uniform():
    weights = torch.zeros(8, 8)
    weights[2, 1:7] = torch.arange(1.0, 7.0)
    draws = draws_of(5, prior=PiecewiseConstant(weights), anew=300, fresh=200, own=100)
    steps = [draws.take() for _ in range(200)]
    drawn = histogram(torch.cat([step.anew[:100] for step in steps]), 8)
    assert (drawn[weights.numpy() == 0] == 0).all()
    busy = weights.numpy() > 0
    assert chi_square_p(drawn[busy], weights.numpy()[busy]) > FALSE_ALARM
    for uniform in (
        torch.cat([step.anew[100:] for step in steps]),
        torch.cat([step.fresh for step in steps]),
    ):
        assert chi_square_p(histogram(uniform, 8), np.ones(64)) > FALSE_ALARM


def test_however_many_are_drawn_anew_they_lie_apart():
    draws = draws_of(7, anew=1000, own=50)
    for _ in range(20):
        anew = draws.take().anew
        assert anew.shape == (1000, 2)
        assert ((anew >= 0) & (anew < 1)).all()
        assert len(anew.unique(dim=0)) == 1000


def test_a_large_batch_is_made_step_by_step():
    assert draws_of(6, noise=2**17, anew=1).steps == 1
