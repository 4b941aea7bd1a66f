"""Sampling by the signal's edges alone."""

import numpy as np
import pytest
import torch

from softmine import Box, SoftmineError, edge_prior
from softmine.sampling import Edges

from helpers import FALSE_ALARM, chi_square_p


def magnitudes(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) ** 3


@pytest.mark.parametrize("shape", [(40,), (8, 10), (4, 5, 6), (3, 4, 3, 4)])
@pytest.mark.parametrize("uniform_share", [0.0, 0.4, 1.0])
def test_draws_follow_the_edges_and_the_uniform_share(shape, uniform_share):
    magnitude = magnitudes(shape)
    # A domain finer than the map of edges, as for large pictures.
    domain = Box(tuple(3 * size for size in shape))
    sampler = Edges(domain, 100_000, prior=edge_prior(magnitude), uniform_share=uniform_share, seed=1)
    coords = sampler.draw().coords
    counts = torch.bincount(Box(shape).cell(coords), minlength=magnitude.numel())
    edges = (magnitude / magnitude.max()).clamp_min(1e-5)
    expected = (1 - uniform_share) * edges / edges.mean() + uniform_share
    assert chi_square_p(counts.numpy(), expected.numpy()) > FALSE_ALARM
    if uniform_share < 1:
        assert chi_square_p(counts.numpy(), np.ones(magnitude.numel())) < 1e-20, "the test can fail"


def test_it_does_not_weigh_unless_asked_and_then_is_unbiased():
    """At alpha = 1 the weighted mean is the uniform mean within 4.5 standard errors: a false alarm of 7e-6."""
    prior = edge_prior(magnitudes((30,)))
    plain = Edges(Box((30,)), 500, prior=prior, warmup=0, seed=2)
    assert plain.weigh(plain.draw(), torch.rand(500)).tolist() == [1.0] * 500
    sampler = Edges(Box((30,)), 200_000, prior=prior, alpha=1.0, warmup=0, seed=2)
    batch = sampler.draw()
    values = batch.coords[:, 0] ** 2
    weighted = sampler.weigh(batch, values) * values
    standard_error = weighted.std() / len(weighted) ** 0.5
    assert (weighted.mean() - 1 / 3).abs() < 4.5 * standard_error
    assert (values.mean() - 1 / 3).abs() > 10 * standard_error, "the test can fail"


def test_alpha_warms_up():
    sampler = Edges(Box((30,)), 100, prior=edge_prior(magnitudes((30,))), alpha=0.5, warmup=2, seed=3)
    for alpha in (0.0, 0.25, 0.5, 0.5):
        batch, error = sampler.draw(), torch.ones(100)
        weights = sampler.weigh(batch, error)
        torch.testing.assert_close(weights, sampler.density.density(batch.coords) ** -alpha)
        sampler.update(batch, error)
        sampler.check()


def test_the_prior_is_left_alone_and_is_no_state():
    prior = edge_prior(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    before = prior.cumulative.clone()
    sampler = Edges(Box((4,)), 8, prior=prior, uniform_share=0.5)
    assert torch.equal(prior.cumulative, before)
    assert set(sampler.state_dict()) == {"step", "random.key", "random.counter"}


def test_mistakes_are_named():
    prior = edge_prior(torch.ones(4, 4))
    for settings, message in (
        ({"prior": None}, "needs the edges of the signal, but there are none"),
        ({"prior": prior, "uniform_share": -0.1}, "uniform_share is -0.1"),
        ({"prior": prior, "alpha": -1.0}, "alpha is -1"),
    ):
        with pytest.raises(SoftmineError, match=message):
            Edges(Box((8, 8)), 4, **settings)
    with pytest.raises(SoftmineError, match=r"the prior has 2 axes, but the domain Box\(\(8,\)\) has 1"):
        Edges(Box((8,)), 4, prior=prior)
