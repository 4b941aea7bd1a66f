"""Consoles that print what they are given, to whoever still listens."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from softmine.cli.complain import send_nowhere


class PlainConsole(Console):
    """A console that takes no text for markup, wraps no line, and stays quiet where nothing can be printed any more.

    Its reader may have left (``| head``), or the disk under a log be full: neither must cost a run.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def print(self, *objects: Any, soft_wrap: bool | None = True, **options: Any) -> None:
        """Prints, or does nothing where that fails."""
        try:
            super().print(*objects, soft_wrap=soft_wrap, **options)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Sends all further output nowhere; rich would end the program, and with it the training."""
        self.quiet = True
        send_nowhere()
