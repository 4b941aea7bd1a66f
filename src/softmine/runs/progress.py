"""What a person sees while a run trains: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

from softmine.formatting import clock, compact, decibels

T = TypeVar("T", bound="Progress")
BAR, WIDE = 20, 100
"""Characters of the bar, and of a terminal from which on it is shown."""
QUIET = 30.0
"""Seconds for which nothing is printed while a long task continues, where there is no terminal."""


def in_terminal(console: Console) -> bool:
    """Whether a person sees what is printed as it is; rich's own answer is also yes for a log with FORCE_COLOR set."""
    return console.is_terminal and getattr(console.file, "isatty", bool)()


class Progress:
    """Shows step, speed, PSNR and time left.

    In a terminal one line is redrawn in place; otherwise a line is printed at every evaluation. Use as a context
    manager.
    """

    def __init__(self, console: Console, *, steps: int | None) -> None:
        self.console, self.steps = console, steps
        self.psnr: float | None = None
        self._live: rich_progress.Progress | None = None
        self._shown = 0.0
        self._told = time.monotonic()

    def __enter__(self: T) -> T:
        if in_terminal(self.console) and not self.console.is_dumb_terminal:
            column = Column(no_wrap=True, overflow="ellipsis")
            text = rich_progress.TextColumn("{task.description}", markup=False, table_column=column)
            self._live = rich_progress.Progress(
                *([_Bar(BAR)] if self.console.width >= WIDE else []),
                text,
                console=self.console,
                auto_refresh=False,
                transient=True,
            )
            self._live.add_task("", total=1.0)
            self._live.start()
        self._told = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tick(self, step: int, samples: int, seconds: float, progress: float) -> None:
        """Redraws the live line, at most ten times a second."""
        now = time.monotonic()
        if self._live is not None and now - self._shown > 0.1:
            self._shown = now
            width = self.console.width - (BAR + 1 if self.console.width >= WIDE else 0)
            self._redraw(self._line(step, samples, seconds, progress, width), progress)

    def evaluated(self, step: int, samples: int, seconds: float, progress: float, psnr: float) -> None:
        """Notes a new PSNR; without a terminal, prints a line."""
        self.psnr = psnr
        self.line(self._line(step, samples, seconds, progress, width=10_000))

    def line(self, text: str) -> None:
        """Prints a line where there is no terminal to redraw one in."""
        if self._live is None:
            self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def say(self, text: str) -> None:
        """Shows what is being done when it is not training."""
        self._redraw(text)

    def wait(self, text: str) -> None:
        """Shows how far is what may take minutes; without a terminal, prints a line every ``QUIET`` seconds."""
        self.say(text)
        now = time.monotonic()
        if self._live is None and now - self._told > QUIET:
            self._told = now
            self.line(text)

    def _redraw(self, text: str, share: float | None = None) -> None:
        """Shows ``text`` in the live line, if there is one, beside a bar where there is a share of a whole."""
        if self._live is not None:
            task = self._live.task_ids[0]
            self._live.update(
                task, description=text, completed=share or 0.0, refresh=True, bar=share is not None
            )

    def _line(self, step: int, samples: int, seconds: float, progress: float, width: int) -> str:
        each = 1 / seconds if seconds > 0 else 0.0
        left = seconds * (1 - progress) / progress if progress > 0 else None
        total = f"/{self.steps:,}" if self.steps else ""
        line = f"{progress:4.0%}  step {step:,}{total}"
        # Least important last: in a narrow terminal the end is left out.
        for part in (
            f"PSNR {decibels(self.psnr)}" if self.psnr is not None else "PSNR ...",
            f"ETA {clock(left)}" if left is not None else "ETA ...",
            f"{step * each:.3g} it/s",
            f"{compact(samples * each)} samples/s",
        ):
            if len(line) + len(part) + 2 > width:
                break
            line += "  " + part
        return line


class _Bar(rich_progress.BarColumn):
    """A bar beside what is a share of a whole, and nothing beside other texts."""

    def render(self, task: rich_progress.Task) -> Any:
        return super().render(task) if task.fields.get("bar") else Text("")
