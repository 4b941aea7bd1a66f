"""Checks of arguments: each returns a good value, and raises an ``ArgumentError`` that names a bad one. Imports no torch."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from softmine.errors import ArgumentError, SoftmineError

MOST = 2**31 - 1
MOST_FLOAT = 1e30
"""Numbers that tensors of float32 hold, with some room to multiply."""


def check_count(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number of at least ``least``, and at most ``most``, or what 32 bits hold where that is not given."""
    if not _is(numbers.Integral, value) or isinstance(value, bool):
        raise out_of_range(name, value, "give a whole number")
    if value < least or value > (MOST if most is None else most):
        small = most is None and value < least
        advice = (
            f"give at least {least}"
            if small
            else f"give a number from {least} to {MOST if most is None else most}"
        )
        raise out_of_range(name, value, advice)
    return int(value)


def check_share(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    if not _is(numbers.Real, value) or not 0.0 <= value <= 1.0:
        raise ArgumentError(f"{{{name}}} is {{given}}, but a share lies between 0 and 1", given=value)
    return float(value)


def check_positive(name: str, value: Any, finite: bool = True) -> float:
    """A number above 0, at most 1e30; infinity too where it need not be ``finite``."""
    if not _is(numbers.Real, value) or not (0 < value <= MOST_FLOAT or (value == math.inf and not finite)):
        raise out_of_range(name, value, "give a positive number, at most 1e30")
    return float(value)


def check_not_negative(name: str, value: Any, finite: bool = True) -> float:
    """A number of at least 0, at most 1e30; infinity too where it need not be ``finite``."""
    if not _is(numbers.Real, value) or not (0 <= value <= MOST_FLOAT or (value == math.inf and not finite)):
        raise out_of_range(name, value, "give 0 or more, at most 1e30")
    return float(value)


def check_truth(name: str, value: Any) -> bool:
    """``value`` if it is True or False; raises ArgumentError otherwise."""
    if not isinstance(value, bool):
        raise out_of_range(name, value, "give True or False")
    return value


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """One of a few words."""
    known = list(choices)
    if value not in known:
        raise SoftmineError(f"unknown {name} '{value}': choose one of {', '.join(known)}")
    return value


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has one of the types in ``hint``; whole numbers are numbers, truth values are not.

    Example:
        >>> is_of(1, float), is_of(True, int | None), is_of(None, int | None)
        (True, False, True)
    """
    kinds = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def leads_out(path: str | os.PathLike[str], *folders: str | os.PathLike[str]) -> bool:
    """Whether a path, with all links in it followed, lies in none of some folders, or is none that can be."""
    try:
        found = os.path.realpath(path)
    except ValueError:  # letters that no name of a file has
        return True
    return not any(Path(found).is_relative_to(os.path.realpath(folder)) for folder in folders)


def out_of_range(name: str, value: object, advice: str) -> ArgumentError:
    """The error about an argument whose value cannot be used, with what to do about it."""
    return ArgumentError(f"{{{name}}} is {{given}}: {{advice}}", given=value, advice=advice)


def _is(kind: type, value: object) -> bool:
    """Like ``isinstance``, without telling type checkers, which know no arithmetic of abstract numbers."""
    return isinstance(value, kind)
