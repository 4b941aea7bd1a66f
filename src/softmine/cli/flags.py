"""The flags of commands: what the help says of every setting, and the dataclasses that the parser reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class About:
    """What the help says of a flag.

    Attributes:
        text: what it does.
        value: what stands for its value, as in ``--steps N``; None for one without.
        default: what is said of its default; None for the default itself.
    """

    text: str
    value: str | None = None
    default: str | None = None


@dataclass(frozen=True)
class Flag:
    """A flag or positional argument of a command; ``default`` is MISSING where it must be given."""

    name: str
    type: Any
    default: Any
    about: About
    positional: bool = False


SETTINGS = {
    "steps": About("End after this many steps.", "N", ""),
    "seconds": About(
        "End after this many seconds of training. With --steps too, whichever comes first; with neither, 60.",
        "S",
        "",
    ),
    "field": About("What learns the signal: hashgrid, siren or fourier.", "NAME"),
    "learning_rate": About("Adam's learning rate at the start.", "RATE", "(default: the field's own)"),
    "schedule": About(
        "Schedule of the learning rate: cosine decays to a twentieth over the budget, constant stays.", "NAME"
    ),
    "log2_table_size": About("Base-2 logarithm of the entries of each hashed level of a hash grid.", "N"),
    "snap": About(
        "Train at pixel centers, where quality is measured; --no-snap trains on the interpolation between them too."
    ),
    "evaluations": About("Evaluations spread evenly over the run (a few more come early).", "N"),
    "device": About("Where to train: auto, cpu, cuda or mps.", "NAME"),
    "sampler": About(
        "Where to train: auto, uniform, shuffled, langevin, resampling, error-map, multinomial, edges, hardest, "
        "evolutionary, ntk, expansive or quota-map, which auto is made of. Options follow a colon: "
        "langevin:alpha=0.8,prior=edges.",
        "NAME",
    ),
    "batch_size": About(
        "Coordinates per step.", "N", "(default: 2048, of rays 1024; with auto, that of the signal)"
    ),
    "seed": About("Random seed of the field's parameters and of the sampler.", "N"),
    "checkpoint_every": About("Seconds between checkpoints, by the wall clock; 0 writes only the last.", "S"),
    "samplers": About(
        "Samplers to compare; uniform is the baseline. Options follow a colon, a batch size of its own follows @: "
        "langevin:alpha=0.8,prior=edges@512. A number after / shortens that run's budget, learning rate and all: "
        "auto/2.5 trains 24 of 60 seconds.",
        "NAME ...",
    ),
    "batch_sizes": About(
        "Coordinates per step; every sampler without a batch size of its own runs at every size. auto has a default for "
        "the signal.",
        "N ...",
    ),
    "seeds": About("Repeat everything with this many seeds: 0, 1, ...", "K"),
    "tune_uniform": About(
        "Find the best batch size for uniform by a short search first; uniform then also runs at that size. With "
        "--seconds, every sampler's speed-up is measured against the uniform that ends highest, with --steps against "
        "that one."
    ),
}
"""Of what can be chosen about a run or a comparison."""

OPTIONS = {
    "image": {
        "full_tiff": About(
            "Of a picture of more than 268 million pixels, too, have fit write every pixel as a tiled TIFF, which takes "
            "minutes.",
            default="",
        ),
    },
    "shape": {
        "target": About(
            "What is learned: distance (signed, within the band) or occupancy (inside or not).", "NAME"
        ),
        "band": About(
            "Distance from the surface at which distances are cut off, in sides of the box.", "SIDES"
        ),
    },
    "video": {
        "downscale": About("Divide width and height by this before training.", "N"),
        "frames": About(
            "Frames to train on, from A up to but without B, counted from 0; either may be left out.",
            "A:B",
            "(default: all)",
        ),
    },
    "nerf": {
        "downscale": About("Average the photos over N x N pixels as they are read.", "N"),
        "background": About(
            "What transparent pictures are measured and shown before: white, as published figures are, or black.",
            "NAME",
        ),
        "test_views": About(
            "Measure on N test views only, spread evenly: to render all of many takes minutes at the end.",
            "N",
            "(default: all)",
        ),
    },
}
"""Of what only one kind of signal takes."""

PORT = Flag("port", int, 8080, About("Port to listen on; the next free one where it is taken.", "N"))
HOST = Flag(
    "host", str, "127.0.0.1", About("Address to listen on; 0.0.0.0 lets other machines in.", "ADDRESS")
)


def folder(name: str, text: str, value: str = "DIR") -> Flag:
    """A flag that takes a folder, and need not be given."""
    return Flag(name, Path | None, None, About(text, value, ""))


def flags_of(settings: type, about: Mapping[str, About]) -> list[Flag]:
    """The fields of a plain dataclass as flags."""
    hints = get_type_hints(settings)
    return [
        Flag(field.name, hints[field.name], field.default, about[field.name])
        for field in dataclasses.fields(settings)
    ]


def command_type(name: str, text: str, flags: Sequence[Flag]) -> type:
    """A dataclass of flags for the parser; ``text`` is what the command does, shown by ``--help``."""
    made = dataclasses.make_dataclass(name, [_field(flag) for flag in flags], frozen=True)
    made.__doc__ = text
    return made


def _field(flag: Flag) -> tuple[str, Any, Any]:
    about = flag.about
    shown = arg(metavar=about.value, help=about.text, help_behavior_hint=about.default)
    hint = Annotated[flag.type, Positional, shown] if flag.positional else Annotated[flag.type, shown]
    return (
        flag.name,
        hint,
        dataclasses.field() if flag.default is MISSING else dataclasses.field(default=flag.default),
    )
