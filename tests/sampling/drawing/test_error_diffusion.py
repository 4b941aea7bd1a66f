"""Batches drawn several at a time, and how many are left."""

import pytest
import torch

from softmine import Box, QuotaMap
from softmine.sampling import RandomStream
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.drawing.error_diffusion import ErrorDiffusion, default_period
from softmine.sampling.drawing.supply import Supply


def filled(period, batch_size, snapped=True):
    """Batches over a line of as many cells as samples, each of which is drawn about once, densities as tall as their cell's number."""
    box, random = Box((period * batch_size,)), RandomStream(seed=0)
    diffusion = ErrorDiffusion(MapCells(box.shape), box, batch_size, period, random, snapped)
    shares = torch.ones(box.cells)
    # Marked with what no draw depends on.
    diffusion.allocation.accumulated.fill_(0.5)
    diffusion.refill(shares, random)
    diffusion.density.copy_(diffusion.drawn.view(batch_size, period).T + 1.0)
    return diffusion, box


def test_batches_together_are_all_samples_each_evenly_spread():
    diffusion, box = filled(period=4, batch_size=8)
    assert torch.equal(diffusion.drawn, torch.arange(32)), "every cell once"
    drawn = []
    for number in range(4):
        coords, density, found = diffusion.take()
        assert found == number
        cells = (density - 1).long()
        assert torch.equal(box.cell(coords), cells)
        assert torch.equal(cells.diff(), torch.full((7,), 4)), "every fourth sample"
        drawn.append(cells)
    assert torch.equal(torch.cat(drawn).sort().values, torch.arange(32))
    assert diffusion.supply.used_up


def test_densities_come_back_in_the_order_of_the_samples():
    diffusion, _ = filled(period=3, batch_size=8)
    cells, density = diffusion.density_in_order()
    assert torch.equal(cells, torch.arange(24))
    assert torch.equal(density, cells + 1.0)


def test_each_batch_has_its_own_turn_whichever_is_first():
    diffusion, _ = filled(period=5, batch_size=2)
    for first in range(5):
        diffusion.first.fill_(first)
        assert sorted(diffusion.turn(number).item() for number in range(5, 10)) == list(range(5))


def test_half_precision_is_too_coarse_and_types_stay():
    diffusion = QuotaMap(Box((8, 8)), 4, seed=0).half().diffusion
    assert diffusion.coords.dtype == diffusion.density.dtype == torch.float32


@pytest.mark.parametrize(
    ("cells", "batch_size", "period"),
    [(393_216, 8192, 8), (100, 100, 4), (10**8, 64, 32), (10**8, 2**22, 4), (2**30, 2**25, 2)],
)
def test_batches_drawn_at_once_visit_a_sixth_of_the_cells(cells, batch_size, period):
    assert default_period(cells, batch_size) == period


def test_a_supply_counts_what_was_drawn_and_taken():
    supply = Supply()
    assert supply.used_up
    supply.add(3)
    assert supply.untouched(3)
    assert not supply.untouched(2)
    assert [supply.take(), supply.take()] == [0, 1]
    assert not supply.used_up
    assert not supply.untouched(3)
    # What was left is dropped.
    supply.add(3)
    assert supply.untouched(3)
    assert [supply.has(number, 3) for number in (1, 2, 4)] == [False, True, True]
    assert [supply.take() for _ in range(3)] == [2, 3, 4]
    assert supply.used_up


def test_a_supply_resumes():
    supply, other = Supply(), Supply()
    supply.add(4)
    supply.take()
    other.load_state_dict(supply.state_dict())
    assert other.take() == 1
    assert (other._taken_on_host, other._drawn_on_host) == (2, 4)


def test_what_graphs_took_is_not_drawn_again_outside_of_them(monkeypatch):
    supply = Supply()
    supply.add(4)
    # A GPU's buffers are not asked by the host, unless graphs count there alone.
    asked = []
    monkeypatch.setattr(
        Supply, "_ask", lambda self, ask=Supply._ask: (asked.append(self._graphed), ask(self))
    )
    with monkeypatch.context() as compiling:
        compiling.setattr(torch.compiler, "is_compiling", lambda: True)
        supply.take()
        supply.take()
    assert supply.take() == 2
    assert asked[-1], "the host would have given batch 0 once more"


def test_in_a_graph_a_number_is_a_tensor_and_one_too_many_an_error(monkeypatch):
    supply = Supply()
    supply.add(2)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    numbers = [supply.take(), supply.take()]
    assert all(isinstance(number, torch.Tensor) for number in numbers)
    assert [int(number) for number in numbers] == [0, 1]
    assert not supply.used_up, "a graph cannot tell"
    with pytest.raises(RuntimeError, match=r"call sampler\.refresh\(\)"):
        supply.take()
