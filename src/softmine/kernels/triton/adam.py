"""Adam for ordinary parameters, eight of them a launch; rate, decay and steps are the device's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from softmine.kernels.touched_rows import GROWTH, AdamRule
from softmine.kernels.triton.backend import rate_of
from softmine.kernels.triton.kernels import _first_beta, _power, compiled
from softmine.kernels.triton.launch import launch

AT_ONCE = 8
"""Parameters of a launch: the kernel has as many sets of pointers."""
BLOCK = 256


class Moments(NamedTuple):
    """One parameter and what a step needs of it: all float32 and contiguous, ``step`` () steps so far."""

    parameter: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor


def update(each: Sequence[Moments], rate: float | Tensor, rule: AdamRule, clear: bool = False) -> None:
    """One step of Adam on parameters of any shapes, in place.

    Args:
        each: the parameters; their ``step`` counts this one already.
        rate: learning rate; as a tensor () on the device a recorded graph sees it change.
        rule: how far and how smoothly; ``momentum_rows`` is not looked at.
        clear: leave the gradients zero.
    """
    rate, factor = rate_of(rate, rule.factor, each[0].parameter)
    memory = rule.memory or 0
    for first in range(0, len(each), AT_ONCE):
        some = list(each[first : first + AT_ONCE])
        counts = [item.parameter.numel() for item in some]
        missing = AT_ONCE - len(some)
        pointers = [tensor for item in some + missing * some[:1] for tensor in item]
        launch(
            adam, (len(some), -(-max(counts) // BLOCK)),
            *pointers, *counts, *[0] * missing, rate, factor, *map(float, rule.betas), float(rule.epsilon), memory,
            float(GROWTH), CLEAR=clear, BLOCK=BLOCK,
        )  # fmt: skip


@compiled
def _adam(
    parameter, gradient, mean, square, step, count, rate, factor, beta1, beta2, epsilon, memory, growth,
    CLEAR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step of Adam on a block of one parameter."""
    item = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = item < count
    now = tl.load(step).to(tl.float32)
    first = _first_beta(beta1, now - 1, memory, growth)
    slope = tl.load(gradient + item, mask=inside, other=0.0)
    smooth = first * tl.load(mean + item, mask=inside, other=0.0) + (1.0 - first) * slope
    spread = beta2 * tl.load(square + item, mask=inside, other=0.0) + (1.0 - beta2) * slope * slope
    tl.store(mean + item, smooth, mask=inside)
    tl.store(square + item, spread, mask=inside)
    size = tl.load(rate) * factor / (1.0 - _power(first, now))
    root = tl.sqrt(spread) / tl.sqrt(1.0 - _power(beta2, now))
    value = tl.load(parameter + item, mask=inside, other=0.0)
    tl.store(parameter + item, value - size * smooth / (root + epsilon), mask=inside)
    if CLEAR:
        tl.store(gradient + item, tl.zeros((BLOCK,), tl.float32), mask=inside)


@compiled
def adam(
    p0, g0, m0, s0, t0, p1, g1, m1, s1, t1, p2, g2, m2, s2, t2, p3, g3, m3, s3, t3,
    p4, g4, m4, s4, t4, p5, g5, m5, s5, t5, p6, g6, m6, s6, t6, p7, g7, m7, s7, t7,
    n0, n1, n2, n3, n4, n5, n6, n7, rate, factor, beta1, beta2, epsilon, memory, growth,
    CLEAR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step of Adam on up to eight parameters p of n numbers, with gradients g, moments m and s, and steps t.

    The first number of a program says which parameter it works on, the second on which block of it.
    """
    which = tl.program_id(0)
    if which == 0:
        _adam(p0, g0, m0, s0, t0, n0, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    elif which == 1:
        _adam(p1, g1, m1, s1, t1, n1, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    elif which == 2:
        _adam(p2, g2, m2, s2, t2, n2, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    elif which == 3:
        _adam(p3, g3, m3, s3, t3, n3, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    elif which == 4:
        _adam(p4, g4, m4, s4, t4, n4, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    elif which == 5:
        _adam(p5, g5, m5, s5, t5, n5, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    elif which == 6:
        _adam(p6, g6, m6, s6, t6, n6, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
    else:
        _adam(p7, g7, m7, s7, t7, n7, rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, BLOCK)
