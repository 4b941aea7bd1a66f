"""Samplers in a word, with a batch size and a budget of their own."""

import pytest

from softmine import SoftmineError
from softmine.registry import Spec, with_shorter


@pytest.mark.parametrize("word", ["auto/2.5", "auto@512/100", "langevin:prior=edges,alpha=0.8/1.01"])
def test_spec_is_put_together_again(word):
    spec = Spec.parse(word)
    assert spec.shorter > 1
    sampler = spec.sampler if spec.batch_size is None else f"{spec.sampler}@{spec.batch_size}"
    assert with_shorter(sampler, spec.shorter) == word


def test_only_the_last_slash_is_of_the_budget():
    assert Spec.parse("langevin:prior=b/c/3").options == {"prior": "b/c"}


@pytest.mark.parametrize("word", ["auto", "langevin:alpha=0.8@512"])
def test_without_a_slash_the_budget_is_whole(word):
    assert Spec.parse(word).shorter == 1.0
    assert with_shorter(word, 1.0) == word


NO_NUMBERS_ABOVE_ONE = (
    "", "1", "1.0", "0.5", "0", "-2", "100.5", "1e3", "2e0", "nan", "inf", "x", " 2", "2.", "\u0662", "2@64", "1" * 400,
)  # fmt: skip


@pytest.mark.parametrize("number", NO_NUMBERS_ABOVE_ONE)
def test_what_is_no_number_above_one_is_said(number):
    with pytest.raises(SoftmineError, match="how many times shorter its budget is, a number above 1"):
        Spec.parse(f"auto/{number}")
