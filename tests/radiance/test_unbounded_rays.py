import numpy as np
import pytest
import torch
from scipy import stats

from softmine import SoftmineError
from softmine.radiance.unbounded_rays import (
    ProposalDensity,
    Spacing,
    distortion_loss,
    equal_edges,
    proposal_loss,
    resample,
)

from helpers import FALSE_ALARM, chi_square_p


@pytest.mark.parametrize("count", [1, 4, 24])
def test_edges_drawn_with_jitter_follow_the_weights(count):
    """Chi-square over the old intervals, of one edge a ray; it fails by chance once in 100,000."""
    rays, seed = 40_000, 7
    edges = torch.tensor([0.0, 0.1, 0.2, 0.5, 0.6, 1.0]).expand(rays, -1)
    weights = torch.tensor([0.1, 0.0, 0.3, 0.5, 0.1]).expand(rays, -1)
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.rand(rays, 1, generator=generator)
    drawn = resample(edges, weights, count, jitter=jitter, least=0.0)
    one = drawn.gather(-1, torch.randint(count + 1, (rays, 1), generator=generator))[:, 0].numpy()
    counts = np.histogram(one, bins=[0.0, 0.1, 0.2, 0.5, 0.6, 1.0])[0]
    assert counts[1] == 0
    assert chi_square_p(counts[[0, 2, 3, 4]], [0.1, 0.3, 0.5, 0.1]) > FALSE_ALARM
    # Evenly within an interval.
    within = one[(one > 0.2) & (one < 0.5)]
    assert stats.kstest((within - 0.2) / 0.3, "uniform").pvalue > FALSE_ALARM


def test_without_jitter_the_edges_cut_the_weight_into_equal_parts():
    edges = torch.tensor([[0.0, 0.25, 1.0]], dtype=torch.float64)
    weights = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    drawn = resample(edges, weights, 3, least=0.0)
    # At shares 1/8, 3/8, 5/8, 7/8 of the weight, 3/4 of which lies before 0.25.
    torch.testing.assert_close(drawn, torch.tensor([[1 / 24, 3 / 24, 5 / 24, 0.625]], dtype=torch.float64))


def test_new_edges_ascend_within_the_old_ones_whatever_the_weights():
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(100, 33, generator=generator).sort(-1).values
    weights = torch.rand(100, 32, generator=generator) * (torch.rand(100, 32, generator=generator) < 0.2)
    weights[0] = 0
    for least in (0.0, 1e-2):
        drawn = resample(edges, weights, 24, jitter=torch.rand(100, 1, generator=generator), least=least)
        assert drawn.isfinite().all()
        assert (drawn.diff(dim=-1) >= 0).all()
        assert (drawn >= edges[:, :1]).all()
        assert (drawn <= edges[:, -1:]).all()


def test_equal_edges_move_by_less_than_half_an_interval():
    still = equal_edges(4, torch.zeros(2, 1))
    torch.testing.assert_close(still[0], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    moved = equal_edges(4, torch.zeros(2, 1), torch.tensor([[0.0], [0.999]]))
    assert (moved.diff(dim=-1) > 0).all()
    torch.testing.assert_close(moved[0, 1:-1], still[0, 1:-1] - 0.125)


def test_far_distances_are_drawn_together():
    spacing = Spacing(0.05, 1000.0, inverse=True)
    ends = spacing.distances(torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(ends, torch.tensor([[0.05, 1000.0]]), rtol=1e-3, atol=1e-6)
    distances = spacing.distances(torch.linspace(0, 1, 101)[None])
    assert (distances.diff(dim=-1) > 0).all()
    assert 45 < (distances < 1).sum() < 55
    linear = Spacing(1.0, 3.0, inverse=False)
    torch.testing.assert_close(
        linear.distances(torch.tensor([[0.0, 0.5, 1.0]])), torch.tensor([[1.0, 2.0, 3.0]])
    )


def test_a_proposal_is_a_positive_density_that_learns():
    torch.manual_seed(0)
    proposal = ProposalDensity(log2_table_size=8, finest_resolution=16)
    density = proposal(torch.rand(50, 3))
    assert density.shape == (50,)
    assert (density > 0).all()
    density.sum().backward()
    assert all(parameter.grad is not None for parameter in proposal.parameters())


def test_no_intervals_are_refused():
    with pytest.raises(SoftmineError, match="count is 0"):
        resample(equal_edges(4, torch.zeros(2, 1)), torch.ones(2, 4), 0)


def histograms(rays, intervals, seed):
    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(rays, intervals - 1, generator=generator, dtype=torch.float64).sort(-1).values
    edges = torch.cat([torch.zeros(rays, 1), inner, torch.ones(rays, 1)], -1)
    weights = torch.rand(rays, intervals, generator=generator, dtype=torch.float64) / intervals
    return weights, edges


def test_distortion_is_the_double_sum():
    weights, edges = histograms(7, 9, 0)
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    apart = (middles[:, :, None] - middles[:, None, :]).abs()
    wanted = (weights[:, :, None] * weights[:, None, :] * apart).sum((1, 2))
    wanted = wanted + (weights.square() * edges.diff(dim=-1)).sum(-1) / 3
    torch.testing.assert_close(distortion_loss(weights, edges), wanted)


def test_distortion_does_not_depend_on_how_a_flat_stretch_is_cut():
    # Weight 1 spread evenly over [0, 1]: two points drawn from it are 1/3 apart on average.
    for intervals in (1, 2, 10):
        edges = torch.linspace(0, 1, intervals + 1, dtype=torch.float64)[None]
        weights = torch.full((1, intervals), 1 / intervals, dtype=torch.float64)
        assert distortion_loss(weights, edges).item() == pytest.approx(1 / 3)


def bound_by_hand(edges, proposed, proposed_edges):
    bound = torch.zeros(edges.shape[0], edges.shape[1] - 1, dtype=edges.dtype)
    for n in range(len(edges)):
        for i in range(bound.shape[1]):
            for j in range(proposed.shape[1]):
                meets = proposed_edges[n, j] < edges[n, i + 1] and edges[n, i] < proposed_edges[n, j + 1]
                bound[n, i] += proposed[n, j] if meets else 0
    return bound


def test_the_bound_is_the_weight_of_all_intervals_that_are_met():
    weights, edges = histograms(6, 5, 1)
    proposed, proposed_edges = histograms(6, 8, 2)
    proposed = proposed / 4
    excess = (weights - bound_by_hand(edges, proposed, proposed_edges)).clamp(min=0)
    assert (excess > 0).any()
    wanted = (excess.square() / weights).sum(-1)
    torch.testing.assert_close(proposal_loss(weights, edges, proposed, proposed_edges), wanted)


def test_a_histogram_bounds_itself_and_any_coarser_one_of_the_same_matter():
    weights, edges = histograms(4, 8, 3)
    assert proposal_loss(weights, edges, weights, edges).max() < 1e-20
    coarse, coarse_edges = weights.view(4, 4, 2).sum(-1), edges[:, ::2]
    assert proposal_loss(weights, edges, coarse, coarse_edges).max() < 1e-20
    # The other way round: each finer weight is met by the interval that it is part of.
    assert proposal_loss(coarse, coarse_edges, weights, edges).max() < 1e-20


def test_what_was_missed_draws_the_proposal_up_and_leaves_the_field_alone():
    weights = torch.tensor([[0.0, 0.8]], requires_grad=True)
    edges = torch.tensor([[0.0, 0.5, 1.0]])
    proposed = torch.tensor([[0.5, 0.1]], requires_grad=True)
    proposal_loss(weights, edges, proposed, edges).sum().backward()
    assert weights.grad is None
    assert proposed.grad is not None
    assert proposed.grad[0, 0] == 0
    assert proposed.grad[0, 1] < 0
