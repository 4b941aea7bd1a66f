"""How the reports write numbers, times, settings and machines."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ParamSpec

from softmine import formatting
from softmine.study.json_fields import number
from softmine.study.results import machine

P = ParamSpec("P")

NOTHING, INFINITE = "\u2013", "\u221e"
"""Stand where a figure is missing, and for the PSNR of an exact fit."""
MINUS, TIMES = "\u2212", "\u00d7"
GLUE = "\u00a0"
"""A space at which no line breaks, between a number and its unit."""

FIELDS = {"hashgrid": "hash grid", "siren": "SIREN", "fourier": "Fourier features"}

# Key -> (group, name). What is not listed is shown folded, under a name made from its key.
SETTINGS = {
    "sampler": ("Sampling", "Sampler"),
    "samplers": ("Sampling", "Samplers"),
    "steps": ("Training", "Steps, at most"),
    "seconds": ("Training", "Training time, at most"),
    "batch_size": ("Training", "Samples per step"),
    "batch_sizes": ("Training", "Samples per step"),
    "learning_rate": ("Training", "Learning rate"),
    "schedule": ("Training", "Learning rate schedule"),
    "seed": ("Training", "Seed"),
    "seeds": ("Training", "Seeds"),
    "tune_uniform": ("Training", "Batch size tuned for uniform"),
    "field": ("Field", "Kind"),
    "parameters": ("Field", "Parameters"),
    "log2_table_size": ("Field", "Table size, log2"),
}
GROUPS = ("Sampling", "Training", "Field")


def typeset(text: str) -> str:
    """A number's plain text as pages show it: true signs, and no line breaks between a number and its unit."""
    if text == formatting.MISSING:
        return NOTHING
    text = re.sub(r"-(?=[\d.i])", MINUS, text).replace("inf", INFINITE).replace(" ", GLUE)
    return re.sub(r"(?<=\d)x$", f"{GLUE}{TIMES}", text)


def _typeset(write: Callable[P, str]) -> Callable[P, str]:
    @functools.wraps(write)
    def written(*args: P.args, **options: P.kwargs) -> str:
        return typeset(write(*args, **options))

    return written


compact = _typeset(formatting.compact)
count = _typeset(formatting.count)
decibels = _typeset(formatting.decibels)
duration = _typeset(formatting.duration)
fixed = _typeset(formatting.fixed)
percent = _typeset(formatting.percent)
signed = _typeset(formatting.signed)
significant = _typeset(formatting.significant)
speedup = _typeset(formatting.speedup)
several = formatting.several


def moment(value: object) -> str:
    """An ISO 8601 time as ``22 November 2026, 09:06 UTC``; other text as it is."""
    try:
        when = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return "" if value is None else str(value)
    zone = when.tzname() or ""
    return f"{when.day} {when:%B %Y, %H:%M} {zone}".strip()


def size(shape: Sequence[int], unit: str = "pixels") -> str:
    """An array's shape as people say it, channels last: ``4,408 × 4,344 pixels, 1 channel``."""
    if len(shape) < 2:
        return f" {TIMES} ".join(map(count, shape))
    *cells, channels = shape
    if unit == "pixels":
        cells.reverse()  # width before height, as people say it
    ending = "channel" if channels == 1 else "channels"
    return f"{f' {TIMES} '.join(map(count, cells))} {unit}, {count(channels)} {ending}"


def options(sampler: str) -> list[str]:
    """The options of a sampler: ``langevin:alpha=0.8,prior=edges`` has two."""
    return [option.strip() for option in sampler.partition(":")[2].split(",") if option.strip()]


def in_prose(sampler: str) -> str:
    """A sampler in a sentence: ``langevin (alpha=0.8, prior=edges)``."""
    name = sampler.partition(":")[0]
    return f"{name} ({', '.join(options(sampler))})" if options(sampler) else name


def short_names(samplers: Iterable[str]) -> dict[str, str]:
    """A short name for every sampler: without the options that its namesakes share.

    Example:
        >>> list(short_names(["uniform", "edges:a=1,b=2", "edges:b=2"]).values())
        ['uniform', 'edges a=1', 'edges']
    """
    namesakes: dict[str, list[str]] = {}
    for sampler in dict.fromkeys(samplers):
        namesakes.setdefault(sampler.partition(":")[0], []).append(sampler)
    names = {}
    for name, group in namesakes.items():
        shared = set.intersection(*(set(options(sampler)) for sampler in group))
        for sampler in group:
            own = [option for option in options(sampler) if option not in shared]
            names[sampler] = " ".join([name, *own])
    return names


def field_name(value: object) -> str:
    """A field's name in prose."""
    return FIELDS.get(str(value), str(value)) if value else ""


def machines(devices: Iterable[object]) -> str:
    """The devices that a run was trained on, one after the other, in words."""
    return _in_turn(map(machine, devices))


def versions(values: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of a package's name and its version; where that changed with a resumption, one after the other."""
    found: dict[str, list[str]] = {}
    for value in values:
        for name, version in value.items():
            found.setdefault(str(name), []).append(str(version))
    return [(name, _in_turn(known)) for name, known in found.items()]


def _in_turn(names: Iterable[str]) -> str:
    return ", then ".join(name for name, _ in itertools.groupby(names))


def setting(key: str, value: object) -> str:
    """One setting's value in words."""
    if value is None:
        absent = {"steps": "no limit", "seconds": "no limit", "learning_rate": "the field's own"}
        return absent.get(key, "not set")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("seconds", "checkpoint_every") and number(value) is not None:
        return duration(number(value))
    if key == "field":
        return field_name(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(value) if key == "seed" else count(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(setting(key, item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {setting(str(name), item)}" for name, item in value.items())
    return str(value)


def settings(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Settings for display: the groups every reader wants, then the rest to fold away.

    Returns:
        groups: ``{"name", "rows"}`` each, with rows of (key, name, value).
        rest: rows of the settings that are not common knowledge.
    """
    shown: dict[str, list[tuple[str, str, str]]] = {group: [] for group in GROUPS}
    rest = []
    for key, (group, name) in SETTINGS.items():
        if key in values:
            shown[group].append((key, name, setting(key, values[key])))
    for key, value in sorted(values.items()):
        if key not in SETTINGS:
            name = str(key).replace("_", " ")
            rest.append((str(key), name[:1].upper() + name[1:], setting(str(key), value)))
    return [{"name": name, "rows": rows} for name, rows in shown.items() if rows], rest
