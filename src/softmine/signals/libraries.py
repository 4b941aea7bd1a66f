"""Optional libraries that read files, and noisy ones kept off the terminal."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
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


def shared(change: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Make a change of the whole process one that several threads may want at once.

    The first in makes it and the last out undoes it. Were each to put back what it found, who came while the change was in
    force would put that back.
    """
    lock, made, inside = threading.Lock(), contextlib.ExitStack(), 0

    @contextlib.contextmanager
    def once() -> Iterator[None]:
        nonlocal inside
        with lock:
            if not inside:
                made.enter_context(change())
            inside += 1
        try:
            yield
        finally:
            with lock:
                inside -= 1
                if not inside:
                    made.close()

    return functools.update_wrapper(once, change)


@shared
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


@contextlib.contextmanager
def logged_errors(name: str) -> Iterator[list[str]]:
    """The errors that a library logs, which may add nothing to what it raises, off the terminal."""
    log, handler, errors = logging.getLogger(name), logging.Handler(logging.ERROR), []
    handler.emit = lambda record: errors.append(record.getMessage())
    log.addHandler(handler)
    try:
        yield errors
    finally:
        log.removeHandler(handler)
