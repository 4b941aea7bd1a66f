"""How the reports write numbers, times, settings and machines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

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


def number(value: object) -> float | None:
    """``value`` as a finite float; ``None`` for anything else (text, NaN, a truth value)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> list[Any]:
    """``value`` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def count(value: object) -> str:
    """A whole number with thousands separated: ``5,000``."""
    amount = number(value)
    return NOTHING if amount is None else f"{round(amount):,}"


def compact(value: object) -> str:
    """A large number in three figures: ``1.23 M``."""
    amount = number(value)
    if amount is None:
        return NOTHING
    # Bounds lie where three figures would round up to the next suffix.
    for bound, size, suffix in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(amount) >= bound:
            return f"{significant(amount / size)} {suffix}"
    return count(amount)


def fixed(value: object, digits: int = 1) -> str:
    """A number with a fixed count of decimals and a true minus sign."""
    if isinstance(value, float) and math.isinf(value):
        return INFINITE if value > 0 else MINUS + INFINITE
    amount = number(value)
    if amount is None:
        return NOTHING
    text = f"{amount:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def significant(value: object) -> str:
    """A number in three figures, never with an exponent: ``0.556``, ``39.1``, ``2,130``."""
    amount = number(value)
    if amount is None:
        return NOTHING
    if abs(amount) >= 1000:
        return count(float(f"{amount:.3g}"))
    return f"{amount:.3g}" if abs(amount) >= 1e-4 else fixed(amount)


def signed(value: object, digits: int = 2) -> str:
    """A difference, always with its sign: ``+0.40``."""
    text = fixed(value, digits)
    plain = text == NOTHING or text.startswith(MINUS) or text.strip("0.") == ""
    return text if plain else f"+{text}"


def decibel(value: object, digits: int = 1) -> str:
    """A level with its unit: ``31.9 dB``."""
    text = fixed(value, digits)
    return text if text == NOTHING else f"{text}{GLUE}dB"


def duration(value: object) -> str:
    """A time span in the units a person would use: ``48 s``, ``12 min 5 s``."""
    seconds = number(value)
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1e3:.0f}{GLUE}ms" if seconds > 0 else f"0{GLUE}s"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + f"{GLUE}s"
    whole = round(seconds)
    if whole <= 120:
        return f"{whole}{GLUE}s"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return GLUE.join(f"{amount}{GLUE}{unit}" for amount, unit in parts if amount)


def moment(value: object) -> str:
    """An ISO 8601 time as ``22 November 2026, 09:06 UTC``; other text as it is."""
    try:
        when = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return "" if value is None else str(value)
    zone = when.tzname() or ""
    return f"{when.day} {when:%B %Y, %H:%M} {zone}".strip()


def size(shape: object, unit: str = "pixels") -> str:
    """An array's shape as people say it, channels last: ``4,408 × 4,344 pixels, 1 channel``."""
    sizes = [number(item) for item in listing(shape)]
    if len(sizes) < 2 or None in sizes:
        return f" {TIMES} ".join(count(item) for item in sizes)
    *cells, channels = sizes
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


def machine(device: object) -> str:
    """The device in words: ``AMD EPYC (CPU, 2 threads)``."""
    details = mapping(device)
    kind = str(details.get("type") or "").upper()
    threads = number(details.get("threads"))
    extra = [kind] if kind else []
    if threads is not None and kind == "CPU":
        extra.append(f"{count(threads)} thread" + ("" if threads == 1 else "s"))
    name = str(details.get("name") or "")
    if not name:
        return ", ".join(extra) or "an unnamed machine"
    return f"{name} ({', '.join(extra)})" if extra else name


def machines(devices: Iterable[object]) -> str:
    """The devices that a run was trained on, one after the other, in words."""
    names = [machine(device) for device in devices]
    return ", then ".join(name for name, before in zip(names, [None, *names], strict=False) if name != before)


def several(amount: int, one: str, many: str | None = None) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def versions(values: Iterable[object]) -> list[tuple[str, str]]:
    """Pairs of a package's name and its version; where that changed with a resumption, one after the other."""
    found: dict[str, list[str]] = {}
    for value in values:
        for name, version in mapping(value).items():
            known = found.setdefault(str(name), [])
            if str(version) not in known[-1:]:
                known.append(str(version))
    return [(name, ", then ".join(known)) for name, known in found.items()]


def setting(key: str, value: object) -> str:
    """One setting's value in words."""
    if value is None:
        absent = {"steps": "no limit", "seconds": "no limit", "learning_rate": "the field's own"}
        return absent.get(key, "not set")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("seconds", "checkpoint_every") and number(value) is not None:
        return duration(value)
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
