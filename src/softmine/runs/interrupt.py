"""Ctrl-C and termination signals: noted while there is something to finish, else acted on at once. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was interrupted."""

Interrupted = Callable[[], bool]
"""Tells whether Ctrl-C or a termination signal has come."""


class Interruption:
    """Notes signals; calling it tells whether one has come.

    The second signal stops at once, and while ``eager`` is true the first does: ``KeyboardInterrupt`` is raised, or, in the
    middle of an import, which can crash of an exception, the process ends. Imports that were under way when it was made
    do not count: they are those of who called, a module that runs a command while it is imported, and it gets an answer.
    """

    def __init__(self) -> None:
        self.count = 0
        self.eager = False
        self.imports = _imports(sys._getframe())

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.count > 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        self.count += 1
        if self.count == 1 and not self.eager:
            return
        if self.count > 2 or _imports(frame) > self.imports:
            with contextlib.suppress(OSError):
                os.write(2, b"softmine: interrupted\n")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Yields a function that tells whether Ctrl-C or a termination signal has come; a second one stops at once.

    Outside the main thread, where Python takes no signals, it always says no.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, interruption.note) for kind in kinds}
    try:
        yield interruption
    finally:
        for kind, handler in before.items():
            # None is a handler that was not set from Python and cannot be put back.
            signal.signal(kind, signal.SIG_DFL if handler is None else handler)


def stop_if(interrupted: Interrupted) -> None:
    """Raises KeyboardInterrupt if a signal has come: for places where there is nothing to finish."""
    if interrupted():
        raise KeyboardInterrupt


@contextmanager
def at_once(interrupted: Interrupted) -> Iterator[None]:
    """Within, a signal stops at once: for work that may take long and leaves nothing behind, such as reading a file."""
    noted = interrupted if isinstance(interrupted, Interruption) else Interruption()
    before, noted.eager = noted.eager, True
    try:
        stop_if(interrupted)
        yield
    finally:
        noted.eager = before
    stop_if(interrupted)


def _imports(frame: FrameType | None) -> int:
    """How many calls up from ``frame`` are those of imports under way; every import makes some."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return count
