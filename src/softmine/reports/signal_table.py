"""What the pages of runs and of comparisons alike say of the signal."""

from __future__ import annotations

from typing import Any

from softmine.reports import text
from softmine.study.results import Described


def signal_context(described: Described) -> dict[str, Any]:
    """The signal in the context of a page.

    Returns:
        ``title``, its name; ``size``, with how much holds no data; ``corrupted``; ``notes``, what was chosen, converted or
        left out in reading; and ``signal``, rows of (key, name, value) for a table.
    """
    signal = described.signal
    size, gaps = text.size(signal.shape, described.unit), _without_data(described)
    rows = [
        ("name", "Name", signal.name),
        ("path", "File", signal.path or ("built in" if signal.fingerprint else text.NOTHING)),
        ("shape", "Size", size),
        ("dtype", "Stored as", signal.dtype or text.NOTHING),
        ("value_range", "Counts as 0 to 1", _range(signal.value_range)),
        ("valid", "Without data", gaps or "none"),
        ("notes", "Notes", "; ".join(signal.notes) or "none"),
        ("corruption", "Corrupted", signal.corruption.text if signal.corruption else "no"),
        ("fingerprint", "Fingerprint", signal.fingerprint or text.NOTHING),
    ]
    return {
        "title": signal.name,
        "size": f"{size}, {gaps} without data" if gaps else size,
        "corrupted": signal.corruption is not None,
        "notes": signal.notes,
        "signal": rows,
    }


def _without_data(described: Described) -> str:
    """How much of a signal holds no data, as ``9.2% of its pixels``; empty where all of it does."""
    signal = described.signal
    if signal.valid is None or signal.cells is None or not signal.has_gaps:
        return ""
    return f"{100 - 100 * signal.valid / signal.cells:.2g}% of its {described.unit}"


def _range(value_range: tuple[float, float] | None) -> str:
    if value_range is None:
        return text.NOTHING
    return text.typeset(" to ".join(f"{value:.6g}" for value in value_range))
