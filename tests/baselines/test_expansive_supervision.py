import numpy as np
import pytest
import torch

from softmine import Box, SoftmineError, edge_prior
from softmine.baselines import ExpansiveSupervision

from helpers import FALSE_ALARM, chi_square_p

BOX = Box((20, 30))
EDGES = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) + 0.1
ANCHORS = set(EDGES.flatten().topk(150).indices.tolist())


def make(batch_size=60, edges=EDGES, **options):
    return ExpansiveSupervision(BOX, batch_size, prior=edge_prior(edges), seed=0, **options)


def test_half_of_every_batch_is_from_the_quarter_of_fastest_change():
    sampler = make(61)
    for _ in range(30):
        batch = sampler.draw()
        cells = BOX.cell(batch.coords).tolist()
        assert len(set(cells)) == 61
        assert set(cells[:30]) <= ANCHORS
        assert ANCHORS.isdisjoint(cells[30:])
        sampler.update(batch, torch.ones(61))


def test_shares_can_be_chosen():
    sampler = make(50, anchor_share=0.1, batch_share=0.2)
    cells = BOX.cell(sampler.draw().coords).tolist()
    fastest = set(EDGES.flatten().topk(60).indices.tolist())
    assert sum(cell in fastest for cell in cells) == 10


def test_cells_of_each_kind_are_uniform():
    sampler, counts = make(), torch.zeros(BOX.cells)
    for _ in range(400):
        batch = sampler.draw()
        counts[BOX.cell(batch.coords)] += 1
        sampler.update(batch, torch.ones(60))
    anchors = np.array(sorted(ANCHORS))
    # Rounds make counts more even than chance, so that the test is careful.
    assert chi_square_p(counts[anchors], np.ones(150)) > FALSE_ALARM
    assert chi_square_p(np.delete(counts.numpy(), anchors), np.ones(450)) > FALSE_ALARM


def test_a_round_visits_every_anchor_once_and_the_next_in_another_order():
    sampler, rounds = make(), []
    for _ in range(2):
        cells = []
        for _ in range(5):
            batch = sampler.draw()
            cells += BOX.cell(batch.coords).tolist()[:30]
            sampler.update(batch, torch.ones(60))
        assert set(cells) == ANCHORS
        rounds.append(cells)
    assert rounds[0] != rounds[1]


def test_the_loss_is_the_sources_up_to_a_factor():
    sampler = make(90, batch_share=0.3, steps=40)
    loss = torch.rand(90, generator=torch.Generator().manual_seed(1))
    for step in range(60):
        batch = sampler.draw()
        weights = sampler.weigh(batch, loss.sqrt())
        coefficient = 3 + (1 - 3) * min(step / 40, 1)
        expected = loss[:27].mean() + coefficient * loss[27:].mean()
        torch.testing.assert_close((weights * loss).mean() * (1 + coefficient), expected)
        torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
        sampler.update(batch, loss.sqrt())


def test_the_loss_is_unbiased_at_the_start_and_plain_at_the_end():
    sampler = make(60, steps=10)
    # Anchors are drawn twice as often as uniformly, other cells two thirds as often.
    first = sampler.draw()
    torch.testing.assert_close(sampler.weigh(first, torch.ones(60)).unique(), torch.tensor([1 / 2, 3 / 2]))
    for _ in range(10):
        sampler.update(sampler.draw(), torch.ones(60))
    assert sampler.weigh(sampler.draw(), torch.ones(60)).tolist() == [1.0] * 60


@pytest.mark.parametrize(("cells", "batch_size", "weights"), [(6, 4, [2 / 3, 4 / 3]), (2, 2, [1.0])])
def test_the_loss_is_unbiased_where_the_share_of_anchors_is_no_whole_number(cells, batch_size, weights):
    sampler = ExpansiveSupervision(
        Box((cells,)), batch_size, prior=edge_prior(torch.arange(1.0, 1 + cells)), seed=0
    )
    drawn = sampler.weigh(sampler.draw(), torch.ones(batch_size)).unique()
    torch.testing.assert_close(drawn, torch.tensor(weights))


@pytest.mark.parametrize(("batch_size", "anchors"), [(600, 150), (599, 150), (400, 150), (300, 150), (1, 0)])
def test_where_a_kind_has_too_few_cells_the_other_fills_up(batch_size, anchors):
    cells = BOX.cell(make(batch_size).draw().coords).tolist()
    assert len(set(cells)) == batch_size
    assert len(ANCHORS & set(cells)) == anchors


def test_one_kind_alone_has_weights_of_one():
    sampler = make(20, batch_share=1.0)
    batch = sampler.draw()
    assert set(BOX.cell(batch.coords).tolist()) <= ANCHORS
    assert sampler.weigh(batch, torch.rand(20)).tolist() == [1.0] * 20


def test_among_equal_cells_chance_decides():
    sampler = make(100, edges=torch.ones(20, 30))
    quarters = sampler.anchors.order // (30 * 5)
    assert len(quarters) == 150
    assert chi_square_p(np.bincount(quarters.numpy(), minlength=4), np.ones(4)) > FALSE_ALARM


def test_edges_on_a_coarser_grid_make_blocks():
    edges = torch.zeros(2, 2)
    edges[1, 0] = 1
    rows, columns = make(100, edges=edges).draw().coords[:50].unbind(-1)
    assert (rows > 0.5).all()
    assert (columns < 0.5).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor_share": 0.0}, "neither none nor all cells can be anchors"),
        ({"anchor_share": 2.0}, "anchor_share is 2.0"),
        ({"batch_share": -1.0}, "batch_share is -1.0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(SoftmineError, match=message):
        make(**options)


def test_edges_are_needed():
    with pytest.raises(SoftmineError, match="needs to know the signal's edges"):
        ExpansiveSupervision(BOX, 8)
    with pytest.raises(SoftmineError, match="the prior has 1 axes"):
        make(8, edges=torch.rand(8))
