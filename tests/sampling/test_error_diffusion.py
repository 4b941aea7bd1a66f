import torch
from softmine.sampling.sample_pool import SamplePool

from softmine.sampling.random import RandomStream


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


def test_what_was_seen_comes_back_in_the_order_of_the_samples():
    pool = filled(SamplePool(period=3, batch_size=8, dim=2))
    for step in (0, 2):
        pool.note(torch.tensor(step), pool.take(torch.tensor(step))[1] * 10)
    cells, density, seen = pool.in_order()
    assert torch.equal(cells, torch.arange(pool.total))
    assert torch.equal(density, cells + 1.0)
    known = seen >= 0
    assert known.sum() == 2 * 8
    assert torch.equal(seen[known], (cells[known] + 1.0) * 10)


def test_what_was_seen_can_be_forgotten():
    pool = filled(SamplePool(period=2, batch_size=4, dim=2))
    pool.note(torch.tensor(0), torch.ones(4))
    assert (pool.in_order()[2] >= 0).sum() == 4
    pool.forget()
    assert (pool.in_order()[2] < 0).all()


def test_half_precision_is_too_coarse_and_types_stay():
    pool = filled(SamplePool(period=2, batch_size=4, dim=2)).half()
    assert pool.coords.dtype == pool.density.dtype == pool.seen.dtype == torch.float32
