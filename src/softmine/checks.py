"""Arguments in range, or one sentence that names them."""

from __future__ import annotations

import math
import numbers

from softmine.errors import SoftmineError

MOST = 2**31 - 1


def check_count(name: str, value: int, least: int = 1, most: int = MOST) -> int:
    """Returns a whole number from ``least`` to ``most``, or raises SoftmineError."""
    if not isinstance(value, numbers.Integral) or not least <= value <= most:
        limit = "2^31 - 1" if most == MOST else f"{most:,}"
        raise SoftmineError(f"{name} is {value}, but it must be a whole number from {least} to {limit}")
    return int(value)


def check_not_negative(name: str, value: float) -> float:
    """Returns a finite number that is not negative, or raises SoftmineError."""
    if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise SoftmineError(f"{name} is {value}, but it must be a finite number, not negative")
    return float(value)


def check_share(name: str, value: float) -> float:
    """Returns a share in [0, 1], or raises SoftmineError."""
    if not isinstance(value, numbers.Real) or not 0.0 <= value <= 1.0:
        raise SoftmineError(f"{name} is {value}, but a share lies between 0 and 1")
    return float(value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Returns one of the choices, or raises SoftmineError."""
    if value not in choices:
        raise SoftmineError(f"{name} is '{value}': choose one of {', '.join(choices)}")
    return value
