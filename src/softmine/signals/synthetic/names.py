"""Finds what is built in by its name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from softmine.domain import SoftmineError

T = TypeVar("T")


def find(what: str, name: str, makers: Mapping[str, Callable[[], T]]) -> Callable[[], T]:
    """The maker of the built-in ``what`` called ``name``.

    Raises:
        SoftmineError: there is none of that name.
    """
    if name not in makers:
        raise unknown(what, name, makers)
    return makers[name]


def unknown(what: str, name: str, known: Iterable[str]) -> SoftmineError:
    """The error for a name that is none of those ``known``; it suggests similar ones."""
    names = list(known)
    near = difflib.get_close_matches(name, names) or names
    return SoftmineError(f"there is no built-in {what} {name!r}; try {', '.join(near)}")
