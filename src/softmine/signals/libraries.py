"""Manners for the libraries that read files: optional ones are asked for, noisy ones silenced."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from softmine.domain import SoftmineError


def require(module: str, extra: str, what: str, where: str) -> Any:
    """Import ``module``, which the extra ``softmine[extra]`` installs.

    Raises:
        SoftmineError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SoftmineError(
            f"{where}: reading {what} needs the extra: pip install 'softmine[{extra}]'"
        ) from error


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep libraries in C, which print what they also raise, off the terminal."""
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        stack.enter_context(contextlib.redirect_stdout(sink))
        with contextlib.suppress(OSError):  # standard error may be closed
            sys.stderr.flush()
            kept = os.dup(2)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 2)
            os.dup2(sink.fileno(), 2)
        yield
