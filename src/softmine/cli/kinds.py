"""Commands for every kind of signal: their flags, and the signal that a PATH names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID

from softmine import tasks
from softmine.cli.flags import OPTIONS, SETTINGS, About, Flag, command_type, flags_of
from softmine.runs.task import Report, Task

S = TypeVar("S")


def kind_command(settings: type, kind: str, text: str, own: Sequence[Flag]) -> type:
    """The flags of a command for one kind of signal: all settings, its own, those that only the kind takes, and PATH.

    Args:
        settings: what can be chosen whatever the kind.
        kind: of signal.
        text: what the command does, shown by ``--help``.
        own: further flags of the command.
    """
    about = tasks.KINDS[kind]
    path = Flag("path", str | None, None, About(f"What to fit: {about.name}.", "[PATH]", ""), positional=True)
    options = flags_of(tasks.module(kind).Options, OPTIONS.get(kind, {}))
    return command_type(
        settings.__name__ + kind.title(),
        f"{text}\n\n{about.paths} Without it, a built-in signal is used.",
        [*flags_of(settings, SETTINGS), *own, *options, path],
    )


def settings_of(args: Any, settings: type[S]) -> S:
    """The settings out of all flags of a command."""
    return settings(**{field.name: getattr(args, field.name) for field in dataclasses.fields(settings)})  # pyright: ignore[reportArgumentType]


def options_of(args: Any, kind: str) -> Any:
    """The options that only ``kind`` takes, out of all flags of a command."""
    return settings_of(args, tasks.module(kind).Options)


def read(kind: str, path: str | None, options: Any) -> Task:
    """The signal that a PATH names, as a task.

    Raises:
        SoftmineError: there is none, or it cannot be read.
    """
    with _decoding() as report:
        return tasks.module(kind).read(path, options, report)


@contextmanager
def _decoding() -> Iterator[Report]:
    """A bar on the terminal, once something takes long enough to report how far it is."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: list[TaskID] = []

        def report(share: float) -> None:
            if not bars:
                bars.append(progress.add_task("decoding", total=1.0))
            progress.update(bars[0], completed=share)

        yield report


def stem(task: Task) -> str:
    """What files about a task are called."""
    return Path(task.describe()["name"]).stem
