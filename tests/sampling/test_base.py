import numpy as np
import pytest
import torch
from softmine.sampling.protocol import check_share
from softmine.sampling.softness import (
    alpha_at,
    check_count,
    check_not_negative,
    check_softness,
    reachable,
    soft_weights,
)

from softmine import SoftmineError


def test_alpha_grows_linearly_and_then_stays():
    found = [alpha_at(torch.tensor(step), 0.6, 1000).item() for step in (0, 250, 999, 1000, 5000)]
    assert found == pytest.approx([0.0, 0.15, 0.5994, 0.6, 0.6])
    assert alpha_at(torch.tensor(0), 0.6, 0).item() == pytest.approx(0.6)


def test_weights_go_from_hard_to_unbiased():
    density = torch.tensor([0.25, 1.0, 4.0])
    assert soft_weights(density, torch.tensor(0.0)).tolist() == [1, 1, 1]
    assert soft_weights(density, torch.tensor(0.5)).tolist() == [2, 1, 0.5]
    assert soft_weights(density, torch.tensor(1.0)).tolist() == [4, 1, 0.25]


def test_no_error_is_out_of_reach():
    torch.testing.assert_close(reachable(torch.tensor([0.0, 3.0]), 0.1), torch.tensor([0.15, 3.0]))
    strange = torch.tensor([float("nan"), float("inf"), 1.0, 5.0])
    torch.testing.assert_close(reachable(strange, 0.1), torch.tensor([0.15, 0.15, 1.0, 5.0]))
    nothing = reachable(torch.zeros(3), 0.1)
    assert (nothing > 0).all()
    assert (nothing == nothing[0]).all()
    assert reachable(torch.tensor([0.0, 1.0]), 0.0)[0] > 0


@pytest.mark.parametrize(
    ("alpha", "warmup", "message"),
    [
        (-0.1, 1000, "alpha is -0.1"),
        (float("nan"), 1000, "alpha is nan"),
        (float("inf"), 1000, "alpha is inf"),
        (0.6, -1, "warmup is -1"),
        (0.6, 2**31, "warmup is 2147483648"),
    ],
)
def test_settings_out_of_range_are_refused(alpha, warmup, message):
    with pytest.raises(SoftmineError, match=message):
        check_softness(alpha, warmup)


def test_a_count_starts_where_it_must():
    assert check_count("interval", 1) == 1
    with pytest.raises(SoftmineError, match="interval is 0, but it must be a whole number from 1"):
        check_count("interval", 0)


@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_importances_that_add_up_to_more_than_a_float_stay_finite(floor):
    found = reachable(torch.tensor([3e38, 3e38, 1.0, 2.0]), floor)
    assert torch.isfinite(found).all()
    assert torch.isfinite(found.sum())
    assert (found > 0).all()


@pytest.mark.parametrize(
    ("check", "value"),
    [(check_not_negative, np.float64(0.5)), (check_share, np.float64(0.5)), (check_count, True)],
)
def test_numbers_of_numpy_become_pythons(check, value):
    found = check("it", value)
    assert found == value
    assert type(found) in (int, float)
