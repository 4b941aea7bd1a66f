"""Values of JSON files that another version, another program or a person may have written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(value: object) -> float | None:
    """``value`` as a finite float; ``None`` for anything else (text, NaN, a truth value)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def whole(value: object) -> int | None:
    """``value`` rounded to a whole number; ``None`` for what is no number."""
    found = number(value)
    return None if found is None else round(found)


def text(value: object, default: str = "") -> str:
    """``value`` as text; ``default`` for nothing."""
    return str(value) if value else default


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> list[Any]:
    """``value`` if it is a JSON array, else an empty one."""
    return list(value) if isinstance(value, list | tuple) else []
