import pytest
import torch

from softmine.errors import SoftmineError
from softmine.sampling.random import RandomStream
from softmine.sampling.sample_pool import SamplePool


def filled(pool):
    cells = torch.arange(pool.total)
    pool.fill(cells, torch.stack([cells / 100, cells / 200], -1), cells + 1.0, RandomStream(seed=0))
    return pool


def test_batches_together_are_all_samples_each_evenly_spread():
    pool = filled(SamplePool(period=4, batch_size=8, dim=2))
    drawn = []
    for step in range(4):
        coords, density = pool.take(torch.tensor(step))
        cells = (density - 1).long()
        assert torch.equal(coords[:, 0], cells / 100)
        assert torch.equal(cells.diff(), torch.full((7,), 4)), "every fourth sample"
        drawn.append(cells)
    assert torch.equal(torch.cat(drawn).sort().values, torch.arange(32))
    assert torch.equal(pool.take(torch.tensor(4))[0], pool.take(torch.tensor(0))[0])


@pytest.mark.parametrize("growth", [1, 4])
def test_what_was_seen_comes_back_in_the_order_of_the_samples(growth):
    pool = filled(SamplePool(period=3, batch_size=8, dim=2, growth=growth))
    for step in (0, 2):
        pool.note(torch.tensor(step), pool.take(torch.tensor(step))[1] * 10)
    cells, seen = pool.in_order()
    assert torch.equal(cells, torch.arange(pool.total))
    known = seen >= 0
    assert known.sum() == 2 * pool.size
    assert torch.equal(seen[known], (cells[known] + 1.0) * 10)


def test_batches_double_up_to_their_size():
    pool = SamplePool(period=2, batch_size=100, dim=1, growth=8)
    sizes = [pool.size]
    for _ in range(5):
        assert pool.next_size == min(100, 2 * pool.size)
        pool.grow()
        sizes.append(pool.size)
        assert pool.total == 2 * pool.size
    assert sizes == [12, 24, 48, 96, 100, 100]


def test_the_first_batches_have_a_least_size():
    assert SamplePool(period=2, batch_size=100, dim=1, growth=8, least=30).size == 30
    assert SamplePool(period=2, batch_size=20, dim=1, growth=8, least=30).size == 20


def test_what_was_seen_can_be_forgotten():
    pool = filled(SamplePool(period=2, batch_size=4, dim=2))
    pool.note(torch.tensor(0), torch.ones(4))
    assert (pool.in_order()[1] >= 0).sum() == 4
    pool.forget()
    assert (pool.in_order()[1] < 0).all()


def test_half_precision_is_too_coarse_and_types_stay():
    pool = filled(SamplePool(period=2, batch_size=4, dim=2)).half()
    assert pool.coords.dtype == pool.density.dtype == pool.seen.dtype == torch.float32


def test_a_cuda_graph_of_growing_batches_is_refused(monkeypatch):
    pool = filled(SamplePool(period=2, batch_size=8, dim=2, growth=4))
    monkeypatch.setattr(SamplePool, "_recorded", lambda self: True)
    with pytest.raises(SoftmineError, match="growth=1"):
        pool.take(torch.tensor(0))
    full = filled(SamplePool(period=2, batch_size=8, dim=2))
    assert full.take(torch.tensor(0))[0].shape == (8, 2)
