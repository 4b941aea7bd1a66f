"""Consoles that print what they are given, to whoever still listens."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from softmine.cli.complain import send_nowhere
from softmine.formatting import printable


class PlainConsole(Console):
    """A console that takes no text for markup, wraps no line, and stays quiet where nothing can be printed any more.

    Its reader may have left (``| head``), or the disk under a log be full: neither must cost a run.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def print(self, *objects: Any, soft_wrap: bool | None = True, **options: Any) -> None:
        """Prints, or does nothing where that fails."""
        try:
            super().print(*map(_harmless, objects), soft_wrap=soft_wrap, **options)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Sends all further output nowhere; rich would end the program, and with it the training."""
        self.quiet = True
        send_nowhere()


def _harmless(value: Any) -> Any:
    """Text whose control characters are written out; all else as it is."""
    if isinstance(value, str):
        return printable(value)
    return (
        Text(printable(value.plain))
        if isinstance(value, Text) and printable(value.plain) != value.plain
        else value
    )
