"""Runs that end sooner than the others by plan: ``auto/2.5`` trains for the comparison's budget divided by 2.5.

A run that is planned to end sooner lets its learning rate fall sooner. So its end, not a moment in the middle of a long
run, tells how long one must train to get what uniform sampling gets in the whole budget.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from softmine.domain import SoftmineError

MOST = 100.0
"""A budget may be this many times shorter at most."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def split_shorter(word: str) -> tuple[str, float]:
    """What stands before the last ``/`` of a word, and how many times shorter its budget is; 1 without a ``/``.

    Raises:
        SoftmineError: what follows the ``/`` is no number above 1 and up to 100.

    Example:
        >>> split_shorter("langevin:alpha=0.8@512/2.5")
        ('langevin:alpha=0.8@512', 2.5)
        >>> split_shorter("auto")
        ('auto', 1.0)
    """
    before, slash, number = word.rpartition("/")
    if not slash:
        return word, 1.0
    shorter = float(number) if _NUMBER.fullmatch(number) else 0.0
    if not 1 < shorter <= MOST:
        raise SoftmineError(
            f"sampler '{word}': what follows the / says how many times shorter its budget is, a number above 1 and up "
            f"to {MOST:g} that ends the word, as in auto/2.5 or uniform@2048/2.5"
        )
    return before, shorter


def with_shorter(name: str, shorter: float) -> str:
    """A name that tells how many times shorter the budget is; the name alone where it is the whole budget.

    Example:
        >>> with_shorter("auto", 2.5), with_shorter("auto", 3.0), with_shorter("auto", 1.0)
        ('auto/2.5', 'auto/3', 'auto')
    """
    return name if shorter == 1 else f"{name}/{str(float(shorter)).removesuffix('.0')}"


def shorter_of(run: Mapping[str, Any]) -> float:
    """How many times shorter a run's or summary line's budget is; 1 in files of before there were such runs."""
    return float(run.get("shorter", 1.0))


def name_of(run: Mapping[str, Any]) -> str:
    """The sampler of a run or summary line, and how many times shorter its budget is where it is."""
    return with_shorter(run["sampler"], shorter_of(run))
