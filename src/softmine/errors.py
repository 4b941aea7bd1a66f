"""The errors and warnings that people are meant to read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from string import Formatter


class SoftmineError(ValueError):
    """Something the caller can put right; its message says what is wrong, where, and what to do."""


class SoftmineWarning(UserWarning):
    """What was asked for is done in another way than one would expect; says how, why, and what would change it."""


@cache
def warn_once(message: str) -> None:
    """Warns with a ``SoftmineWarning``, once in a process."""
    warnings.warn(message, SoftmineWarning, stacklevel=3)


class ArgumentError(SoftmineError):
    """Something about the caller's arguments, which the message names; a command line can write them as its flags.

    Args:
        template: the message, with ``{name}`` where it names an argument and ``{key}`` for each of ``values``.
        values: what else it shows.

    Example:
        >>> error = ArgumentError("{batch_size} is {given}: give at least 1", given=0)
        >>> str(error), error.naming(lambda name: "--" + name.replace("_", "-"))
        ('batch_size is 0: give at least 1', '--batch-size is 0: give at least 1')
    """

    def __init__(self, template: str, **values: object) -> None:
        self.template, self.values = template, values
        super().__init__(self.naming(str))

    def naming(self, write: Callable[[str], str]) -> str:
        """The message with its arguments as ``write`` writes them."""
        return self.template.format_map(_Words(write, self.values))

    def only(self, *names: str) -> ArgumentError:
        """The same error for a caller whose only arguments are ``names``: no other is written as a flag."""
        found = {name for _, name, _, _ in Formatter().parse(self.template) if name}
        return ArgumentError(
            self.template, **{**{name: name for name in found.difference(names)}, **self.values}
        )

    def __reduce__(self) -> tuple:
        return partial(type(self), self.template, **self.values), ()


class _Words(dict):
    """What a template shows: values, and every other name as that of an argument."""

    def __init__(self, write: Callable[[str], str], values: dict[str, object]) -> None:
        super().__init__(values)
        self.write = write

    def __missing__(self, name: str) -> str:
        return self.write(name)
