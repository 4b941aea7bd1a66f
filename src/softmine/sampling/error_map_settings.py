"""The numbers of the error map, and the three sets of them that have names."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from softmine.domain import SoftmineError
from softmine.sampling.protocol import check_share
from softmine.sampling.softness import check_count, check_not_negative, check_softness

MAX_CELLS = 2**26


@dataclass(frozen=True)
class ErrorMapSettings:
    """Every number of the method; ``ERROR_MAP_PRESETS`` holds three sets of them."""

    cells: int = 2**14
    """About how many cells the map has, never more than the domain. 0 is instant-ngp's choice: 3.5^2 times the
    root of the samples between two rebuilds."""
    per_view: bool = False
    """Whether these are the cells, and the samples, of each place along the discrete axes, such as a view."""
    decay: float = 0.1
    """Share of a cell's old error that is kept when new samples have hit it; torch-ngp's."""
    alpha: float = 0.6
    """Softness of the mining: 0 is hard mining, 1 importance sampling of the uniform loss."""
    warmup: int = 1000
    """Updates over which alpha grows from 0 to its target."""
    uniform_share: float = 0.3
    """Share of the density that is uniform whatever the map says; between torch-ngp's 0 and instant-ngp's 0.5."""
    importance_floor: float = 0.01
    """Least error of a cell, in units of the mean error, so that every cell stays reachable."""
    interval: int = 1
    """Updates until samples are taken up into the map; those in between are collected."""
    growth: float = 1.0
    """The interval is multiplied by this each time."""
    start: float | None = None
    """Error of a cell before its first sample; None is the mean of the cells already seen."""


ERROR_MAP_PRESETS: dict[str, ErrorMapSettings] = {
    "soft": ErrorMapSettings(),
    "torch-ngp": ErrorMapSettings(
        per_view=True, alpha=0.0, uniform_share=0.0, importance_floor=0.0, start=1.0
    ),
    # Half of the samples are uniform, and of the others every hundredth.
    "instant-ngp": ErrorMapSettings(
        cells=0,
        per_view=True,
        decay=0.0,
        alpha=0.0,
        uniform_share=0.505,
        importance_floor=0.0,
        interval=128,
        growth=1.5,
    ),
}


def resolve_error_map(
    preset: str, changes: dict[str, Any], batch_size: int, views: int = 1
) -> ErrorMapSettings:
    """The preset's settings with some changed, and the number of cells settled, of all views together.

    Raises:
        SoftmineError: the preset or a setting is unknown, or a value is out of range.
    """
    if preset not in ERROR_MAP_PRESETS:
        raise SoftmineError(f"unknown preset '{preset}': choose one of {', '.join(ERROR_MAP_PRESETS)}")
    known = ErrorMapSettings.__dataclass_fields__
    unknown = ", ".join(sorted(set(changes) - set(known)))
    if unknown:
        raise SoftmineError(f"ErrorMap has no setting '{unknown}': choose from {', '.join(known)}")
    settings = replace(ERROR_MAP_PRESETS[preset], **changes)
    check_softness(settings.alpha, settings.warmup)
    check_share("uniform_share", settings.uniform_share)
    check_not_negative("importance_floor", settings.importance_floor)
    check_count("interval", settings.interval)
    if check_share("decay", settings.decay) == 1:
        raise SoftmineError(f"decay is {settings.decay}, but then the map never learns: give a share below 1")
    if check_not_negative("growth", settings.growth) < 1:
        raise SoftmineError(f"growth is {settings.growth}, but an interval cannot shrink: give 1 or more")
    if settings.start is not None:
        check_not_negative("start", settings.start)
    cells = check_count("cells", settings.cells, least=0)
    views = views if settings.per_view else 1
    cells = views * (cells or max(1, round(3.5**2 * math.sqrt(settings.interval * batch_size / views))))
    if cells > MAX_CELLS:
        raise SoftmineError(f"cells is {cells}, but an error map has at most {MAX_CELLS}")
    return replace(settings, cells=cells)
