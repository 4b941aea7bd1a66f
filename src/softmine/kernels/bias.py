"""What Adam's decays come to after any number of steps, by table: powers for every row would cost more than the rest."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np


class Decays(NamedTuple):
    """Float32 arrays of one length; entry t belongs to t steps, the last one to all that are longer.

    Attributes:
        first: 1 / (1 - beta1^t), the bias correction of the first moment.
        second: 1 / sqrt(1 - beta2^t), that of the second moment's root.
        mean: beta1^t.
        square: beta2^t.
        drift: how far Adam moves in t steps of which only the first has a gradient, in units of that first step:
            1 + r + ... + r^(t - 1) with r = beta1 / sqrt(beta2). Where r >= 1 that would run away, so it is 1.
    """

    first: np.ndarray
    second: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    drift: np.ndarray


class AdamRule(NamedTuple):
    """How ``RowAdam`` moves the rows of one table, but for the rate.

    Attributes:
        betas: decay of the two moments, each in [0, 1).
        epsilon: added to the root of the second moment.
        momentum_rows: rows of the table, from its first, that have a first moment; others follow their last gradient.
    """

    betas: tuple[float, float]
    epsilon: float
    momentum_rows: int


@functools.lru_cache(maxsize=64)
def decays(betas: tuple[float, float]) -> Decays:
    """The table of two betas in [0, 1): until both powers vanish in float32, at most a million entries."""
    slowest = max(betas)
    count = 2 if slowest <= 0 else math.ceil(math.log(2.0**-26) / math.log(slowest)) + 1
    steps = np.arange(1, min(max(count, 2), 1 << 20), dtype=np.float64)
    mean, square = betas[0] ** steps, betas[1] ** steps
    ratio = betas[0] / math.sqrt(betas[1]) if betas[1] > 0 else 1.0
    drift = (1 - ratio**steps) / (1 - ratio) if ratio < 1 else np.ones_like(steps)
    columns = (1 / (1 - mean), 1 / np.sqrt(1 - square), mean, square, drift)
    return Decays(*(np.concatenate(([1.0], column)).astype(np.float32) for column in columns))
