"""JSON objects as dataclasses, whatever another version, another program or a person wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from functools import cache
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T", bound="Record")
Read = Callable[[Any], Any]


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


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> list[Any]:
    """``value`` if it is a JSON array, else an empty one."""
    return list(value) if isinstance(value, list | tuple) else []


def number_pair(value: object) -> tuple[float, float] | None:
    """Two numbers; ``None`` for anything else."""
    found = [number(item) for item in listing(value)]
    return (found[0], found[1]) if len(found) == 2 and None not in found else None  # pyright: ignore[reportReturnType]


def stored(
    key: str = "",
    *,
    default: Any = None,
    read: Read | None = None,
    write: Read | None = None,
    rest: bool = False,
) -> Any:
    """A field of a ``Record`` that is not simply under its own name.

    Args:
        key: in the JSON object.
        default: where the object has nothing that can be read.
        read: from JSON to the value, ``None`` for what cannot be read; by default the field's type says how.
        write: from the value to JSON.
        rest: whether the field, a mapping of numbers, takes every key that no other field has.
    """
    return field(
        default_factory=lambda: default, metadata={"key": key, "read": read, "write": write, "rest": rest}
    )


def apart(default: Any = None) -> Any:
    """A field of a ``Record`` that is not in its JSON object."""
    return field(default_factory=lambda: default, metadata={"apart": True})


class Record:
    """A dataclass for a JSON object.

    Every field has a default, which stands where the object has nothing, or something of another type.
    """

    @classmethod
    def parse(cls: type[T], value: object) -> T:
        """The record of a JSON object; of defaults alone for what is none."""
        item, columns = mapping(value), _columns(cls)
        known = {column.key for column in columns}
        others = {
            key: figure for key in item if key not in known and (figure := number(item[key])) is not None
        }
        found = {
            column.name: others if column.rest else column.read(item[column.key])
            for column in columns
            if column.rest or column.key in item
        }
        return cls(**{name: value for name, value in found.items() if value is not None})

    @classmethod
    def is_whole(cls, value: object, *needed: str) -> bool:
        """Whether ``value`` is a JSON object with all keys ``needed``, and reading it loses nothing that a record holds."""
        if not isinstance(value, Mapping) or any(value.get(key) is None for key in needed):
            return False
        return _same(cls.parse(value).to_json(), value)

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        found: dict[str, Any] = {}
        for column in _columns(type(self)):
            value = getattr(self, column.name)
            found |= value if column.rest else {column.key: column.write(value)}
        return found


def written(value: Any) -> Any:
    """A value with every record in it as a JSON object."""
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: written(item) for key, item in value.items()}
    return [written(item) for item in value] if isinstance(value, list | tuple) else value


class _Column(NamedTuple):
    name: str
    key: str
    read: Read
    write: Read
    rest: bool


@cache
def _columns(kind: Any) -> list[_Column]:
    hints = get_type_hints(kind)
    return [
        _Column(
            one.name,
            one.metadata.get("key") or one.name,
            one.metadata.get("read") or _reader(hints[one.name]),
            one.metadata.get("write") or written,
            one.metadata.get("rest", False),
        )
        for one in fields(kind)
        if not one.metadata.get("apart")
    ]


def _reader(hint: Any) -> Read:
    """What reads a JSON value as a type, and returns ``None`` where it is of another."""
    inner = [kind for kind in get_args(hint) if kind is not NoneType]
    if get_origin(hint) is tuple:
        each = _reader(inner[0])
        return lambda value: tuple(found for item in listing(value) if (found := each(item)) is not None)
    if get_origin(hint) is Mapping and inner[1] is str:
        return lambda value: {key: item for key, item in mapping(value).items() if isinstance(item, str)}
    if get_origin(hint) is Mapping:
        return mapping
    if inner:
        return _reader(inner[0])
    if isinstance(hint, type) and issubclass(hint, Record):
        return lambda value: hint.parse(value) if isinstance(value, Mapping) else None
    return {
        float: number,
        int: whole,
        str: lambda value: value if value and isinstance(value, str) else None,
        bool: lambda value: value if isinstance(value, bool) else None,
    }.get(hint, lambda value: value)


def _same(now: Any, before: Any) -> bool:
    """Whether what was read and written again is as before, where both have it; JSON has null for the infinite."""
    if isinstance(now, dict):
        return isinstance(before, Mapping) and all(
            _same(now[key], before[key]) for key in now.keys() & before.keys()
        )
    if isinstance(now, list):
        return isinstance(before, list) and len(now) == len(before) and all(map(_same, now, before))
    return now == before or (before is None and now == math.inf)
