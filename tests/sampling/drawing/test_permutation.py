"""The shuffled order: every number once a pass, in no order that shows, another one each pass."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine.sampling.drawing.permutation import _table, passes, shuffled

from helpers import FALSE_ALARM, chi_square_p


@given(count=st.integers(1, 5000), key=st.integers(-(2**63), 2**63 - 1), turn=st.integers(0, 2**30))
def test_every_pass_holds_every_number_once(count, key, turn):
    size = passes(count)
    assert count <= size < count + max(1, count**0.5)
    order = shuffled(turn * size + torch.arange(size), count, torch.tensor(key))
    assert torch.equal(order.sort().values, torch.arange(size))


@pytest.mark.parametrize("count", [393_216, 100_003])
def test_nothing_shows_of_the_order_before(count):
    """Correlations of independent numbers stay below 4.5 / root(n) but for 7e-6 of all keys."""
    size, columns = passes(count), _table(count)[1]
    first, second = (
        shuffled(turn * size + torch.arange(size), count, torch.tensor(5)).double() for turn in (0, 1)
    )
    pairs = {
        "place": (torch.arange(size).double(), first),
        "next": (first[1:], first[:-1]),
        "next but a row": (first[columns:], first[:-columns]),
        "column": (first[1:] % columns, first[:-1] % columns),
        "pass": (first, second),
    }
    for name, pair in pairs.items():
        correlation = torch.corrcoef(torch.stack(pair))[0, 1].item()
        assert abs(correlation) < 4.5 / len(pair[0]) ** 0.5, name


def test_any_stretch_is_spread_over_all_numbers():
    """Without replacement, so more evenly than chance would: chi-square, one-sided, a false alarm of 1e-5 a stretch."""
    for start in (0, 8192, 385_024):
        part = shuffled(start + torch.arange(8192), 393_216, torch.tensor(0))
        counts = np.bincount(part.numpy() // 6144, minlength=64)
        assert chi_square_p(counts, np.ones(64)) > FALSE_ALARM


@pytest.mark.parametrize("count", [2**29, 3 * 2**29, 2**32, 2**40, 2**60])
def test_rows_and_columns_are_moved_however_large_the_table(count):
    """Chi-square of how far digits moved, a false alarm of 1e-5 each."""
    columns = _table(count)[1]
    places = torch.arange(20_000)
    part = shuffled(places, count, torch.tensor(1))
    assert part.unique().numel() == 20_000
    assert part.min() >= 0
    assert part.max() < passes(count)
    for before, after in ((places // columns, part // columns), (places % columns, part % columns)):
        moved = torch.bincount((after - before) % 16, minlength=16).numpy()
        assert chi_square_p(moved, np.ones(16)) > FALSE_ALARM


def test_another_key_is_another_order():
    orders = [shuffled(torch.arange(1000), 1000, torch.tensor(key)) for key in (0, 1, 2**40)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (orders[one] == orders[other]).sum() < 20
