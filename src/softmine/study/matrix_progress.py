"""How far a whole comparison has come, and when it will be done."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from softmine.formatting import clock
from softmine.runs.progress import Progress


class MatrixProgress:
    """Shows runs done, percent and time left over all runs: one live line in a terminal, plain lines elsewhere.

    The time left is the wall clock's (evaluation and pictures included), from what this process has done so far. Use
    as a context manager.

    Args:
        console: where to print.
        total: runs in all.
        before: of them, done by an earlier process.
    """

    def __init__(self, console: Console, total: int, before: int = 0) -> None:
        self.total, self.before, self.done = total, before, before
        self._progress = Progress(console, steps=None)
        self._started: float | None = None

    def __enter__(self) -> MatrixProgress:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def finished(self, runs: int) -> None:
        """Notes that ``runs`` more have come to their end."""
        self.done += runs

    def say(self, going: float, text: str) -> None:
        """Shows ``text`` in the live line; ``going`` is how many runs' worth of work is done in those that train now."""
        self._progress.say(f"{self.overview(going)}  {text}")

    def line(self, going: float, text: str) -> None:
        """Prints ``text`` where there is no live line."""
        self._progress.line(f"{self.overview(going)}  {text}")

    def overview(self, going: float) -> str:
        """Percent, runs done of all, and the time left: ``42%  5/12 runs  ETA 3:20``."""
        # From the first word on: what a process pays once, before it trains, says nothing about the rest.
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        worth = self.done + going
        here = worth - self.before
        left = "..."
        if here > 0:
            left = clock((now - self._started) * (self.total - worth) / here)
        return f"{worth / self.total:4.0%}  {self.done}/{self.total} runs  ETA {left}"
