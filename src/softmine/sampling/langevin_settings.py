"""The numbers of Langevin soft mining, and the two sets of them that have names."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import Any

from softmine.domain import SoftmineError
from softmine.sampling.protocol import check_share


@dataclass(frozen=True)
class LangevinSettings:
    """Every number of the method; ``PRESETS`` holds two sets of them."""

    alpha: float = 0.6
    """Softness of the mining: 0 is hard mining, 1 importance sampling of the uniform loss."""
    warmup: int = 1000
    """Updates over which alpha grows from 0 to its target."""
    drift: float = 2.0
    """Step a along the score, in native units squared (pixels^2). a = b^2 / 2 samples Q itself. In the preset
    published-code it has that code's units."""
    noise: float = 2.0
    """Standard deviation b of the random step, in native units (pixels); likewise."""
    uniform_share: float = 0.1
    """Share of the batch drawn uniformly at every step."""
    reinit_share: float = 0.1
    """Share of the batch, the lowest in importance of the chain, drawn anew at every step."""
    importance_floor: float = 0.01
    """Q is sqrt(Q^2 + floor^2), the floor in units of the batch's mean Q: keeps log Q smooth where Q touches 0.
    In the preset published-code it is absolute."""
    weight_min: float = 0.0
    """Least loss weight."""
    weight_max: float = math.inf
    """Greatest loss weight."""
    loss_power: float = 2.0
    """The loss grows as this power of the importance: 2 for squared error, 1 for absolute error."""


PRESETS: dict[str, LangevinSettings] = {
    "paper": LangevinSettings(),
    "published-code": LangevinSettings(drift=20.0, noise=0.02, importance_floor=2.0**-10, weight_min=0.2),
}


def resolve(preset: str, changes: dict[str, Any]) -> LangevinSettings:
    """The preset's settings with some changed.

    Raises:
        SoftmineError: the preset or a setting is unknown, or a value is out of range.
    """
    if preset not in PRESETS:
        raise SoftmineError(f"unknown preset '{preset}': choose one of {', '.join(PRESETS)}")
    known = LangevinSettings.__dataclass_fields__
    unknown = ", ".join(sorted(set(changes) - set(known)))
    if unknown:
        raise SoftmineError(f"Langevin has no setting '{unknown}': choose from {', '.join(known)}")
    for name, value in changes.items():
        number = float(value) if isinstance(value, numbers.Real) else math.nan
        if not number >= 0:
            raise SoftmineError(f"{name} is {value}, but it must be a number, not negative")
        if math.isinf(number) and name != "weight_max":
            raise SoftmineError(f"{name} is {value}, but it must be finite")
        if name == "warmup" and (number != int(number) or number >= 2**31):
            raise SoftmineError(f"warmup is {value}, but it must be a whole number of steps below 2^31")
    settings = replace(PRESETS[preset], **changes)
    check_share("uniform_share", settings.uniform_share)
    check_share("reinit_share", settings.reinit_share)
    if settings.loss_power == 0:
        raise SoftmineError(
            "loss_power is 0, but it must be positive: 2 for squared error, 1 for absolute error"
        )
    if settings.weight_min > settings.weight_max:
        raise SoftmineError(f"weight_min {settings.weight_min} is above weight_max {settings.weight_max}")
    return settings
