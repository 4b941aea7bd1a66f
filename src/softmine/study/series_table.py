"""The table of a study of several comparisons, as Markdown that is readable as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from softmine.formatting import MISSING, budget, count, fixed, percent, signed, speedup
from softmine.study.results import machine
from softmine.study.series import BASELINES, SHARES, Gain, Moment, Series, SeriesLine


def markdown(series: Series) -> str:
    """What was compared in a line, the table, and a line that says what its figures are."""
    rows = _sizes(series) if series.study == "sizes" else _moments(series)
    return "\n".join([_title(series), "", *_table(rows), "", _legend(series), ""])


def _title(series: Series) -> str:
    settings = series.settings
    seconds, steps = settings.get("seconds"), settings.get("steps")
    field = str(settings.get("field"))
    if field == "hashgrid":
        field += f" 2^{settings.get('log2_table_size')}"
    seeds = settings.get("seeds")
    words = [
        series.signal.name,
        field,
        budget(seconds, None if seconds else steps),
        f"{seeds} seed{'s' if seeds != 1 else ''}",
    ]
    ending = "" if series.complete else " It is not complete."
    return f"**{', '.join(words)}** ({machine(series.device)}; `{series.command}`).{ending}"


def _legend(series: Series) -> str:
    equal = "time" if series.axis == "seconds" else "steps"
    spread = "PSNR in dB, median of the seeds, ± half of their range"
    if series.study == "sizes":
        return f"{spread}; gains and speed-ups at equal {equal}, medians of pairs of runs of one seed, in brackets the lowest."
    return (
        f"{spread}, against the clean data, at shares of the budget ({equal}) and at each run's best evaluation (and where "
        "that is); in brackets the difference to the better of uniform and shuffled at that moment (of those two, to the other), median of pairs of runs of "
        "one seed."
    )


def _moments(series: Series) -> list[list[str]]:
    rows = [["data", "sampler, batch", *(percent(share) for share in SHARES), "best"]]
    for part in series.parts:
        for line in _of(series, part.name):
            name = f"{line.sampler}, {count(line.batch_size)}"
            if line.diverged:
                name += f" ({line.diverged} diverged)"
            cells = [_cell(moment) for moment in line.moments] or [MISSING] * (len(SHARES) + 1)
            rows.append([part.name, name, *cells])
    return rows


def _sizes(series: Series) -> list[list[str]]:
    over = [f"over {name}{what}" for what in ("", ", speed-up") for name in BASELINES]
    rows = [["size", "sampler, batch", "PSNR", *over]]
    for part in series.parts:
        for line in _of(series, part.name):
            end = next((moment for moment in line.moments if moment.share == 1 and not moment.best), None)
            factors = {found.baseline: speedup(found.factor) for found in line.speedups}
            rows.append(
                [
                    part.name,
                    f"{line.sampler}, {count(line.batch_size)}",
                    _level(end) if end else MISSING,
                    *(_gain(end.gain(name) if end else None) for name in BASELINES),
                    *(factors.get(name, MISSING) for name in BASELINES),
                ]
            )
    return rows


def _of(series: Series, part: str) -> list[SeriesLine]:
    return [line for line in series.lines if line.part == part]


def _level(moment: Moment) -> str:
    half = (moment.high - moment.low) / 2
    return fixed(moment.psnr, 2) + (f" ± {fixed(half, 2)}" if 0 < half < math.inf else "")


def _cell(moment: Moment) -> str:
    where = f" at {percent(moment.share)}" if moment.best else ""
    gain = moment.gain()
    return _level(moment) + where + (f" ({signed(gain.median)})" if gain else "")


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return MISSING
    return signed(gain.median) + (f" ({signed(gain.low)})" if gain.low < gain.high else "")


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(
            _padded(cell, width, place) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = (
        "|"
        + "|".join(
            "-" * (width + 2) if place < 2 else "-" * (width + 1) + ":" for place, width in enumerate(widths)
        )
        + "|"
    )
    return [lines[0], rule, *lines[1:]]


def _padded(cell: str, width: int, place: int) -> str:
    """Names to the left, figures to the right."""
    return cell.ljust(width) if place < 2 else cell.rjust(width)
