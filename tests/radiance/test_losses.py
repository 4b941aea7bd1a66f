import pytest
import torch

from softmine.radiance.losses import distortion_loss, proposal_loss


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
