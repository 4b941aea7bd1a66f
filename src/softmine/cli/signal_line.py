"""The line that says what was read."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from softmine.runs.task import Task


def print_signal(console: Console, task: Task, folder: Path) -> None:
    """Prints a signal's name, what it is, what reading chose or left out, and the folder that results go to."""
    console.print(Text.assemble((task.signal.name, "bold"), f"  {task.size()}  ->  {folder}"))
