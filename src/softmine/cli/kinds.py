"""Commands for every kind of signal: their flags, and the signal that a PATH names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID
from tyro.conf import Positional, arg

from softmine import tasks
from softmine.training.task import Report, Task

T = TypeVar("T")


def command_type(base: type[T], kind: str, text: str, path_help: str) -> type[T]:
    """The dataclass of one command: the fields of ``base``, the flags that only ``kind`` takes, and PATH.

    Args:
        base: flags that the command takes whatever the kind.
        kind: of signal.
        text: what the command does, shown by ``--help``.
        path_help: what PATH is.
    """
    path = Annotated[str | None, Positional, arg(metavar="[PATH]", help=path_help, help_behavior_hint="")]
    made = dataclasses.make_dataclass(
        base.__name__ + kind.title(),
        [("path", path, dataclasses.field(default=None))],
        # Both as bases, because the parser looks for a flag's help in the class that it is written in.
        bases=(tasks.module(kind).Options, base),
        frozen=True,
    )
    made.__doc__ = f"{text}\n\n{tasks.KINDS[kind].paths} Without it, a built-in signal is used."
    return made


def options_of(args: Any, kind: str) -> Any:
    """The flags that only ``kind`` takes, out of all flags of a command."""
    options = tasks.module(kind).Options
    return options(**{field.name: getattr(args, field.name) for field in dataclasses.fields(options)})


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
