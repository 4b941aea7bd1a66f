import pytest

from softmine import SoftmineError
from softmine.study.shorter import shorter_of, split_shorter, with_shorter


@pytest.mark.parametrize(
    "word", ["auto/2.5", "auto@512/100", "langevin:prior=edges,alpha=0.8/1.01", "x:a=b/c/3"]
)
def test_what_is_split_is_put_together_again(word):
    before, shorter = split_shorter(word)
    assert word.startswith(before + "/")
    assert shorter > 1
    assert with_shorter(before, shorter) == word


@pytest.mark.parametrize("word", ["auto", "langevin:alpha=0.8@512"])
def test_without_a_slash_the_budget_is_whole(word):
    assert split_shorter(word) == (word, 1.0)
    assert with_shorter(word, 1.0) == word


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1",
        "1.0",
        "0.5",
        "0",
        "-2",
        "100.5",
        "1e3",
        "2e0",
        "nan",
        "inf",
        "x",
        " 2",
        "2.",
        "\u0662",
        "2@64",
        "1" * 400,
    ],
)
def test_what_is_no_number_above_one_is_said(number):
    with pytest.raises(SoftmineError, match="how many times shorter its budget is, a number above 1"):
        split_shorter(f"auto/{number}")


def test_runs_of_older_files_have_the_whole_budget():
    assert shorter_of({"sampler": "auto"}) == 1.0
    assert shorter_of({"sampler": "auto", "shorter": 2}) == 2.0
