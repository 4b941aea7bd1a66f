"""Command lines to dataclasses; a mistake becomes one sentence."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional

from softmine.errors import SoftmineError

T = TypeVar("T")

_NUMBER = re.compile(r"-[\d.]")


def parse(kind: type[T], program: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Reads ``arguments`` into the dataclass ``kind``; ``--help`` prints and leaves.

    Raises:
        SoftmineError: they cannot be read; names the word, and the nearest flag.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog=program, args=list(arguments), **options)
    except SystemExit as end:
        if not end.code:
            raise
        mistake = _mistake(kind, list(arguments), _unboxed(complaint.getvalue()))
        raise SoftmineError(f"{mistake} (see {program} --help)") from None


def _mistake(kind: type, arguments: list[str], complaint: str) -> str:
    """What is wrong, by looking for the mistakes people make; the parser's own words for any other."""
    flags, positionals = _flags(kind)
    names = list(flags) + ["--no-" + name[2:] for name, hint in flags.items() if hint is bool]
    for word in arguments:
        name = word.partition("=")[0].replace("_", "-")
        if word.startswith("-") and not _NUMBER.match(word) and name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"the flags are {', '.join(names) or '--help'}"
            return f"unknown flag '{name}': {hint}"
    for index, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if name not in flags or flags[name] is bool:
            continue
        following = arguments[index + 1 : index + 2]
        if not equals and (not following or _is_flag(following[0])):
            return f"{name} needs a value"
        if f"Error parsing {name}:" in complaint:
            wrong = [value] if equals else _values(arguments[index + 1 :])
            shown = next((v for v in wrong if not _reads(v, flags[name])), wrong[0])
            return f"{name} is '{shown}', but it takes {_expected(flags[name])}"
    unread = re.search(r"Unrecognized options: (.+?)(?= For full| Perhaps|$)", complaint)
    if unread:
        taken = f"one {positionals[0].upper()} at most" if positionals else "flags only"
        return f"unexpected '{unread[1]}': give {taken}"
    if "required" in complaint.lower() and positionals:
        return f"{positionals[0].upper()} is missing"
    return re.split(r" For full helptext| Argument helptext", complaint)[0].strip(" .") or "wrong arguments"


def _flags(kind: type) -> tuple[dict[str, Any], list[str]]:
    """The flags of a dataclass with their types, and the names of its positional arguments."""
    flags, positionals = {}, []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        extras = hint.__metadata__ if get_origin(hint) is Annotated else ()
        if any(extra is Positional for extra in extras):
            positionals.append(name)
        else:
            flags["--" + name.replace("_", "-")] = hint.__origin__ if extras else hint
    return flags, positionals


def _reads(text: str, hint: Any) -> bool:
    kinds = _simple(hint)
    if str in kinds:
        return True
    for kind in (int, float):
        if kind in kinds:
            try:
                kind(text)
            except ValueError:
                continue
            return True
    return False


def _expected(hint: Any) -> str:
    kinds = _simple(hint)
    if int in kinds:
        return "a whole number" if get_origin(hint) is not tuple else "whole numbers"
    return "a number" if float in kinds else "another value"


def _simple(hint: Any) -> set[Any]:
    """The plain types in a hint: int in int | None, and in tuple[int, ...]."""
    return set(get_args(hint)) or {hint}


def _values(words: list[str]) -> list[str]:
    """The words up to the next flag."""
    count = next((i for i, word in enumerate(words) if _is_flag(word)), len(words))
    return words[: max(1, count)]


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not _NUMBER.match(word)


def _unboxed(text: str) -> str:
    """The text of a boxed message in one line."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    return " ".join(re.sub(r"[\u2500-\u257f]|-{3,}", " ", text).split())
