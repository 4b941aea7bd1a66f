"""What the map remembers, and how reliable it is."""

import pytest
import torch

from softmine import Box, QuotaMap
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.quota_map.error_memory import ErrorMemory, expected, predicted_slope

CELLS = 4000


def memory_of(next_errors, periods=30, rate=0.7):
    """A memory that learned the errors of all cells, period after period."""
    cells = MapCells((CELLS,), Box((CELLS,)))
    memory = ErrorMemory(cells, None, power=2.0, rate=rate)
    everywhere = torch.arange(CELLS)
    for period in range(periods):
        memory.learn(everywhere, torch.ones(CELLS), next_errors(period))
    return memory, memory.density(0.1, 300.0, cells)


def test_errors_that_come_again_are_reliable():
    errors = torch.rand(CELLS, generator=torch.Generator().manual_seed(0)) + 0.2
    memory, density = memory_of(lambda period: errors)
    assert memory.reliability.item() == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(density, 0.9 * errors**2 / (errors**2).mean() + 0.1, rtol=0.02, atol=0.02)


def test_errors_that_decay_everywhere_are_reliable_too():
    errors = torch.rand(CELLS, generator=torch.Generator().manual_seed(0)) + 0.2
    assert memory_of(lambda period: errors * 0.8**period)[0].reliability.item() > 0.95


def test_errors_that_are_others_each_time_are_drawn_evenly():
    """The slope of independent errors has a standard deviation of 1/sqrt(4000) of theirs: 0.1 is five of them."""
    chance = torch.Generator().manual_seed(1)
    memory, density = memory_of(lambda period: torch.rand(CELLS, generator=chance))
    assert memory.reliability.item() < 0.1
    assert (density - 1).abs().max() < 0.3


def test_errors_that_are_half_chance_are_reliable_in_part():
    errors = torch.rand(CELLS, generator=torch.Generator().manual_seed(0)) + 0.2
    chance = torch.Generator().manual_seed(2)
    noisy = memory_of(lambda period: errors * 4 * torch.rand(CELLS, generator=chance), rate=1.0)[0]
    assert 0.1 < noisy.reliability.item() < 0.9


def learn_once(slope, density=None):
    """A reliable memory that then learned errors with a slope over those it remembers, once."""
    remembered = torch.linspace(0.5, 1.5, CELLS)
    memory = memory_of(lambda period: remembered)[0]
    seen = 1 + slope * (remembered - remembered.mean())
    cells = torch.arange(CELLS)
    if density is not None:
        cells = cells.repeat_interleave(density)
    memory.reliability.fill_(1.0)
    memory.learn(cells, torch.ones(len(cells)) if density is None else density[cells].float(), seen[cells])
    return memory.reliability.item()


@pytest.mark.parametrize(("slope", "reliability"), [(1.0, 1.0), (0.85, 1.0), (0.4, 0.9), (0.0, 0.8)])
def test_a_period_moves_the_reliability_by_a_fifth_and_a_slope_of_four_fifths_is_enough(slope, reliability):
    assert learn_once(slope) == pytest.approx(reliability, abs=1e-3)


def test_cells_drawn_more_often_do_not_count_more():
    density = torch.ones(CELLS, dtype=torch.int64)
    density[-100:] = 50
    assert learn_once(0.4, density) == pytest.approx(learn_once(0.4), abs=1e-3)


@pytest.mark.parametrize("seen", [-1.0, 0.0, 0.3])
def test_what_tells_nothing_leaves_the_reliability_as_it_was(seen):
    memory = memory_of(lambda period: torch.full((CELLS,), 0.3))[0]
    assert memory.reliability == 1.0, "errors that are all alike say nothing"
    memory.error.copy_(torch.linspace(0.1, 1, CELLS) if seen <= 0 else torch.full((CELLS,), 0.7))
    for _ in range(3):
        memory.learn(torch.arange(CELLS), torch.ones(CELLS), torch.full((CELLS,), seen))
        assert memory.reliability == 1.0
        if seen == 0:
            break  # from then on all that is remembered is lower by one factor


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_slope_does_not_depend_on_the_size_of_errors(scale):
    predicted = torch.tensor([1.0, 2.0, 3.0, 6.0])
    seen = torch.tensor([3.0, 3.5, 4.0, 5.5])  # over their means: half as far from one
    even = torch.ones(4)
    assert predicted_slope(predicted, seen * scale, even).item() == pytest.approx(0.5 * 3 / 4, rel=1e-4)
    assert predicted_slope(predicted * scale, predicted, even).item() == pytest.approx(1.0, rel=1e-4)


def test_a_slope_counts_samples_by_their_share():
    """Cells drawn twice as densely count half, so that the slope is that of the whole domain."""
    predicted, seen = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 4.0])
    twice = torch.tensor([0, 1, 1, 2])
    share = torch.tensor([1.0, 0.5, 0.5, 1.0])
    expected = predicted_slope(predicted, seen, torch.ones(3))
    torch.testing.assert_close(predicted_slope(predicted[twice], seen[twice], share), expected)
    assert predicted_slope(predicted[twice], seen[twice], torch.ones(4)) != expected


@pytest.mark.parametrize("count", [5, 100, 1000, 20_000])
@pytest.mark.parametrize("value", [0.3, 0.7123, 1e-20, 1e20])
def test_predictions_that_are_all_alike_predict_nothing(count, value):
    share = torch.rand(count, generator=torch.Generator().manual_seed(count)) + 0.1
    assert predicted_slope(torch.full((count,), value), torch.rand(count), share).isnan()


def test_only_the_device_may_change():
    memory = QuotaMap(Box((50,)), 4, seed=0).half().memory
    assert memory.error.dtype == memory.reliability.dtype == torch.float32


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_what_was_seen_of_a_cell_counts_as_its_mean_in_any_order(rate):
    cells = MapCells((4,), Box((4,)))
    memory = ErrorMemory(cells, None, power=1.0, rate=rate, shrinks=False)
    memory.scaled.fill_(True)
    memory.error.copy_(torch.tensor([2.0, 2.0, 1e30, 2.0]))
    seen = torch.tensor([1.0, 5.0, torch.nan, -1.0, torch.inf, 3.0, 4.0])
    drawn = torch.tensor([0, 1, 1, 1, 3, 1, 2])
    mixed = torch.tensor([4, 2, 6, 0, 5, 1, 3])
    memory.learn(drawn[mixed], torch.ones(7), seen[mixed])
    expected = torch.tensor([2.0, 2.0, 1e30, 2.0]).lerp(torch.tensor([1.0, 4.0, 4.0, 2.0]), rate)
    torch.testing.assert_close(memory.error, expected)


@pytest.mark.parametrize("power", [0.02, 0.5, 2.0])
def test_what_a_steep_prior_expects_is_finite(power):
    weights = torch.full((64,), 1e-9)
    weights[7] = 1.0
    cells = MapCells((64,), Box((64,)))
    found = expected(PiecewiseConstant(weights), cells, power)
    assert torch.isfinite(found).all()
    assert found.argmax() == 7


def test_thin_edges_of_a_finer_prior_are_expected_in_their_cells():
    weights = torch.full((64,), 1e-3)
    weights[16] = 1.0
    found = expected(PiecewiseConstant(weights), MapCells((16,), Box((64,))), 2.0)
    assert found.argmax() == 4
    assert found[4] > 2 * found[5]
