"""Signals that need no file, as a PATH names them: ``builtin:NAME``."""

from __future__ import annotations

BUILTIN = "builtin:"
"""Before the name of a signal that needs no file."""


def builtin_name(path: str | None, default: str) -> str | None:
    """The name of the built-in signal that a PATH asks for, ``default`` where there is none; None where it is a file's.

    Example:
        >>> builtin_name(None, "chimes"), builtin_name("builtin:knot", "ball"), builtin_name("a.wav", "chimes")
        ('chimes', 'knot', None)
    """
    if path is None:
        return default
    return path[len(BUILTIN) :] if path.startswith(BUILTIN) else None
