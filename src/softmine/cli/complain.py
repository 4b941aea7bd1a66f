"""Telling a person what is wrong. Imports nothing that takes time."""

from __future__ import annotations

import contextlib
import sys


def complain(message: str) -> None:
    """Prints one line to standard error, where there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"softmine: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
