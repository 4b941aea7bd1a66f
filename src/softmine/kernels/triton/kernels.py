"""The GPU kernels in Triton: encode, its two gradients, and Adam on touched rows.

A program works on a block of points and one level (the gradient of coordinates: on all levels), or on a block of
touched rows. Sums of several points in one row are atomic, so their last bits differ from run to run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from softmine.kernels.touched_rows import STAMPS

VARYING = frozenset(
    (
        *(
            "points",
            "levels",
            "table_size",
            "dense_levels",
            "count",
            "momentum_rows",
            "memory",
            "number",
            "period",
        ),
        *(f"{name}{index}" for name in "nm" for index in range(8)),
    )
)
"""Numbers that differ between batches, fields and steps. Triton would compile a version for 1 and one for multiples of 16, in the middle of
a run; no memory access here gains by them."""
LAST_STAMP = tl.constexpr(STAMPS - 1)


def compiled(function: Callable) -> Any:
    """``triton.jit``, of the function itself where a type checker's import hook has wrapped it."""
    function = inspect.unwrap(function)
    varying = [name for name in inspect.signature(function).parameters if name in VARYING]
    return triton.jit(do_not_specialize=varying)(function)


@compiled
def nothing():
    """To be launched first, see ``trial.py``."""


@compiled
def _axis(coords, point, inside, resolutions, level, axis, DIM: tl.constexpr):
    """Coordinate, cell and position in it along one axis, and the axis's resolution."""
    x = tl.load(coords + point * DIM + axis, mask=inside, other=0.0)
    resolution = tl.load(resolutions + level * DIM + axis).to(tl.int32)
    # Comparisons, not minimum and maximum, so that NaN sits in cell 0.
    clamped = tl.where(x > 0.0, x, 0.0)
    clamped = tl.where(clamped < 1.0, clamped, 1.0)
    position = clamped * resolution.to(tl.float32)
    cell = position.to(tl.int32)
    cell = tl.where(cell < resolution, cell, resolution - 1)
    fraction = tl.where(x == x, position - cell.to(tl.float32), x)
    return x, cell, fraction, resolution


@compiled
def _corner(
    coords, point, inside, resolutions, offsets, level, table_size, dense,
    corner: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """Table row and weight of one corner of each point's cell."""
    weight = tl.full(point.shape, 1.0, tl.float32)
    flat = tl.zeros(point.shape, tl.uint32)
    mixed = tl.zeros(point.shape, tl.uint32)
    stride = tl.full((1,), 1, tl.uint32)
    for axis in tl.static_range(DIM):
        _, cell, fraction, resolution = _axis(coords, point, inside, resolutions, level, axis, DIM)
        if (corner >> axis) & 1:
            weight *= fraction
            cell += 1
        else:
            weight *= 1.0 - fraction
        vertex = cell.to(tl.uint32)
        flat += vertex * stride
        stride *= (resolution + 1).to(tl.uint32)
        if axis == 0:
            mixed ^= vertex
        elif axis == 1:
            mixed ^= vertex * tl.full((1,), 2654435761, tl.uint32)
        elif axis == 2:
            mixed ^= vertex * tl.full((1,), 805459861, tl.uint32)
        else:
            mixed ^= vertex * tl.full((1,), 3674653429, tl.uint32)
    row = tl.where(dense, flat, mixed & (table_size - 1).to(tl.uint32)).to(tl.int64)
    return row + tl.load(offsets + level), weight


@compiled
def encode(
    coords, table, resolutions, offsets, out, points, levels, table_size, dense_levels,
    DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Features (N, L * F)."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    inside = point < points
    feature = tl.arange(0, WIDTH)
    total = tl.zeros((BLOCK, WIDTH), tl.float32)
    for corner in tl.static_range(1 << DIM):
        row, weight = _corner(
            coords, point, inside, resolutions, offsets, level, table_size, level < dense_levels, corner, DIM
        )
        values = tl.load(table + row[:, None] * WIDTH + feature[None, :], mask=inside[:, None], other=0.0)
        total += weight[:, None] * values.to(tl.float32)
    place = out + point[:, None] * (levels * WIDTH) + level * WIDTH + feature[None, :]
    tl.store(place, total, mask=inside[:, None])


@compiled
def gradient_of_coords(
    grad, coords, table, resolutions, offsets, out, points, levels, table_size, dense_levels,
    DIM: tl.constexpr, AXES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient (N, D) of the coordinates; AXES is the power of two from D on."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < points
    feature = tl.arange(0, WIDTH)
    axes = tl.arange(0, AXES)
    total = tl.zeros((BLOCK, AXES), tl.float32)
    for level in range(levels):
        place = grad + point[:, None] * (levels * WIDTH) + level * WIDTH + feature[None, :]
        slope = tl.load(place, mask=inside[:, None], other=0.0)
        for corner in tl.static_range(1 << DIM):
            row, _ = _corner(
                coords, point, inside, resolutions, offsets, level, table_size, level < dense_levels, corner, DIM
            )  # fmt: skip
            values = tl.load(table + row[:, None] * WIDTH + feature[None, :], mask=inside[:, None], other=0.0)
            product = tl.sum(slope * values.to(tl.float32), 1)
            for axis in tl.static_range(DIM):
                x, _, _, resolution = _axis(coords, point, inside, resolutions, level, axis, DIM)
                share = product * resolution.to(tl.float32)
                for other in tl.static_range(DIM):
                    if other != axis:
                        _, _, fraction, _ = _axis(coords, point, inside, resolutions, level, other, DIM)
                        if (corner >> other) & 1:
                            share *= fraction
                        else:
                            share *= 1.0 - fraction
                if not (corner >> axis) & 1:
                    share = -share
                share = tl.where((x >= 0.0) & (x <= 1.0), share, 0.0)
                total += tl.where(axes[None, :] == axis, share[:, None], 0.0)
    place = out + point[:, None] * DIM + axes[None, :]
    tl.store(place, total, mask=inside[:, None] & (axes[None, :] < DIM))


@compiled
def scatter(
    grad, coords, resolutions, offsets, sums, flags, touched, points, levels, table_size, dense_levels,
    MARK: tl.constexpr, LIST: tl.constexpr, STRIDE: tl.constexpr, FIRST: tl.constexpr,
    DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds the table's gradient to ``sums``, whose rows are STRIDE apart and start with item FIRST.

    With MARK, also raises each row's flag, which lies behind the gradient and the row's last step; with LIST, lists
    the row, once for every point and corner. Sums need no order among themselves, and the kernel's end is fence enough:
    a fence at every sum would cost more than the sum. Strides are known to the compiler, so that a row's features are
    added together where the device can (sm_90 on).
    """
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    inside = point < points
    feature = tl.arange(0, WIDTH)
    place = grad + point[:, None] * (levels * WIDTH) + level * WIDTH + feature[None, :]
    slope = tl.load(place, mask=inside[:, None], other=0.0)
    for corner in tl.static_range(1 << DIM):
        row, weight = _corner(
            coords, point, inside, resolutions, offsets, level, table_size, level < dense_levels, corner, DIM
        )
        target = sums + row[:, None] * STRIDE + (FIRST + feature)[None, :]
        tl.atomic_add(target, weight[:, None] * slope, mask=inside[:, None], sem="relaxed")
        if MARK:
            tl.store(flags + row * STRIDE + FIRST + WIDTH + 1, tl.full((BLOCK,), 1, tl.int32), mask=inside)
        if LIST:
            place = (level * (1 << DIM) + corner).to(tl.int64) * points + point
            tl.store(touched + place, row.to(tl.int32), mask=inside)


@compiled
def _power(base, exponent):
    """``base ** exponent`` for a base in [0, 1) and whole exponents from 1."""
    return tl.where(base > 0.0, tl.exp2(exponent * tl.log2(base)), 0.0)


@compiled
def _first_beta(beta1, steps, memory, growth):
    """Decay of the first moment after ``steps`` steps: ``beta1``, or where there is a memory, what has grown so far."""
    remembered = tl.minimum(tl.maximum((steps / growth).to(tl.int32), 1), memory).to(tl.float32)
    return tl.where(memory > 0, 1.0 - 1.0 / remembered, beta1)


@compiled
def update_rows(
    table, records, flags, touched, count, time, rate, factor, beta1, beta2, epsilon, memory, growth, momentum_rows,
    ADAM: tl.constexpr, LISTED: tl.constexpr, HALF: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One step of Adam (or with ADAM false, nothing) on touched rows; their gradient is zero afterwards.

    With LISTED on the ``count`` rows listed, where a row listed twice belongs to the program that lowers its flag; else
    on all ``count`` rows of the table whose flag is up, in their order. Steps so far (``time``, this one counted) and
    rate are the device's, the rate times ``factor``, and so a recorded graph sees them change; powers of the betas
    follow from them here. With HALF the table is float16, and the record keeps the row in float32; where the two
    disagree, something else wrote to the table, and the table counts. Only the first ``momentum_rows`` rows have a first
    moment.
    """
    item = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = item < count
    if LISTED:
        row = tl.load(touched + item, mask=inside, other=0).to(tl.int64)
        flag = flags + row * STRIDE + 3 * WIDTH + 1
        # Relaxed, as all atomics here: no program reads what another has written in the same launch.
        mine = inside & (tl.atomic_xchg(flag, tl.zeros((BLOCK,), tl.int32), mask=inside, sem="relaxed") == 1)
    else:
        row = item
        flag = flags + row * STRIDE + 3 * WIDTH + 1
        mine = tl.load(flag, mask=inside, other=0) == 1
        tl.store(flag, tl.zeros((BLOCK,), tl.int32), mask=mine)
    all_mine = mine[:, None]
    feature = tl.arange(0, WIDTH)
    record = records + row[:, None] * STRIDE + feature[None, :]
    if ADAM:
        now = tl.load(time).to(tl.float32)
        first = _first_beta(beta1, now - 1, memory, growth)
        last = records + row * STRIDE + 3 * WIDTH
        # A record holds the step modulo ``STAMPS``, which float32 holds exactly.
        stamp = (tl.load(time) & LAST_STAMP).to(tl.int32)
        gap = (stamp - tl.load(last, mask=mine, other=0.0).to(tl.int32)) & LAST_STAMP
        gap = gap.to(tl.float32)
        tl.store(last, tl.zeros((BLOCK,), tl.float32) + stamp.to(tl.float32), mask=mine)
        # See ``Decays`` in ``touched_rows``.
        of_mean, of_square = _power(first, gap), _power(beta2, gap)
        ratio = first / tl.sqrt(beta2)
        drift = tl.where(ratio < 1.0, (1.0 - _power(ratio, gap)) / (1.0 - ratio), 1.0)
        momentum = row < momentum_rows
        size = tl.load(rate) * factor * tl.where(momentum, drift / (1.0 - _power(first, now)), 1.0)
        scale = 1.0 / tl.sqrt(1.0 - _power(beta2, now))
        gradient = tl.load(record + 2 * WIDTH, mask=all_mine, other=0.0)
        mean = tl.load(record, mask=all_mine, other=0.0)
        mean = tl.where(momentum[:, None], of_mean[:, None] * mean + (1.0 - first) * gradient, gradient)
        square = tl.load(record + WIDTH, mask=all_mine, other=0.0)
        square = of_square[:, None] * square + (1.0 - beta2) * gradient * gradient
        tl.store(record, mean, mask=all_mine & momentum[:, None])
        tl.store(record + WIDTH, square, mask=all_mine)
        change = size[:, None] * mean / (tl.sqrt(square) * scale + epsilon)
        place = table + row[:, None] * WIDTH + feature[None, :]
        value = tl.load(place, mask=all_mine, other=0.0)
        if HALF:
            master = tl.load(record + 3 * WIDTH + 2, mask=all_mine, other=0.0)
            master = tl.where(master.to(tl.float16) == value, master, value.to(tl.float32)) - change
            tl.store(record + 3 * WIDTH + 2, master, mask=all_mine)
            tl.store(place, master.to(tl.float16), mask=all_mine)
        else:
            tl.store(place, value - change, mask=all_mine)
    tl.store(record + 2 * WIDTH, tl.zeros((BLOCK, WIDTH), tl.float32), mask=all_mine)
