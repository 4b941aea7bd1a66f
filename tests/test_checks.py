"""Checks of arguments, and errors that name them."""

import math
import pickle

import numpy as np
import pytest

from softmine.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_share,
    check_truth,
)
from softmine.domain import Box
from softmine.errors import ArgumentError, SoftmineError
from softmine.registry import create


@pytest.mark.parametrize(
    ("check", "value", "good"),
    [(check_count, 1, 1), (check_share, 1, 1.0), (check_positive, 1e-9, 1e-9), (check_not_negative, 0, 0.0)],
)
def test_checks_return_good_values(check, value, good):
    assert check("rate", value) == good
    assert type(check("rate", value)) is type(good)


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (check_count, 0, "rate is 0: give at least 1"),
        (check_count, 1.5, "rate is 1.5: give a whole number"),
        (check_count, True, "rate is True: give a whole number"),
        (check_positive, 1e31, "rate is 1e+31: give a positive number, at most 1e30"),
        (check_not_negative, 1e300, "rate is 1e+300: give 0 or more, at most 1e30"),
        (check_share, 1.1, "rate is 1.1, but a share lies between 0 and 1"),
        (check_share, math.nan, "rate is nan, but"),
        (check_share, "half", "rate is half, but"),
        (check_positive, 0.0, "rate is 0.0: give a positive number"),
        (check_positive, math.inf, "rate is inf"),
        (check_not_negative, -1, "rate is -1: give 0 or more"),
        (check_not_negative, math.nan, "rate is nan"),
        (check_truth, "no", "rate is no: give True or False"),
        (check_truth, 1, "rate is 1: give True or False"),
    ],
)
def test_checks_name_the_argument_and_its_value(check, value, message):
    with pytest.raises(ArgumentError) as error:
        check("rate", value)
    assert str(error.value).startswith(message)
    assert error.value.naming(str.upper).startswith(message.replace("rate", "RATE", 1))


def test_where_it_need_not_be_finite_infinity_is_a_number():
    assert check_positive("rate", math.inf, finite=False) == math.inf
    assert check_not_negative("rate", math.inf, finite=False) == math.inf


def test_a_count_may_have_a_greatest_value():
    assert check_count("rate", 3, 2, 3) == 3
    with pytest.raises(SoftmineError, match="rate is 4: give a number from 2 to 3"):
        check_count("rate", 4, 2, 3)


def test_a_choice_lists_its_words():
    assert check_choice("field", "siren", ("siren", "mlp")) == "siren"
    with pytest.raises(SoftmineError, match="unknown field 'x': choose one of siren, mlp"):
        check_choice("field", "x", ("siren", "mlp"))


def test_argument_errors_keep_braces_of_their_values_and_can_be_pickled():
    error = ArgumentError("{out} is {path}", path="/a/{b}")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "out is /a/{b}"
    assert copy.naming(lambda name: f"--{name}") == "--out is /a/{b}"


@pytest.mark.parametrize("check", [check_not_negative, check_share, check_positive])
def test_numbers_of_numpy_become_pythons(check):
    assert type(check("rate", np.float64(0.5))) is float
    assert type(check_count("rate", np.int64(3))) is int


def test_an_error_about_an_option_inside_of_a_word_names_no_flag():
    def flags(name):
        return f"--{name}"

    error = ArgumentError("{alpha} of {batch_size} is {given:g}", given=2.0)
    assert str(error.only("batch_size")) == str(error)
    assert error.only("batch_size").naming(flags) == "alpha of --batch_size is 2"
    with pytest.raises(ArgumentError) as raised:
        create("langevin:alpha=-1", Box((8, 8)), 4)
    assert raised.value.naming(flags) == str(raised.value)
