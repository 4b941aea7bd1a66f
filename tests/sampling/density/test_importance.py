"""Which errors count, and how far."""

import math

import pytest
import torch

from softmine.sampling.density.importance import known_errors, reachable


def test_no_error_is_out_of_reach():
    torch.testing.assert_close(reachable(torch.tensor([0.0, 3.0]), 0.1), torch.tensor([0.15, 3.0]))
    strange = torch.tensor([float("nan"), float("inf"), 1.0, 5.0])
    torch.testing.assert_close(reachable(strange, 0.1), torch.tensor([0.15, 0.15, 1.0, 5.0]))
    nothing = reachable(torch.zeros(3), 0.1)
    assert (nothing > 0).all()
    assert (nothing == nothing[0]).all()
    assert reachable(torch.tensor([0.0, 1.0]), 0.0)[0] > 0


@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_importances_that_add_up_to_more_than_a_float_stay_finite(floor):
    found = reachable(torch.tensor([3e38, 3e38, 1.0, 2.0]), floor)
    assert torch.isfinite(found).all()
    assert torch.isfinite(found.sum())
    assert (found > 0).all()


def test_what_is_no_error_is_not_known():
    seen, known = known_errors(torch.tensor([0.0, 2.0, -1.0, math.nan, math.inf, -math.inf, 3e38]))
    assert known.tolist() == [1, 1, 0, 0, 0, 0, 1]
    assert seen.tolist() == [0, 2, 0, 0, 0, 0, pytest.approx(1e30)]
