"""Arguments in range."""

import numpy as np
import pytest

from softmine import SoftmineError
from softmine.checks import check_choice, check_count, check_not_negative, check_share

from helpers import unchecked_types


def test_a_count_starts_where_it_must():
    assert check_count("interval", 1) == 1
    with pytest.raises(SoftmineError, match="interval is 0, but it must be a whole number from 1"):
        check_count("interval", 0)


@pytest.mark.parametrize(
    ("check", "value"),
    [(check_not_negative, np.float64(0.5)), (check_share, np.float64(0.5)), (check_count, True)],
)
def test_numbers_of_numpy_become_pythons(check, value):
    found = check("it", value)
    assert found == value
    assert type(found) in (int, float)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "much", None])
def test_what_is_negative_or_no_number_is_named(value):
    with (
        unchecked_types(),
        pytest.raises(SoftmineError, match=f"it is {value}, but it must be a finite number"),
    ):
        check_not_negative("it", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "half", None])
def test_a_share_lies_between_0_and_1(value):
    with (
        unchecked_types(),
        pytest.raises(SoftmineError, match=f"it is {value}, but a share lies between 0 and 1"),
    ):
        check_share("it", value)


def test_a_choice_is_one_of_those_named():
    assert check_choice("drawing", "stratified", ("independent", "stratified")) == "stratified"
    with pytest.raises(SoftmineError, match="drawing is 'sorted': choose one of independent, stratified"):
        check_choice("drawing", "sorted", ("independent", "stratified"))
