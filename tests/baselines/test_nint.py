import math

import numpy as np
import pytest
import torch

from softmine import Box, SoftmineError
from softmine.baselines import NINT

from helpers import FALSE_ALARM, chi_square_p

BOX = Box((20, 20))


class Probe:
    """Errors and influences on the cells of BOX that change with every pass, and which were asked for."""

    def __init__(self):
        self.passes, self.asked = 0, []

    def __call__(self, coords):
        self.passes += 1
        self.error = torch.rand(BOX.cells, generator=torch.Generator().manual_seed(self.passes))
        return self.error[BOX.cell(coords)]

    def influence(self, domain):
        assert domain is BOX
        self.asked.append(self.passes + 1)
        self.scores = torch.rand(BOX.cells, generator=torch.Generator().manual_seed(1000 + self.passes))
        return self.scores


def best(values, count):
    return set(values.topk(count).indices.tolist())


def test_the_list_by_influence_is_made_at_the_sources_passes_and_then_given_up():
    sampler, probe = NINT(BOX, 200, seed=0), Probe()
    for _ in range(90):
        sampler.update(sampler.draw(probe), torch.ones(200))
    assert probe.passes == 90
    # The share at pass 60 is 0.3 * exp(-6) = 0.0007, below 0.001. At 50 it is 0.002: no cell of 200.
    assert probe.asked == [1, 10, 20, 30, 40]
    assert [sampler.share(t) for t in (1, 10, 11, 20)] == [0.3 * math.exp(-n) for n in (1, 1, 2, 2)]
    assert sampler.share(50) == 0.3 * math.exp(-5)
    assert sampler.share(60) == 0


def test_a_batch_has_the_stated_shares_of_influence_error_and_chance():
    sampler, probe = NINT(BOX, 200, seed=0), Probe()
    for step in range(1, 75):
        batch = sampler.draw(probe)
        cells = BOX.cell(batch.coords).tolist()
        assert len(set(cells)) == 200
        chosen, chance = set(cells[:60]), set(cells[60:])
        assert len(chance) == 140
        made = max(1, step // 10 * 10)
        share = 0.3 * math.exp(math.floor(-made / 10)) if made < 60 else 0.0
        count = int(200 * share)
        influential = best(probe.scores, count)
        assert influential <= chosen
        error = probe.error.clone()
        error[list(influential)] = -1
        assert chosen - influential == best(error, 60 - count)
        sampler.update(batch, torch.ones(200))
    assert count == 0


def test_between_passes_the_lists_stay_and_chance_goes_on():
    sampler, probe = NINT(BOX, 100, interval=3, seed=0), Probe()
    draws = []
    for _ in range(6):
        batch = sampler.draw(probe)
        draws.append(BOX.cell(batch.coords).tolist())
        sampler.update(batch, torch.ones(100))
    assert probe.passes == 2
    assert draws[0][:30] == draws[1][:30] == draws[2][:30]
    assert draws[3][:30] == draws[4][:30] == draws[5][:30] != draws[0][:30]
    assert set(draws[0][30:]).isdisjoint(draws[1][30:])


def test_the_cells_of_chance_are_uniform():
    sampler, probe, counts = NINT(BOX, 100, seed=0), Probe(), torch.zeros(BOX.cells)
    for _ in range(400):
        batch = sampler.draw(probe)
        counts[BOX.cell(batch.coords)[30:]] += 1
        sampler.update(batch, torch.ones(100))
    # The chosen cells change at random from pass to pass, so that every cell is as often free as another.
    assert chi_square_p(counts, np.ones(BOX.cells)) > FALSE_ALARM


def test_shares_can_be_chosen():
    sampler, probe = NINT(BOX, 100, uniform_share=0.0, ntk_share=1.0, list_interval=2, seed=0), Probe()
    batch = sampler.draw(probe)
    cells = BOX.cell(batch.coords).tolist()
    assert best(probe.scores, int(100 * math.exp(-1))) <= set(cells)
    every = NINT(BOX, 400, uniform_share=1.0, ntk_share=0.0).draw(probe)
    assert sorted(BOX.cell(every.coords).tolist()) == list(range(400))
    assert sampler.weigh(batch, torch.rand(100)).tolist() == [1.0] * 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uniform_share": 0.8}, "ntk_share 0.3 and uniform_share 0.8 are more than the whole batch"),
        ({"ntk_share": -0.1}, "ntk_share is -0.1"),
        ({"list_interval": 0}, "list_interval is 0"),
        ({"interval": 0}, "interval is 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(SoftmineError, match=message):
        NINT(BOX, 8, **options)
