"""What commands take: their flags, with what the help says of each, and the signal that a PATH names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from rich.console import Console
from rich.progress import Progress, TaskID
from tyro.conf import Positional, arg

from softmine import tasks
from softmine.errors import ArgumentError, SoftmineError
from softmine.registry import SAMPLERS
from softmine.runs.task import Report, Task
from softmine.signals.corruptions import COMMON
from softmine.training import devices
from softmine.training.settings import FieldSettings

S = TypeVar("S")
F = TypeVar("F", bound=FieldSettings)
Flag = tuple[str, Any, Any]
"""Name, annotated type and default of a flag or positional argument, as ``make_dataclass`` takes them."""


def about(text: str, value: str | None = None, default: str | None = None) -> Any:
    """What the help says of a flag.

    Args:
        text: what it does.
        value: what stands for its value, as in ``--steps N``; None for one without.
        default: what is said of its default; None for the default itself.
    """
    return arg(metavar=value, help=text, help_behavior_hint=default)


SETTINGS = {
    "steps": about("End after this many steps.", "N", ""),
    "seconds": about(
        "End after this many seconds of training. With --steps too, whichever comes first; with neither, 60.",
        "S",
        "",
    ),
    "field": about("What learns the signal: hashgrid, siren or fourier.", "NAME"),
    "learning_rate": about("Adam's learning rate at the start.", "RATE", "(default: the field's own)"),
    "schedule": about(
        "Schedule of the learning rate: cosine decays to a twentieth over the budget, constant stays.", "NAME"
    ),
    "log2_table_size": about("Base-2 logarithm of the entries of each hashed level of a hash grid.", "N"),
    "snap": about(
        "Train at pixel centers, where quality is measured; --no-snap trains on the interpolation between them too."
    ),
    "evaluations": about("Evaluations spread evenly over the run (a few more come early).", "N"),
    "device": about("Where to train: auto, cpu, cuda (cuda:1 is the second GPU) or mps.", "NAME"),
    "sampler": about(
        f"Where to train: {', '.join(SAMPLERS)}; auto is a quota-map with options for the signal. Options follow a colon: "
        "langevin:alpha=0.8,prior=edges.",
        "NAME",
    ),
    "batch_size": about(
        "Coordinates per step.", "N", "(default: 2048, of rays 1024; with auto, that of the signal)"
    ),
    "seed": about("Random seed of the field's parameters and of the sampler.", "N"),
    "checkpoint_every": about("Seconds between checkpoints, by the wall clock; 0 writes only the last.", "S"),
    "samplers": about(
        "Samplers to compare; uniform is the baseline. Options follow a colon, a batch size of its own follows @: "
        "langevin:alpha=0.8,prior=edges@512. A number after / shortens that run's budget, learning rate and all: "
        "auto/2.5 trains 24 of 60 seconds.",
        "NAME ...",
    ),
    "batch_sizes": about(
        "Coordinates per step; every sampler without a batch size of its own runs at every size. auto has a default for "
        "the signal.",
        "N ...",
    ),
    "seeds": about("Repeat everything with this many seeds: 0, 1, ...", "K"),
    "tune_uniform": about(
        "Find the best batch size for uniform by a short search first; uniform then also runs at that size. With "
        "--seconds, every sampler's speed-up is measured against the uniform that ends highest, with --steps against "
        "that one."
    ),
}
"""Of what can be chosen about a run or a comparison."""


def _corrupt(kind: str) -> Any:
    return about(
        f"Train on dirty data and measure against the clean: {', '.join(COMMON[kind])}. A seed of its own follows a "
        f"comma: {COMMON[kind][0]},seed=1.",
        "NAME=AMOUNT",
        "(default: train on the data as they are)",
    )


_NODATA = about(
    "Stored value that means that there is no data, instead of the one that the file declares; NaN means so anyway.",
    "VALUE",
    "(default: what the file declares)",
)

OPTIONS = {
    "audio": {"corrupt": _corrupt("audio")},
    "volume": {"corrupt": _corrupt("volume"), "nodata": _NODATA},
    "image": {
        "crop": about(
            "Fit only the middle of the image, of so many pixels a side or HEIGHTxWIDTH, rows first.",
            "SIZE",
            "(default: all of it)",
        ),
        "corrupt": _corrupt("image"),
        "nodata": _NODATA,
        "full_tiff": about(
            "Write every pixel of an image of more than 268 million, too, as a tiled TIFF, which takes minutes.",
            default="",
        ),
    },
    "shape": {
        "target": about(
            "What is learned: distance (signed, within the band) or occupancy (inside or not).", "NAME"
        ),
        "band": about(
            "Distance from the surface at which distances are cut off, in sides of the box.", "SIDES"
        ),
    },
    "video": {
        "downscale": about("Divide width and height by this before training.", "N"),
        "frames": about(
            "Frames to train on, from A up to but without B, counted from 0; either may be left out.",
            "A:B",
            "(default: all)",
        ),
    },
    "nerf": {
        "corrupt": _corrupt("nerf"),
        "downscale": about("Average the photos over N x N pixels as they are read.", "N"),
        "images": about(
            "Folder of the photos, where the scene's files lead out of its own folder or to another place, by name or as links.",
            "DIR",
            "(default: where the scene says)",
        ),
        "background": about(
            "What transparent images are measured and shown before: white, as published figures are, or black.",
            "NAME",
        ),
        "test_views": about(
            "Measure on N test views only, spread evenly: to render all of many takes minutes at the end.",
            "N",
            "(default: all)",
        ),
    },
}
"""Of what only one kind of signal takes."""

Port = Annotated[int, about("Port to listen on; the next free one where it is taken.", "N")]
Host = Annotated[str, about("Address to listen on; 0.0.0.0 lets other machines in.", "ADDRESS")]


def folder(name: str, text: str, value: str = "DIR") -> Flag:
    """A flag that takes a folder, and need not be given."""
    return name, Annotated[Path | None, about(text, value, "")], None


def kind_command(
    settings: type, kind: str, text: str, own: Sequence[Flag], without: Sequence[str] = ()
) -> type:
    """The flags of a command for one kind of signal: all settings, its own, those that only the kind takes, and PATH.

    Args:
        settings: what can be chosen whatever the kind.
        kind: of signal.
        text: what the command does, shown by ``--help``.
        own: further flags of the command.
        without: options of the kind that the command chooses itself.
    """
    about_kind, options = tasks.KINDS[kind], tasks.module(kind).Options
    path = Annotated[str | None, Positional, about(f"What to fit: {about_kind.name}.", "[PATH]", "")]
    flags = [
        *_flags_of(settings, SETTINGS),
        *own,
        *_flags_of(options, OPTIONS.get(kind, {}), without),
        ("path", path, None),
    ]
    made = dataclasses.make_dataclass(settings.__name__ + kind.title(), flags, frozen=True)
    made.__doc__ = f"{text}\n\n{about_kind.paths} Without it, a built-in signal is used."
    return made


def _flags_of(settings: type, texts: Mapping[str, Any], without: Sequence[str] = ()) -> list[Flag]:
    """The fields of a plain dataclass as flags."""
    hints = get_type_hints(settings)
    return [
        (
            field.name,
            Annotated[hints[field.name], texts[field.name]],
            dataclasses.field(default=field.default),
        )
        for field in dataclasses.fields(settings)
        if field.name not in without
    ]


def checked_settings(args: Any, kind: type[F]) -> F:
    """The settings of a run or comparison out of all flags of a command; raises SoftmineError where one is out of range."""
    settings = _settings_of(args, kind)
    settings.check()
    devices.choose(settings.device)
    return settings


def _settings_of(args: Any, settings: type[S]) -> S:
    return settings(**{field.name: getattr(args, field.name) for field in dataclasses.fields(settings)})  # pyright: ignore[reportArgumentType]


def options_of(args: Any, kind: str) -> Any:
    """The options that only ``kind`` takes, out of all flags of a command."""
    return _settings_of(args, tasks.module(kind).Options)


def read(kind: str, path: str | None, options: Any) -> Task:
    """The signal that a PATH names, as a task.

    Raises:
        SoftmineError: there is none, or it cannot be read.
    """
    try:
        with _decoding() as report:
            return tasks.module(kind).read(path, options, report)
    except ArgumentError:
        raise
    except SoftmineError as error:
        other = tasks.kind_of(path or "")
        if other in (kind, None) or not Path(str(path)).is_file():
            raise
        # The words after softmine fit, compare and view are the same.
        raise SoftmineError(f"{error} (for {tasks.KINDS[str(other)].name}: softmine fit {other})") from error


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


def default_folder(*words: str) -> Path:
    """A folder under ``runs/`` that does not exist yet, named by ``words`` and the time."""
    # Names of files can be long, and more is added to them here.
    name = "-".join([*(word[:60] for word in words), datetime.now().strftime("%Y%m%d-%H%M%S")])
    folder, count = Path("runs") / name, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{name}-{count}"
    return folder
