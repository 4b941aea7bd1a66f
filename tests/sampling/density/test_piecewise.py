import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine import Box, Langevin, SoftmineError
from softmine.sampling import PiecewiseConstant, RandomStream, edge_prior

from helpers import FALSE_ALARM, chi_square_p, histogram


@pytest.mark.parametrize("shape", [(40,), (8, 8), (4, 4, 4)])
def test_draws_follow_the_weights(shape):
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(0)) ** 3
    weights.view(-1)[::7] = 0
    density = PiecewiseConstant(weights)
    counts = histogram(density.draw(100_000, RandomStream(1)), shape[0])
    assert (counts[weights.numpy() == 0] == 0).all()
    busy = weights.numpy() > 0
    assert chi_square_p(counts[busy], weights.numpy()[busy]) > FALSE_ALARM


def test_no_draw_falls_into_a_cell_of_no_weight():
    weights = torch.zeros(1000, 1000)
    weights[::2, ::2] = 1
    density = PiecewiseConstant(weights)
    assert (density.density(density.draw(1_000_000, RandomStream(0))) > 3.9).all()


def test_draws_are_uniform_inside_a_cell():
    density = PiecewiseConstant(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    coords = density.draw(50_000, RandomStream(2))
    counts = np.histogram(coords.numpy(), bins=10, range=(0.25, 0.5))[0]
    assert counts.sum() == 50_000
    assert chi_square_p(counts, np.ones(10)) > FALSE_ALARM


@given(weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=200).filter(lambda w: sum(w) > 1e-3))
def test_the_density_has_mean_one_and_is_proportional(weights):
    density = PiecewiseConstant(torch.tensor(weights, dtype=torch.float64))
    centers = density.grid.centers(torch.arange(len(weights)), torch.float64)
    found = density.density(centers)
    expected = torch.tensor(weights, dtype=torch.float64) * len(weights) / sum(weights)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_full_weight_gives_an_unbiased_gradient():
    """At alpha = 1, mean(u/q * gradient) is the uniform loss's gradient, within its standard error."""
    grid = torch.rand(16, 16, generator=torch.Generator().manual_seed(3)) + 0.05
    density = PiecewiseConstant(grid)
    random = RandomStream(4)

    def per_sample_gradient(coords):
        # Of (a * sin(9 x) + b * y^2 - x y)^2 with respect to (a, b) at a = 0.7, b = -0.4.
        x, y = coords.double().unbind(-1)
        error = 0.7 * (9 * x).sin() - 0.4 * y**2 - x * y
        return torch.stack((2 * error * (9 * x).sin(), 2 * error * y**2), -1)

    coords = density.draw(400_000, random)
    weights = 1 / density.density(coords).double()
    samples = weights.unsqueeze(-1) * per_sample_gradient(coords)
    side = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    exact = per_sample_gradient(torch.cartesian_prod(side, side)).mean(0)
    standard_error = samples.std(0) / len(samples) ** 0.5
    # 4.5 standard errors in two components: a false alarm of 1.4e-5.
    assert ((samples.mean(0) - exact).abs() < 4.5 * standard_error).all()
    unweighted = per_sample_gradient(coords)
    assert ((unweighted.mean(0) - exact).abs() > 10 * standard_error).any(), "the test can fail"


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_what_is_no_density_is_refused(weights):
    with pytest.raises(SoftmineError, match="no density"):
        PiecewiseConstant(torch.tensor(weights))


def test_an_edge_prior_prefers_edges_and_reaches_flat_regions():
    magnitude = torch.zeros(10, 10)
    magnitude[:, 5] = 2.0
    prior = edge_prior(magnitude, floor=1e-2)
    assert prior.density(torch.tensor([[0.5, 0.55]])) > 9
    assert prior.density(torch.tensor([[0.5, 0.15]])) > 0
    flat = edge_prior(torch.zeros(10, 10))
    torch.testing.assert_close(flat.density(torch.rand(5, 2)), torch.ones(5))


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_an_edge_prior_refuses_what_is_no_magnitude(bad):
    magnitude = torch.ones(4, 4)
    magnitude[1, 2] = bad
    with pytest.raises(SoftmineError, match="negative or not a number"):
        edge_prior(magnitude)


@pytest.mark.parametrize("cells", [2**15 - 1, 2**15, 100_003])
def test_many_are_found_together_where_a_plain_search_finds_them(cells):
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(cells, generator=generator).pow_(20) * (torch.rand(cells, generator=generator) < 0.5)
    density = PiecewiseConstant(weights)
    borders = density.cumulative[:-1][density.cumulative[:-1] < 1]
    chance = torch.rand(5000, generator=generator, dtype=torch.float64)
    chance = torch.cat((chance, borders, torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)))
    found = density.at(chance, [torch.tensor([0.5], dtype=torch.float64)])[1]
    expected = torch.searchsorted(density.cumulative, chance, right=True) - 1
    assert torch.equal(found, expected.clamp(max=cells - 1))
    assert (weights[found] > 0).all()


def test_a_finer_density_is_averaged_and_a_coarser_one_stays():
    weights = torch.zeros(8, 3)
    weights[3, 1] = 24.0
    coarser = PiecewiseConstant(weights).at_most((4, 6))
    assert coarser.grid.shape == (4, 3)
    assert coarser.density(coarser.grid.centers(torch.arange(12))).view(4, 3)[1, 1] == 12
    torch.testing.assert_close(coarser.density(torch.rand(500, 2)).unique(), torch.tensor([0.0, 12.0]))


def test_a_density_that_knows_its_domain_serves_as_a_prior_there():
    mask = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) < 0.6
    box, weights = Box((8, 8), mask), torch.arange(64.0).view(8, 8)
    prior = PiecewiseConstant(weights, domain=box)
    assert prior.over(box) is prior
    again = prior.over(Box((8, 8), mask))
    torch.testing.assert_close(again.cumulative, prior.cumulative)
    assert Langevin(box, 16, prior=prior, seed=0).draw().coords.shape == (16, 2)
