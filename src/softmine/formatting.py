"""How numbers are written: plain text for terminals, logs and Markdown; pages typeset the same texts."""

from __future__ import annotations

import math

Number = int | float

MISSING = "-"
"""Stands where a figure is missing."""


def count(value: Number | None) -> str:
    """A whole number with thousands separated: ``5,000``."""
    return MISSING if value is None else f"{round(value):,}"


def compact(value: Number | None) -> str:
    """A large number in three figures: ``1.23 M``."""
    if value is None:
        return MISSING
    # Bounds lie where three figures would round up to the next suffix.
    for bound, size, suffix in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= bound:
            return f"{significant(value / size)} {suffix}"
    return count(value)


def fixed(value: Number | None, digits: int = 1) -> str:
    """A number with ``digits`` decimals; ``inf`` for the PSNR of an exact fit; a zero has no minus."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if text.startswith("-") and float(text) == 0 else text


def significant(value: Number | None) -> str:
    """A number in three figures, never with an exponent: ``0.556``, ``39.1``, ``2,130``."""
    if value is None:
        return MISSING
    if abs(value) >= 1000:
        return count(float(f"{value:.3g}"))
    return f"{value:.3g}" if abs(value) >= 1e-4 else fixed(value)


def signed(value: Number | None, digits: int = 2) -> str:
    """A difference, always with its sign: ``+0.40``."""
    text = fixed(value, digits)
    return text if text.startswith("-") else f"+{text}"


def decibels(value: Number | None, digits: int = 2) -> str:
    """A level with its unit: ``31.90 dB``."""
    return MISSING if value is None else f"{fixed(value, digits)} dB"


def level(mean: Number | None, deviation: Number | None, missing: str = MISSING) -> str:
    """A mean in two decimals, and its standard deviation where there is one: ``31.57 ± 0.10``."""
    if mean is None:
        return missing
    return fixed(mean, 2) + (f" ± {fixed(deviation, 2)}" if deviation else "")


def percent(share: Number | None, *, sign: bool = False) -> str:
    """A share in whole percent: ``42%``, or ``+25%``."""
    if share is None:
        return MISSING
    return f"{signed(100 * share, 0) if sign else fixed(100 * share, 0)}%"


def speedup(factor: Number | None) -> str:
    """How many times faster a level is reached: ``2.60x``; ``never`` where it is not."""
    return "never" if factor is None else f"{fixed(factor, 2)}x"


def duration(seconds: Number | None) -> str:
    """A time span in the units a person would use: ``48 s``, ``12 min 5 s``."""
    if seconds is None:
        return MISSING
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms" if seconds > 0 else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if not math.isfinite(seconds):
        return "forever"
    whole = round(seconds)
    if whole <= 120:
        return f"{whole} s"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)


def clock(seconds: Number) -> str:
    """A time span as a counter shows it, of one width for long: ``42 s``, ``3:20``, ``1:05:00``."""
    if not seconds < 1e9:
        return "forever"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def budget(seconds: Number | None, steps: Number | None) -> str:
    """What a run may spend: ``60 s`` or ``5,000 steps``."""
    return f"{count(steps)} steps" if steps else f"{seconds or 0.0:g} s"


def several(amount: int, one: str, many: str | None = None) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def printable(text: str) -> str:
    r"""Text whose control characters, which names in files may hold and terminals obey, are written out; line ends stay.

    Example:
        >>> print(printable("a\x1b[2J.png"))
        a\x1b[2J.png
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )
