"""Command lines to dataclasses; a mistake becomes one sentence."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional

from softmine.errors import SoftmineError

T = TypeVar("T")

_NUMBER = re.compile(r"-[\d.]")
_HELP = ("-h", "--help")


def parse(kind: type[T], program: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Reads ``arguments`` into the dataclass ``kind``; ``--help`` prints and leaves.

    Raises:
        SoftmineError: they cannot be read; names the word, and the nearest flag.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    if any(word in _HELP for word in arguments):
        arguments = ["--help"]
    elif mistake := _mistake(_Table.of(kind), list(arguments)):
        raise SoftmineError(f"{mistake} (see {program} --help)")
    return tyro.cli(kind, prog=program, args=list(arguments), **options)


@dataclass(frozen=True)
class _Table:
    """What a command takes.

    Attributes:
        flags: types by flag, as in ``--batch-size``.
        positionals: types by name.
        required: positionals that must be given.
    """

    flags: dict[str, Any]
    positionals: dict[str, Any]
    required: list[str]

    @classmethod
    def of(cls, kind: type) -> _Table:
        flags, positionals, required = {}, {}, []
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            hint = hints[field.name]
            extras = hint.__metadata__ if get_origin(hint) is Annotated else ()
            plain = hint.__origin__ if extras else hint
            if Positional not in extras:
                flags["--" + field.name.replace("_", "-")] = plain
                continue
            positionals[field.name] = plain
            if field.default is MISSING and get_origin(plain) is not tuple:
                required.append(field.name)
        return cls(flags, positionals, required)

    @property
    def names(self) -> list[str]:
        """All flags as they may be given."""
        return list(self.flags) + ["--no-" + name[2:] for name, hint in self.flags.items() if hint is bool]


def _mistake(table: _Table, words: list[str]) -> str | None:
    """What is wrong with a command line, or None."""
    end = words.index("--") if "--" in words else len(words)
    words, after = words[:end], words[end + 1 :]
    return _unknown_flag(table, words) or _wrong_value(table, words, after)


def _unknown_flag(table: _Table, words: list[str]) -> str | None:
    for name in (_name(word) for word in words if _is_flag(word)):
        if name not in table.names:
            near = difflib.get_close_matches(name, table.names, n=1, cutoff=0.5)
            hint = (
                f"did you mean {near[0]}?" if near else f"the flags are {', '.join(table.names) or '--help'}"
            )
            return f"unknown flag '{name}': {hint}"
    return None


def _wrong_value(table: _Table, words: list[str], after: list[str]) -> str | None:
    """A flag without its value or with another than it takes, or positional arguments that are too many or too few."""
    given: list[str] = []
    while words:
        word = words.pop(0)
        if not _is_flag(word):
            given.append(word)
            continue
        name, (_, equals, value) = _name(word), word.partition("=")
        hint = table.flags.get(name, bool)
        if hint is bool:
            if equals:
                return f"{name} takes no value"
            continue
        values, many = [value] if equals else [], get_origin(hint) is tuple
        while words and not _is_flag(words[0]) and (many or not values):
            values.append(words.pop(0))
        if not values and not many:
            return f"{name} needs a value"
        wrong = next((value for value in values if not _reads(value, hint)), None)
        if wrong is not None:
            return f"{name} is '{wrong}', but it takes {_expected(hint)}"
    return _wrong_count(table, given + after)


def _wrong_count(table: _Table, given: list[str]) -> str | None:
    if any(get_origin(hint) is tuple for hint in table.positionals.values()):
        return None
    names = [name.upper() for name in table.positionals]
    if extra := given[len(names) :]:
        taken = f"one {names[0]} at most" if names else "flags only"
        return f"unexpected '{', '.join(extra)}': give {taken}"
    if len(given) < len(table.required):
        return f"{table.required[len(given)].upper()} is missing"
    return None


def _reads(text: str, hint: Any) -> bool:
    kinds = _simple(hint)
    if type(None) in kinds and text == "None":
        return True
    numbers = [kind for kind in (int, float) if kind in kinds]
    for kind in numbers:
        try:
            kind(text)
        except ValueError:
            continue
        return True
    return not numbers


def _expected(hint: Any) -> str:
    if int in _simple(hint):
        return "a whole number" if get_origin(hint) is not tuple else "whole numbers"
    return "a number"


def _simple(hint: Any) -> set[Any]:
    """The plain types in a hint: int in int | None, and in tuple[int, ...]."""
    return set(get_args(hint)) or {hint}


def _name(word: str) -> str:
    """The flag that a word gives."""
    return word.partition("=")[0].replace("_", "-")


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.match(word)
