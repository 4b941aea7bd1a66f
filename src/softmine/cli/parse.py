"""Command lines to dataclasses; a mistake becomes one sentence."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
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
    elif mistake := next(_mistakes(kind, list(arguments)), None):
        raise SoftmineError(f"{mistake} (see {program} --help)")
    return tyro.cli(kind, prog=program, args=list(arguments), **options)


def _mistakes(kind: type, words: list[str]) -> Iterator[str]:
    """What is wrong with a command line: first unknown flags, then values, then positional arguments."""
    flags, positionals, required = _taken(kind)
    names = [*flags, *("--no-" + name[2:] for name, hint in flags.items() if hint is bool)]
    end = words.index("--") if "--" in words else len(words)
    words, given = words[:end], words[end + 1 :]
    for name in map(_name, filter(_is_flag, words)):
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"the flags are {', '.join(names) or '--help'}"
            yield f"unknown flag '{name}': {hint}"
    before: list[str] = []
    while words:
        word = words.pop(0)
        if not _is_flag(word):
            before.append(word)
            continue
        name, (_, equals, value) = _name(word), word.partition("=")
        hint = flags.get(name, bool)
        if hint is bool:
            if equals:
                yield f"{name} takes no value"
            continue
        values, many = [value] if equals else [], get_origin(hint) is tuple
        while words and not _is_flag(words[0]) and (many or not values):
            values.append(words.pop(0))
        if not values and not many:
            yield f"{name} needs a value"
        for value in values:
            if not _reads(value, hint):
                yield f"{name} is '{value}', but it takes {_expected(hint)}"
    given = before + given
    if any(get_origin(hint) is tuple for hint in positionals.values()):
        return
    if extra := given[len(positionals) :]:
        taken = f"one {next(iter(positionals)).upper()} at most" if positionals else "flags only"
        yield f"unexpected '{', '.join(extra)}': give {taken}"
    for name in required[len(given) :]:
        yield f"{name.upper()} is missing"


def _taken(kind: type) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """What a command takes: types of flags such as ``--batch-size``, types of positionals, and those that must be given."""
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
    return flags, positionals, required


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
