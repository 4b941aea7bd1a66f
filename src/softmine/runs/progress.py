"""What a person sees while a run trains: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

BAR = 20


def duration(seconds: float) -> str:
    """Seconds as a person writes them: 42 s, 3:20, 1:05:00."""
    if not seconds < 1e9:
        return "forever"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def decibels(psnr: float | None) -> str:
    """A PSNR in two decimals; ``inf`` for an exact fit, which JSON files keep as null."""
    return "inf" if psnr is None else f"{psnr:.2f}"


def quantity(number: float) -> str:
    """A number in three digits with a unit: 950, 12.3k, 4.56M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


QUIET = 30.0
"""Seconds for which nothing is printed while what was announced goes on, where there is no terminal."""


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
        self._live: Live | None = None
        self._shown = 0.0
        self._told = time.monotonic()

    def __enter__(self) -> Progress:
        if in_terminal(self.console) and not self.console.is_dumb_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._told = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tick(self, step: int, samples: int, seconds: float, progress: float) -> None:
        """Redraws the live line, at most ten times a second."""
        now = time.monotonic()
        if self._live is not None and now - self._shown > 0.1:
            self._shown = now
            line = self._line(step, samples, seconds, progress, self._live.console.width)
            self._live.update(line, refresh=True)

    def evaluated(self, step: int, samples: int, seconds: float, progress: float, psnr: float) -> None:
        """Notes a new PSNR; without a terminal, prints a line."""
        self.psnr = psnr
        if self._live is None:
            line = self._line(step, samples, seconds, progress, width=10_000)
            self.console.print(line, soft_wrap=True)

    def line(self, text: str) -> None:
        """Prints a line where there is no terminal to redraw one in."""
        if self._live is None:
            self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def say(self, text: str) -> None:
        """Shows what is being done when it is not training."""
        if self._live is not None:
            self._live.update(Text(text, style="dim", no_wrap=True, overflow="ellipsis"), refresh=True)

    def wait(self, text: str) -> None:
        """Shows how far is what may take minutes; without a terminal, prints a line every ``QUIET`` seconds."""
        self.say(text)
        now = time.monotonic()
        if self._live is None and now - self._told > QUIET:
            self._told = now
            self.line(text)

    def _line(self, step: int, samples: int, seconds: float, progress: float, width: int) -> Text:
        each = 1 / seconds if seconds > 0 else 0.0
        left = seconds * (1 - progress) / progress if progress > 0 else None
        total = f"/{self.steps:,}" if self.steps else ""
        parts: list[Any] = [
            f"step {step:,}{total}",
            f"PSNR {decibels(self.psnr)} dB" if self.psnr is not None else "PSNR ...",
            f"ETA {duration(left)}" if left is not None else "ETA ...",
            f"{step * each:.3g} it/s",
            f"{quantity(samples * each)} samples/s",
        ]
        line = Text(no_wrap=True, overflow="ellipsis")
        if width >= 100 and self._live is not None:
            done = round(BAR * progress)
            line.append("━" * done, style="cyan")
            line.append("━" * (BAR - done) + "  ", style="dim")
        line.append(f"{progress:4.0%}  ")
        for index, part in enumerate(parts):
            # Least important last: in a narrow terminal the end is left out.
            if self._live is not None and line.cell_len + len(part) + 2 > width:
                break
            line.append(("  " if index else "") + part)
        return line
