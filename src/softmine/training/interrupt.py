"""Ctrl-C and termination signals, noted now and acted on at the next safe place. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""Exit code of a command that was interrupted."""

Interrupted = Callable[[], bool]
"""Tells whether Ctrl-C or a termination signal has come."""


class Interruption:
    """Notes signals; calling it tells whether one has come.

    The second signal stops at once. While ``loading`` is true that ends the process, because an exception in the
    middle of an import can crash it; otherwise ``KeyboardInterrupt`` is raised.
    """

    def __init__(self) -> None:
        self.count = 0
        self.loading = False

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.count > 0

    def note(self, number: int, frame: object) -> None:
        """Handles a signal."""
        self.count += 1
        if self.count > 1 and (self.loading or self.count > 2):
            with contextlib.suppress(OSError):
                os.write(2, b"softmine: interrupted\n")
            os._exit(INTERRUPTED)
        if self.count > 1:
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
