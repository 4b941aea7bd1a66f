"""The GPU kernels of a radiance field in Triton: rays, marching, what is visible, compositing and its gradient, and the points
and losses of rays without bounds.

Nothing here tells the host how many points there are. Points go into buffers of a fixed capacity; programs take their
places by adding to ``cursor``, so the order of rays in a buffer differs from run to run, and a ray that does not fit is
left out whole and counted. ``cursor`` has three numbers a buffer: points wanted, the end of those that are there, rays
left out. A program works on ``RAYS`` rays, ``STEPS`` points of each at a time, or on ``BLOCK`` points.

Each kernel has its twin of the same name and arguments in ``gpu_twins.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

VARYING = frozenset(("rays", "points", "capacity", "count", "views", "ray_programs"))
"""Numbers that differ between batches: Triton would compile a version for 1 and one for multiples of 16, in the middle of a run."""


def compiled(function: Callable) -> Any:
    """``triton.jit``, of the function itself where a type checker's import hook has wrapped it."""
    function = inspect.unwrap(function)
    varying = [name for name in inspect.signature(function).parameters if name in VARYING]
    return triton.jit(do_not_specialize=varying)(function)


@compiled
def _random(key, counter, place):
    """Numbers in [0, 1) at places of a ``RandomStream``: the same bits as its ``uniform``."""
    step = tl.full((1,), 0x9E3779B97F4A7C15, tl.uint64)
    first = tl.load(key).to(tl.uint64) + (tl.load(counter) + 1).to(tl.uint64) * step
    bits = first + place.to(tl.uint64) * step
    bits = (bits ^ (bits >> 30)) * tl.full((1,), 0xBF58476D1CE4E5B9, tl.uint64)
    bits = (bits ^ (bits >> 27)) * tl.full((1,), 0x94D049BB133111EB, tl.uint64)
    return (bits >> 40).to(tl.float32) * 5.9604644775390625e-08


@compiled
def _opacity(optical):
    """1 - exp(-x), which keeps its digits where x is small."""
    series = optical * (1.0 - optical * (0.5 - optical * (1.0 / 6.0 - optical / 24.0)))
    return tl.where(optical < 0.02, series, 1.0 - tl.exp(-optical))


@compiled
def _density(logarithm, LARGEST: tl.constexpr):
    return tl.exp(tl.minimum(logarithm, LARGEST))


@compiled
def _slab(origin, direction, enter, leave):
    """Where a ray enters and leaves, with one more axis of the unit cube; it leaves before it enters if it misses."""
    flat = direction == 0.0
    one = (0.0 - origin) / tl.where(flat, 1.0, direction)
    other = (1.0 - origin) / tl.where(flat, 1.0, direction)
    near = tl.maximum(enter, tl.minimum(one, other))
    far = tl.minimum(leave, tl.maximum(one, other))
    outside = (origin < 0.0) | (origin > 1.0)
    return tl.where(flat, enter, near), tl.where(flat, tl.where(outside, -1.0e30, leave), far)


@compiled
def _index(position, cells):
    return tl.minimum(tl.maximum((position * cells).to(tl.int32), 0), cells - 1)


@compiled
def _reserve(cursor, found, mine, capacity, FIRST: tl.constexpr):
    """Where each ray's points go, and whether there is room for them."""
    total = tl.sum(found, 0)
    base = tl.atomic_add(cursor + FIRST, total, sem="relaxed")
    ends = base + tl.cumsum(found, 0)
    fits = ends <= capacity
    tl.atomic_max(cursor + FIRST + 1, tl.max(tl.where(fits, ends, 0), 0), sem="relaxed")
    lost = tl.sum((mine & (ends > capacity) & (found > 0)).to(tl.int32), 0)
    if lost > 0:
        tl.atomic_add(cursor + FIRST + 2, lost, sem="relaxed")
    return ends - found, fits & mine


@compiled
def _on_ray(
    ox, oy, oz, dx, dy, dz, enter, leave, shift, step, first, occupied, cells, STEPS: tl.constexpr
):  # fmt: skip
    """Distances and positions of the next points of rays, (RAYS, STEPS), and which are in occupied cells."""
    k = first + tl.arange(0, STEPS)
    t = enter[:, None] + (k[None, :].to(tl.float32) + shift[:, None]) * step
    x = ox[:, None] + t * dx[:, None]
    y = oy[:, None] + t * dy[:, None]
    z = oz[:, None] + t * dz[:, None]
    inside = (t < leave[:, None]) & (leave > enter)[:, None]
    cell = (_index(x, cells) * cells + _index(y, cells)) * cells + _index(z, cells)
    inside = inside & (tl.load(occupied + cell, mask=inside, other=0) != 0)
    return t, x, y, z, inside


@compiled
def march(
    origins, directions, center, occupied, key, counter, stride,
    starts, counts, along, scale, distances, positions, cursor,
    rays, capacity, side, cells, step, near,
    TRAIN: tl.constexpr, RAYS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Points of rays (N, 3) at equal steps in occupied cells of a cube; ``along`` are the directions with length 1, ``scale`` turns
    distances in sides of the cube into lengths of the given directions.
    """
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    mine = n < rays
    if TRAIN:
        step = step * tl.load(stride).to(tl.float32)
        shift = _random(key, counter, n)
    else:
        shift = tl.full((RAYS,), 0.5, tl.float32)
    dx = tl.load(directions + 3 * n, mask=mine, other=1.0)
    dy = tl.load(directions + 3 * n + 1, mask=mine, other=1.0)
    dz = tl.load(directions + 3 * n + 2, mask=mine, other=1.0)
    length = tl.maximum(tl.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
    dx, dy, dz = dx / length, dy / length, dz / length
    tl.store(along + 3 * n, dx, mask=mine)
    tl.store(along + 3 * n + 1, dy, mask=mine)
    tl.store(along + 3 * n + 2, dz, mask=mine)
    tl.store(scale + n, side / length, mask=mine)
    ox = (tl.load(origins + 3 * n, mask=mine, other=0.0) - tl.load(center)) / side + 0.5
    oy = (tl.load(origins + 3 * n + 1, mask=mine, other=0.0) - tl.load(center + 1)) / side + 0.5
    oz = (tl.load(origins + 3 * n + 2, mask=mine, other=0.0) - tl.load(center + 2)) / side + 0.5
    enter, leave = _slab(ox, dx, tl.full((RAYS,), near, tl.float32), tl.full((RAYS,), 1.0e30, tl.float32))
    enter, leave = _slab(oy, dy, enter, leave)
    enter, leave = _slab(oz, dz, enter, leave)
    leave = tl.where(mine, leave, -1.0e30)
    # The way through the cube is at most its diagonal.
    way = tl.minimum(tl.maximum(leave - enter, 0.0), 1.75)
    longest = tl.max((way / step).to(tl.int32), 0) + 1
    found = tl.zeros((RAYS,), tl.int32)
    for first in range(0, longest, STEPS):
        _, _, _, _, inside = _on_ray(
            ox, oy, oz, dx, dy, dz, enter, leave, shift, step, first, occupied, cells, STEPS
        )
        found += tl.sum(inside.to(tl.int32), 1)
    start, fits = _reserve(cursor, found, mine, capacity, 0)
    tl.store(starts + n, tl.where(fits, start, 0), mask=mine)
    tl.store(counts + n, tl.where(fits, found, 0), mask=mine)
    for first in range(0, longest, STEPS):
        t, x, y, z, inside = _on_ray(
            ox, oy, oz, dx, dy, dz, enter, leave, shift, step, first, occupied, cells, STEPS
        )
        rank = tl.cumsum(inside.to(tl.int32), 1)
        slot = start[:, None] + rank - 1
        here = inside & fits[:, None]
        tl.store(distances + slot, t, mask=here)
        tl.store(positions + 3 * slot, x, mask=here)
        tl.store(positions + 3 * slot + 1, y, mask=here)
        tl.store(positions + 3 * slot + 2, z, mask=here)
        start += tl.sum(inside.to(tl.int32), 1)


@compiled
def shorten(
    logarithms, starts, counts, distances, positions, stride,
    new_starts, new_counts, new_rays, new_distances, new_widths, new_positions, cursor,
    rays, capacity, step, bound,
    TRAIN: tl.constexpr, WIDTH: tl.constexpr, LARGEST: tl.constexpr, OPAQUE: tl.constexpr,
    RAYS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Copies the points of each ray that light reaches: up to an optical depth of ``bound`` before them."""
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    mine = n < rays
    if TRAIN:
        step = step * tl.load(stride).to(tl.float32)
    start = tl.load(starts + n, mask=mine, other=0)
    count = tl.load(counts + n, mask=mine, other=0)
    longest = tl.max(count, 0)
    depth = tl.zeros((RAYS,), tl.float32)
    found = tl.zeros((RAYS,), tl.int32)
    for first in range(0, longest, STEPS):
        k = first + tl.arange(0, STEPS)
        inside = k[None, :] < count[:, None]
        slot = (start[:, None] + k[None, :]).to(tl.int64)
        logarithm = tl.load(logarithms + slot * WIDTH, mask=inside, other=0.0)
        optical = tl.where(inside, tl.minimum(_density(logarithm, LARGEST) * step, OPAQUE), 0.0)
        before = depth[:, None] + tl.cumsum(optical, 1) - optical
        found += tl.sum((inside & (before <= bound)).to(tl.int32), 1)
        depth += tl.sum(optical, 1)
    place, fits = _reserve(cursor, found, mine, capacity, 3)
    found = tl.where(fits, found, 0)
    tl.store(new_starts + n, tl.where(fits, place, 0), mask=mine)
    tl.store(new_counts + n, found, mask=mine)
    for first in range(0, tl.max(found, 0), STEPS):
        k = first + tl.arange(0, STEPS)
        inside = k[None, :] < found[:, None]
        slot = start[:, None] + k[None, :]
        new = place[:, None] + k[None, :]
        tl.store(new_rays + new, n[:, None] + tl.zeros((RAYS, STEPS), tl.int32), mask=inside)
        tl.store(new_widths + new, tl.zeros((RAYS, STEPS), tl.float32) + step, mask=inside)
        tl.store(new_distances + new, tl.load(distances + slot, mask=inside, other=0.0), mask=inside)
        for axis in tl.static_range(3):
            value = tl.load(positions + 3 * slot + axis, mask=inside, other=0.0)
            tl.store(new_positions + 3 * new + axis, value, mask=inside)


@compiled
def repeat(cursor, usage, rays_of, distances, positions, capacity, FOLD: tl.constexpr, BLOCK: tl.constexpr):
    """Fills what is left of a buffer with its points once more, so that it touches no more of a hash table than they do; notes in
    ``usage`` (5,) the most points wanted of either buffer, how many rays were left out, and points wanted last.
    """
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    used = tl.load(cursor + 4)
    tail = (slot >= used) & (slot < capacity)
    source = slot % tl.maximum(used, 1)
    known = tail & (source < used)
    tl.store(rays_of + slot, tl.load(rays_of + source, mask=known, other=0), mask=tail)
    tl.store(distances + slot, tl.load(distances + source, mask=known, other=0.0), mask=tail)
    for axis in tl.static_range(3):
        tl.store(
            positions + 3 * slot + axis,
            tl.load(positions + 3 * source + axis, mask=known, other=0.5),
            mask=tail,
        )
    if FOLD:  # noqa: SIM102  (the first is known when it is compiled)
        if tl.program_id(0) == 0:
            marched = tl.load(cursor)
            tl.store(usage, tl.maximum(tl.load(usage), marched))
            tl.store(usage + 1, tl.maximum(tl.load(usage + 1), tl.load(cursor + 3)))
            tl.store(usage + 2, tl.load(usage + 2) + tl.load(cursor + 2) + tl.load(cursor + 5))
            tl.store(usage + 3, marched)


@compiled
def color_inputs(
    geometry, directions, rays_of, out, logarithms, points, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """What the color's MLP takes, (P, WIDTH + 16): geometry and the harmonics of the ray's direction; and geometry's first column."""
    slot = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = slot < points
    for column in tl.static_range(WIDTH):
        value = tl.load(geometry + slot * WIDTH + column, mask=inside, other=0.0)
        tl.store(out + slot * (WIDTH + 16) + column, value, mask=inside)
        if column == 0:
            tl.store(logarithms + slot, value, mask=inside)
    ray = tl.load(rays_of + slot, mask=inside, other=0)
    x = tl.load(directions + 3 * ray, mask=inside, other=0.0)
    y = tl.load(directions + 3 * ray + 1, mask=inside, other=0.0)
    z = tl.load(directions + 3 * ray + 2, mask=inside, other=0.0)
    xx, yy, zz = x * x, y * y, z * z
    place = out + slot * (WIDTH + 16) + WIDTH
    tl.store(place, tl.zeros((BLOCK,), tl.float32) + 0.28209479177387814, mask=inside)
    tl.store(place + 1, 0.4886025119029199 * y, mask=inside)
    tl.store(place + 2, 0.4886025119029199 * z, mask=inside)
    tl.store(place + 3, 0.4886025119029199 * x, mask=inside)
    tl.store(place + 4, 1.0925484305920792 * x * y, mask=inside)
    tl.store(place + 5, 1.0925484305920792 * y * z, mask=inside)
    tl.store(place + 6, 0.31539156525252005 * (3.0 * zz - 1.0), mask=inside)
    tl.store(place + 7, 1.0925484305920792 * x * z, mask=inside)
    tl.store(place + 8, 0.5462742152960396 * (xx - yy), mask=inside)
    tl.store(place + 9, 0.5900435899266435 * y * (3.0 * xx - yy), mask=inside)
    tl.store(place + 10, 2.890611442640554 * x * y * z, mask=inside)
    tl.store(place + 11, 0.4570457994644658 * y * (5.0 * zz - 1.0), mask=inside)
    tl.store(place + 12, 0.3731763325901154 * z * (5.0 * zz - 3.0), mask=inside)
    tl.store(place + 13, 0.4570457994644658 * x * (5.0 * zz - 1.0), mask=inside)
    tl.store(place + 14, 1.445305721320277 * z * (xx - yy), mask=inside)
    tl.store(place + 15, 0.5900435899266435 * x * (xx - 3.0 * yy), mask=inside)


@compiled
def color_inputs_backward(
    of_out, of_logarithms, of_geometry, points, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """Gradient of geometry (P, WIDTH) from those of what was made of it."""
    slot = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = slot < points
    for column in tl.static_range(WIDTH):
        value = tl.load(of_out + slot * (WIDTH + 16) + column, mask=inside, other=0.0)
        if column == 0:
            value += tl.load(of_logarithms + slot, mask=inside, other=0.0)
        tl.store(of_geometry + slot * WIDTH + column, value, mask=inside)


@compiled
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@compiled
def composite(
    logarithms, logits, widths, distances, scale, starts, counts, cursor,
    color, opacity, depth, weights, before, rays, points, ray_programs,
    TAIL: tl.constexpr, LARGEST: tl.constexpr, OPAQUE: tl.constexpr,
    RAYS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Color (N, 3), opacity and depth (N,) of rays; weight and optical depth before each point (P,), 0 where there is none."""
    program = tl.program_id(0)
    if program < ray_programs:
        n = program * RAYS + tl.arange(0, RAYS)
        mine = n < rays
        start = tl.load(starts + n, mask=mine, other=0)
        count = tl.load(counts + n, mask=mine, other=0)
        deep = tl.zeros((RAYS,), tl.float32)
        red = tl.zeros((RAYS,), tl.float32)
        green = tl.zeros((RAYS,), tl.float32)
        blue = tl.zeros((RAYS,), tl.float32)
        total = tl.zeros((RAYS,), tl.float32)
        far = tl.zeros((RAYS,), tl.float32)
        for first in range(0, tl.max(count, 0), STEPS):
            k = first + tl.arange(0, STEPS)
            inside = k[None, :] < count[:, None]
            slot = start[:, None] + k[None, :]
            logarithm = tl.load(logarithms + slot, mask=inside, other=0.0)
            optical = _density(logarithm, LARGEST) * tl.load(widths + slot, mask=inside, other=0.0)
            bounded = tl.minimum(optical, OPAQUE)
            gone = deep[:, None] + tl.cumsum(bounded, 1) - bounded
            weight = tl.where(inside, _opacity(optical) * tl.exp(-gone), 0.0)
            tl.store(weights + slot, weight, mask=inside)
            tl.store(before + slot, gone, mask=inside)
            red += tl.sum(weight * _sigmoid(tl.load(logits + 3 * slot, mask=inside, other=0.0)), 1)
            green += tl.sum(weight * _sigmoid(tl.load(logits + 3 * slot + 1, mask=inside, other=0.0)), 1)
            blue += tl.sum(weight * _sigmoid(tl.load(logits + 3 * slot + 2, mask=inside, other=0.0)), 1)
            total += tl.sum(weight, 1)
            far += tl.sum(weight * tl.load(distances + slot, mask=inside, other=0.0), 1)
            deep += tl.sum(bounded, 1)
        tl.store(color + 3 * n, red, mask=mine)
        tl.store(color + 3 * n + 1, green, mask=mine)
        tl.store(color + 3 * n + 2, blue, mask=mine)
        tl.store(opacity + n, total, mask=mine)
        tl.store(depth + n, far * tl.load(scale + n, mask=mine, other=0.0), mask=mine)
    elif TAIL:
        slot = (program - ray_programs) * BLOCK + tl.arange(0, BLOCK)
        tail = (slot >= tl.load(cursor + 4)) & (slot < points)
        tl.store(weights + slot, tl.zeros((BLOCK,), tl.float32), mask=tail)
        tl.store(before + slot, tl.zeros((BLOCK,), tl.float32), mask=tail)


@compiled
def composite_backward(
    logarithms, logits, widths, distances, scale, starts, counts, cursor, weights, before,
    of_color, of_opacity, of_depth, of_weights, of_logarithms, of_logits, rays, points, ray_programs,
    COLOR: tl.constexpr, OPACITY: tl.constexpr, DEPTH: tl.constexpr, WEIGHTS: tl.constexpr,
    TAIL: tl.constexpr, LARGEST: tl.constexpr, OPAQUE: tl.constexpr, STEEPEST: tl.constexpr,
    RAYS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the density's logarithm (P,) and the color's logits (P, 3); 0 where there is no point.

    With G the gradient of the weights through all that is made of them, and a = density * width:
    d / d a_i = G_i T_(i+1) - sum over j > i of G_j w_j; from behind, so that what lies there is not a small difference.
    """
    program = tl.program_id(0)
    if program < ray_programs:
        n = program * RAYS + tl.arange(0, RAYS)
        mine = n < rays
        start = tl.load(starts + n, mask=mine, other=0)
        count = tl.load(counts + n, mask=mine, other=0)
        constant = tl.zeros((RAYS,), tl.float32)
        slope = tl.zeros((RAYS,), tl.float32)
        if OPACITY:
            constant += tl.load(of_opacity + n, mask=mine, other=0.0)
        if DEPTH:
            slope += tl.load(of_depth + n, mask=mine, other=0.0) * tl.load(scale + n, mask=mine, other=0.0)
        behind = tl.zeros((RAYS,), tl.float32)
        chunks = (tl.max(count, 0) + STEPS - 1) // STEPS
        for chunk in range(0, chunks):
            k = (chunks - 1 - chunk) * STEPS + tl.arange(0, STEPS)
            inside = k[None, :] < count[:, None]
            slot = start[:, None] + k[None, :]
            weight = tl.load(weights + slot, mask=inside, other=0.0)
            gradient = constant[:, None] + tl.zeros((RAYS, STEPS), tl.float32)
            if DEPTH:
                gradient += slope[:, None] * tl.load(distances + slot, mask=inside, other=0.0)
            if WEIGHTS:
                gradient += tl.load(of_weights + slot, mask=inside, other=0.0)
            for channel in tl.static_range(3):
                if COLOR:
                    upstream = tl.load(of_color + 3 * n + channel, mask=mine, other=0.0)
                    shade = _sigmoid(tl.load(logits + 3 * slot + channel, mask=inside, other=0.0))
                    gradient += upstream[:, None] * shade
                    of_logit = upstream[:, None] * weight * shade * (1.0 - shade)
                else:
                    of_logit = tl.zeros((RAYS, STEPS), tl.float32)
                tl.store(of_logits + 3 * slot + channel, of_logit, mask=inside)
            width = tl.load(widths + slot, mask=inside, other=0.0)
            density = _density(tl.load(logarithms + slot, mask=inside, other=0.0), LARGEST)
            optical = density * width
            gone = tl.load(before + slot, mask=inside, other=0.0)
            own = tl.where(inside, gradient * weight, 0.0)
            after = behind[:, None] + tl.cumsum(own, 1, reverse=True) - own
            # Behind a wall nothing is seen, whatever the rounding says.
            after = tl.where(optical < OPAQUE, after, 0.0)
            of_optical = gradient * tl.exp(-gone - optical) - after
            value = of_optical * width * tl.minimum(density, STEEPEST)
            tl.store(of_logarithms + slot, value, mask=inside)
            behind += tl.sum(own, 1)
    elif TAIL:
        slot = (program - ray_programs) * BLOCK + tl.arange(0, BLOCK)
        tail = (slot >= tl.load(cursor + 4)) & (slot < points)
        tl.store(of_logarithms + slot, tl.zeros((BLOCK,), tl.float32), mask=tail)
        for channel in tl.static_range(3):
            tl.store(of_logits + 3 * slot + channel, tl.zeros((BLOCK,), tl.float32), mask=tail)


@compiled
def mid_gray(color, opacity, out, rays, BLOCK: tl.constexpr, ALPHA: tl.constexpr):
    """Color before mid-gray, (N, 3), and half the opacity behind it, (N, 4), with ``ALPHA``."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = n < rays
    alpha = tl.load(opacity + n, mask=mine, other=0.0)
    for channel in tl.static_range(3):
        value = tl.load(color + 3 * n + channel, mask=mine, other=0.0) + (1.0 - alpha) / 2.0
        tl.store(out + (3 + ALPHA) * n + channel, value, mask=mine)
    if ALPHA:
        tl.store(out + (3 + ALPHA) * n + 3, alpha / 2.0, mask=mine)


@compiled
def mid_gray_backward(of_out, of_color, of_opacity, rays, BLOCK: tl.constexpr, ALPHA: tl.constexpr):
    """Gradients of color (N, 3) and opacity (N,)."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = n < rays
    total = tl.zeros((BLOCK,), tl.float32)
    for channel in tl.static_range(3):
        value = tl.load(of_out + (3 + ALPHA) * n + channel, mask=mine, other=0.0)
        tl.store(of_color + 3 * n + channel, value, mask=mine)
        total -= value / 2.0
    if ALPHA:
        total += tl.load(of_out + (3 + ALPHA) * n + 3, mask=mine, other=0.0) / 2.0
    tl.store(of_opacity + n, total, mask=mine)


@compiled
def _distance(normalized, first, last, INVERSE: tl.constexpr):
    """As ``Spacing.distances``."""
    spread = first + normalized * (last - first)
    if INVERSE:
        spread = tl.where(spread < 0.5, 2.0 * spread, 0.5 / (1.0 - tl.maximum(spread, 0.5)))
    return spread


@compiled
def _store_point(positions, slot, inside, x, y, z, center, side, CONTRACT: tl.constexpr):
    """A world point in the unit cube."""
    if CONTRACT:
        squared = x * x + y * y + z * z
        inverse = 1.0 / tl.sqrt(tl.maximum(squared, 1.0))
        factor = tl.where(squared > 1.0, (2.0 - inverse) * inverse, 1.0)
        x, y, z = x * factor, y * factor, z * factor
    tl.store(positions + 3 * slot, (x - tl.load(center)) / side + 0.5, mask=inside)
    tl.store(positions + 3 * slot + 1, (y - tl.load(center + 1)) / side + 0.5, mask=inside)
    tl.store(positions + 3 * slot + 2, (z - tl.load(center + 2)) / side + 0.5, mask=inside)


@compiled
def propose(
    origins, directions, center, key, counter, edges, jitter, positions,
    rays, side, first, last, TRAIN: tl.constexpr, INVERSE: tl.constexpr, COUNT: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Edges (N, COUNT + 1) of intervals of equal normalized length, their middles in the unit cube (N * COUNT, 3), and the second
    random number of each ray (N,). COUNT is a power of two.
    """
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    mine = n < rays
    k = tl.arange(0, COUNT)
    if TRAIN:
        shift = (_random(key, counter, 2 * n) - 0.5) / COUNT
        tl.store(jitter + n, _random(key, counter, 2 * n + 1), mask=mine)
    else:
        shift = tl.zeros((RAYS,), tl.float32)
        tl.store(jitter + n, tl.full((RAYS,), 0.5, tl.float32), mask=mine)
    low = tl.where(k[None, :] == 0, 0.0, k[None, :].to(tl.float32) / COUNT + shift[:, None])
    high = tl.where(k[None, :] == COUNT - 1, 1.0, (k[None, :] + 1).to(tl.float32) / COUNT + shift[:, None])
    inside = mine[:, None] & (k[None, :] < COUNT)
    place = edges + n[:, None] * (COUNT + 1) + k[None, :]
    tl.store(place, low, mask=inside)
    tl.store(place + 1, high, mask=inside & (k[None, :] == COUNT - 1))
    middle = (_distance(low, first, last, INVERSE) + _distance(high, first, last, INVERSE)) / 2.0
    dx = tl.load(directions + 3 * n, mask=mine, other=1.0)
    dy = tl.load(directions + 3 * n + 1, mask=mine, other=1.0)
    dz = tl.load(directions + 3 * n + 2, mask=mine, other=1.0)
    if INVERSE:
        length = tl.maximum(tl.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
        dx, dy, dz = dx / length, dy / length, dz / length
    x = tl.load(origins + 3 * n, mask=mine, other=0.0)[:, None] + middle * dx[:, None]
    y = tl.load(origins + 3 * n + 1, mask=mine, other=0.0)[:, None] + middle * dy[:, None]
    z = tl.load(origins + 3 * n + 2, mask=mine, other=0.0)[:, None] + middle * dz[:, None]
    _store_point(positions, n[:, None] * COUNT + k[None, :], inside, x, y, z, center, side, INVERSE)


@compiled
def _new_edge(share, weight, inclusive, low, high):
    """Edges (RAYS, KEPT) at shares of the cumulative weight (RAYS, KEPT) of intervals (RAYS, COUNT)."""
    k = tl.arange(0, low.shape[1])
    below = tl.sum((inclusive[:, None, :] <= share[:, :, None]).to(tl.int32), 2)
    chosen = k[None, None, :] == tl.minimum(below, low.shape[1] - 1)[:, :, None]
    own = tl.sum(tl.where(chosen, weight[:, None, :], 0.0), 2)
    end = tl.sum(tl.where(chosen, inclusive[:, None, :], 0.0), 2)
    one = tl.sum(tl.where(chosen, low[:, None, :], 0.0), 2)
    other = tl.sum(tl.where(chosen, high[:, None, :], 0.0), 2)
    within = (share - (end - own)) / tl.maximum(own, 1.17549435e-38)
    within = tl.minimum(tl.maximum(within, 0.0), 1.0)
    return one + within * (other - one)


@compiled
def _optical(
    logarithms, n, mine, k, low, high, length, side, first, last,
    INVERSE: tl.constexpr, BEYOND: tl.constexpr, ENDLESS: tl.constexpr, LARGEST: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """Density and width of the proposal's intervals (RAYS, COUNT)."""
    width = (_distance(high, first, last, INVERSE) - _distance(low, first, last, INVERSE)) / side
    if not INVERSE:
        width *= length[:, None]
    if BEYOND:
        width = tl.where(k[None, :] == COUNT - 1, ENDLESS, width)
    logarithm = tl.load(logarithms + n[:, None] * COUNT + k[None, :], mask=mine[:, None], other=0.0)
    return _density(logarithm, LARGEST), width


@compiled
def resample(
    logarithms, origins, directions, center, edges, jitter,
    proposed, finer, along, scale, starts, counts, rays_of, distances, widths, positions,
    rays, side, first, last, least,
    INVERSE: tl.constexpr, BEYOND: tl.constexpr, ENDLESS: tl.constexpr, LARGEST: tl.constexpr, OPAQUE: tl.constexpr,
    COUNT: tl.constexpr, KEPT: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Weights of the proposal (N, COUNT), edges of intervals of equal weight (N, KEPT + 1), and the points in their middles."""
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    mine = n < rays
    k = tl.arange(0, COUNT)
    dx = tl.load(directions + 3 * n, mask=mine, other=1.0)
    dy = tl.load(directions + 3 * n + 1, mask=mine, other=1.0)
    dz = tl.load(directions + 3 * n + 2, mask=mine, other=1.0)
    length = tl.maximum(tl.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
    low = tl.load(edges + n[:, None] * (COUNT + 1) + k[None, :], mask=mine[:, None], other=0.0)
    high = tl.load(edges + n[:, None] * (COUNT + 1) + k[None, :] + 1, mask=mine[:, None], other=1.0)
    density, width = _optical(
        logarithms, n, mine, k, low, high, length, side, first, last, INVERSE, BEYOND, ENDLESS, LARGEST, COUNT
    )
    optical = density * width
    bounded = tl.minimum(optical, OPAQUE)
    weight = _opacity(optical) * tl.exp(-(tl.cumsum(bounded, 1) - bounded))
    tl.store(proposed + n[:, None] * COUNT + k[None, :], weight, mask=mine[:, None])
    weight += least
    weight = weight / tl.sum(weight, 1)[:, None]
    inclusive = tl.cumsum(weight, 1)
    j = tl.arange(0, KEPT)
    shift = tl.load(jitter + n, mask=mine, other=0.5)
    share = (j[None, :].to(tl.float32) + shift[:, None]) / (KEPT + 1)
    near = _new_edge(share, weight, inclusive, low, high)
    share = ((j[None, :] + 1).to(tl.float32) + shift[:, None]) / (KEPT + 1)
    far = _new_edge(share, weight, inclusive, low, high)
    inside = mine[:, None] & (j[None, :] < KEPT)
    place = finer + n[:, None] * (KEPT + 1) + j[None, :]
    tl.store(place, near, mask=inside)
    tl.store(place + 1, far, mask=inside & (j[None, :] == KEPT - 1))
    near, far = _distance(near, first, last, INVERSE), _distance(far, first, last, INVERSE)
    middle = (near + far) / 2.0
    wide = (far - near) / side
    ux, uy, uz = dx / length, dy / length, dz / length
    tl.store(along + 3 * n, ux, mask=mine)
    tl.store(along + 3 * n + 1, uy, mask=mine)
    tl.store(along + 3 * n + 2, uz, mask=mine)
    if INVERSE:
        dx, dy, dz = ux, uy, uz
        tl.store(scale + n, 1.0 / length, mask=mine)
    else:
        wide *= length[:, None]
        tl.store(scale + n, tl.full((RAYS,), 1.0, tl.float32), mask=mine)
    if BEYOND:
        wide = tl.where(j[None, :] == KEPT - 1, ENDLESS, wide)
    tl.store(starts + n, n * KEPT, mask=mine)
    tl.store(counts + n, tl.full((RAYS,), KEPT, tl.int32), mask=mine)
    slot = n[:, None] * KEPT + j[None, :]
    tl.store(rays_of + slot, n[:, None] + tl.zeros((RAYS, KEPT), tl.int32), mask=inside)
    tl.store(distances + slot, middle, mask=inside)
    tl.store(widths + slot, wide, mask=inside)
    x = tl.load(origins + 3 * n, mask=mine, other=0.0)[:, None] + middle * dx[:, None]
    y = tl.load(origins + 3 * n + 1, mask=mine, other=0.0)[:, None] + middle * dy[:, None]
    z = tl.load(origins + 3 * n + 2, mask=mine, other=0.0)[:, None] + middle * dz[:, None]
    _store_point(positions, slot, inside, x, y, z, center, side, INVERSE)


@compiled
def _intervals(values, edges, n, mine, COUNT: tl.constexpr):
    """Values and both edges of all intervals of rays, (RAYS, COUNT)."""
    k = tl.arange(0, COUNT)
    value = tl.load(values + n[:, None] * COUNT + k[None, :], mask=mine[:, None], other=0.0)
    low = tl.load(edges + n[:, None] * (COUNT + 1) + k[None, :], mask=mine[:, None], other=0.0)
    high = tl.load(edges + n[:, None] * (COUNT + 1) + k[None, :] + 1, mask=mine[:, None], other=0.0)
    return value, low, high


@compiled
def _missed(weight, low, high, promised, before, after):
    """Which intervals (RAYS, KEPT, COUNT) meet, and what weights exceed the sum of those promised, (RAYS, KEPT)."""
    meets = (before[:, None, :] < high[:, :, None]) & (after[:, None, :] > low[:, :, None])
    bound = tl.sum(tl.where(meets, promised[:, None, :], 0.0), 2)
    return meets, tl.maximum(weight - bound, 0.0)


@compiled
def ray_losses(
    weights, finer, proposed, edges, loss, rays, distortion, EPSILON: tl.constexpr,
    COUNT: tl.constexpr, KEPT: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Loss (N,) of each ray: ``proposal_loss`` and ``distortion`` times ``distortion_loss``."""
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    mine = n < rays
    weight, low, high = _intervals(weights, finer, n, mine, KEPT)
    promised, before, after = _intervals(proposed, edges, n, mine, COUNT)
    _, excess = _missed(weight, low, high, promised, before, after)
    total = tl.sum(excess * excess / (weight + EPSILON), 1)
    middle = (low + high) / 2.0
    mass = tl.cumsum(weight, 1) - weight
    moment = tl.cumsum(weight * middle, 1) - weight * middle
    apart = 2.0 * weight * (middle * mass - moment) + weight * weight * (high - low) / 3.0
    tl.store(loss + n, total + distortion * tl.sum(apart, 1), mask=mine)


@compiled
def ray_losses_backward(
    weights, finer, proposed, edges, logarithms, directions, upstream, of_weights, of_logarithms,
    rays, side, first, last, distortion, EPSILON: tl.constexpr,
    INVERSE: tl.constexpr, BEYOND: tl.constexpr, ENDLESS: tl.constexpr, LARGEST: tl.constexpr, OPAQUE: tl.constexpr,
    STEEPEST: tl.constexpr, COUNT: tl.constexpr, KEPT: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Gradients of the mean of ``loss``: of the field's weights (N * KEPT,), and of the proposal's logarithms (N * COUNT,)."""
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    mine = n < rays
    factor = tl.load(upstream) / rays
    weight, low, high = _intervals(weights, finer, n, mine, KEPT)
    promised, before, after = _intervals(proposed, edges, n, mine, COUNT)
    meets, excess = _missed(weight, low, high, promised, before, after)
    middle = (low + high) / 2.0
    mass, moment = tl.cumsum(weight, 1), tl.cumsum(weight * middle, 1)
    all_mass, all_moment = tl.sum(weight, 1)[:, None], tl.sum(weight * middle, 1)[:, None]
    # What lies before a middle is as far from it as the middle is from there, and the other way round behind.
    apart = middle * (2.0 * mass - all_mass) - (2.0 * moment - all_moment)
    slope = 2.0 * apart + 2.0 * weight * (high - low) / 3.0
    j, k = tl.arange(0, KEPT), tl.arange(0, COUNT)
    place = of_weights + n[:, None] * KEPT + j[None, :]
    tl.store(place, factor * distortion * slope, mask=mine[:, None])
    pull = -2.0 * excess / (weight + EPSILON)
    gradient = factor * tl.sum(tl.where(meets, pull[:, :, None], 0.0), 1)
    dx = tl.load(directions + 3 * n, mask=mine, other=1.0)
    dy = tl.load(directions + 3 * n + 1, mask=mine, other=1.0)
    dz = tl.load(directions + 3 * n + 2, mask=mine, other=1.0)
    length = tl.maximum(tl.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
    density, width = _optical(
        logarithms,
        n,
        mine,
        k,
        before,
        after,
        length,
        side,
        first,
        last,
        INVERSE,
        BEYOND,
        ENDLESS,
        LARGEST,
        COUNT,
    )
    optical = density * width
    bounded = tl.minimum(optical, OPAQUE)
    gone = tl.cumsum(bounded, 1) - bounded
    own = gradient * promised
    behind = tl.where(optical < OPAQUE, tl.cumsum(own, 1, reverse=True) - own, 0.0)
    of_optical = gradient * tl.exp(-gone - optical) - behind
    value = of_optical * width * tl.minimum(density, STEEPEST)
    tl.store(of_logarithms + n[:, None] * COUNT + k[None, :], value, mask=mine[:, None])


@compiled
def _axis_of(coords, n, mine, sizes, view, axis: tl.constexpr, length):
    """The two pixels around each coordinate along an axis of its view, and how far it lies between them."""
    native = tl.load(coords + 3 * n + axis, mask=mine, other=0.0) * length
    size = tl.load(sizes + 2 * view + axis - 1, mask=mine, other=1).to(tl.int32)
    position = tl.minimum(tl.maximum(native - 0.5, 0.0), (size - 1).to(tl.float32))
    pixel = position.to(tl.int32)
    return pixel, tl.minimum(pixel + 1, size - 1), position - pixel.to(tl.float32), size


@compiled
def _view_of(coords, n, mine, views):
    view = (tl.load(coords + 3 * n, mask=mine, other=0.0) * views).to(tl.int32)
    return tl.minimum(tl.maximum(view, 0), views - 1)


@compiled
def photo_pixels(
    coords, pixels, view_starts, sizes, out, count, views, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Values (N, C) of photos at (view, row, column) coordinates (N, 3), as ``Photos`` gives them."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = n < count
    view = _view_of(coords, n, mine, views)
    top, bottom, down, _ = _axis_of(coords, n, mine, sizes, view, 1, height)
    left, right, across, columns = _axis_of(coords, n, mine, sizes, view, 2, width)
    base = pixels + tl.load(view_starts + view, mask=mine, other=0) * CHANNELS
    above = top.to(tl.int64) * columns
    below = bottom.to(tl.int64) * columns
    if CHANNELS == 4:
        a = tl.load(base + (above + left) * 4 + 3, mask=mine, other=0).to(tl.float32)
        b = tl.load(base + (above + right) * 4 + 3, mask=mine, other=0).to(tl.float32)
        c = tl.load(base + (below + left) * 4 + 3, mask=mine, other=0).to(tl.float32)
        d = tl.load(base + (below + right) * 4 + 3, mask=mine, other=0).to(tl.float32)
        one, other = a + down * (c - a), b + down * (d - b)
        alpha = (one + across * (other - one)) / 255.0
        tl.store(out + 4 * n + 3, alpha / 2.0, mask=mine)
    for channel in tl.static_range(3):
        a = tl.load(base + (above + left) * CHANNELS + channel, mask=mine, other=0).to(tl.float32)
        b = tl.load(base + (above + right) * CHANNELS + channel, mask=mine, other=0).to(tl.float32)
        c = tl.load(base + (below + left) * CHANNELS + channel, mask=mine, other=0).to(tl.float32)
        d = tl.load(base + (below + right) * CHANNELS + channel, mask=mine, other=0).to(tl.float32)
        one, other = a + down * (c - a), b + down * (d - b)
        value = (one + across * (other - one)) / 255.0
        if CHANNELS == 4:
            value += (1.0 - alpha) / 2.0
        tl.store(out + CHANNELS * n + channel, value, mask=mine)


@compiled
def _distorted(x, y, k1, k2, k3, k4, p1, p2, d1, d2, d3):
    """Where a lens moves points, and the derivatives; see ``lens_distortion``."""
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    slope = 2.0 * (k1 + r2 * (2.0 * k2 + r2 * (3.0 * k3 + r2 * 4.0 * k4)))
    below = 1.0 + r2 * (d1 + r2 * (d2 + r2 * d3))
    radial = radial / below
    slope = (slope - radial * 2.0 * (d1 + r2 * (2.0 * d2 + r2 * 3.0 * d3))) / below
    u = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
    v = y * radial + 2.0 * p2 * x * y + p1 * (r2 + 2.0 * y * y)
    xx = radial + slope * x * x + 2.0 * p1 * y + 6.0 * p2 * x
    xy = slope * x * y + 2.0 * p1 * x + 2.0 * p2 * y
    yy = radial + slope * y * y + 2.0 * p2 * x + 6.0 * p1 * y
    return u, v, xx, xy, yy


@compiled
def _coefficient(coefficients, view, mine, index: tl.constexpr, COEFFICIENTS: tl.constexpr):
    return tl.load(coefficients + COEFFICIENTS * view + index, mask=mine, other=0.0)


@compiled
def photo_rays(
    coords, focal, center, poses, coefficients, origins, directions, count, views, height, width, near, across, down,
    COEFFICIENTS: tl.constexpr, ITERATIONS: tl.constexpr, NDC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rays through (view, row, column) coordinates (N, 3) of perspective cameras, as ``Photos.rays`` gives them; ``COEFFICIENTS`` of
    the distortion: 0, 6 or 9.
    """
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = n < count
    view = _view_of(coords, n, mine, views)
    x = tl.load(coords + 3 * n + 2, mask=mine, other=0.0) * width - tl.load(
        center + 2 * view, mask=mine, other=0.0
    )
    y = tl.load(coords + 3 * n + 1, mask=mine, other=0.0) * height - tl.load(
        center + 2 * view + 1, mask=mine, other=0.0
    )
    x = x / tl.load(focal + 2 * view, mask=mine, other=1.0)
    y = y / tl.load(focal + 2 * view + 1, mask=mine, other=1.0)
    if COEFFICIENTS > 0:
        k1 = _coefficient(coefficients, view, mine, 0, COEFFICIENTS)
        k2 = _coefficient(coefficients, view, mine, 1, COEFFICIENTS)
        k3 = _coefficient(coefficients, view, mine, 2, COEFFICIENTS)
        k4 = _coefficient(coefficients, view, mine, 3, COEFFICIENTS)
        p1 = _coefficient(coefficients, view, mine, 4, COEFFICIENTS)
        p2 = _coefficient(coefficients, view, mine, 5, COEFFICIENTS)
        d1 = tl.zeros((BLOCK,), tl.float32)
        d2 = tl.zeros((BLOCK,), tl.float32)
        d3 = tl.zeros((BLOCK,), tl.float32)
        if COEFFICIENTS == 9:
            d1 = _coefficient(coefficients, view, mine, 6, COEFFICIENTS)
            d2 = _coefficient(coefficients, view, mine, 7, COEFFICIENTS)
            d3 = _coefficient(coefficients, view, mine, 8, COEFFICIENTS)
        seen_x, seen_y = x, y
        for _ in range(ITERATIONS):
            u, v, xx, xy, yy = _distorted(x, y, k1, k2, k3, k4, p1, p2, d1, d2, d3)
            u, v = u - seen_x, v - seen_y
            determinant = xx * yy - xy * xy
            x -= (yy * u - xy * v) / determinant
            y -= (xx * v - xy * u) / determinant
    dx = tl.load(poses + 12 * view, mask=mine, other=0.0) * x
    dx += tl.load(poses + 12 * view + 1, mask=mine, other=0.0) * y + tl.load(
        poses + 12 * view + 2, mask=mine, other=0.0
    )
    dy = tl.load(poses + 12 * view + 4, mask=mine, other=0.0) * x
    dy += tl.load(poses + 12 * view + 5, mask=mine, other=0.0) * y + tl.load(
        poses + 12 * view + 6, mask=mine, other=0.0
    )
    dz = tl.load(poses + 12 * view + 8, mask=mine, other=0.0) * x
    dz += tl.load(poses + 12 * view + 9, mask=mine, other=0.0) * y + tl.load(
        poses + 12 * view + 10, mask=mine, other=1.0
    )
    length = tl.maximum(tl.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
    dx, dy, dz = dx / length, dy / length, dz / length
    ox = tl.load(poses + 12 * view + 3, mask=mine, other=0.0)
    oy = tl.load(poses + 12 * view + 7, mask=mine, other=0.0)
    oz = tl.load(poses + 12 * view + 11, mask=mine, other=0.0)
    if NDC:
        way = (near + oz) / dz
        ox, oy, oz = ox - way * dx, oy - way * dy, oz - way * dz
        at_x, at_y = ox / oz, oy / oz
        depth = 2.0 * near / oz
        ox, oy, oz = -across * at_x, -down * at_y, 1.0 + depth
        dx, dy, dz = -across * (dx / dz - at_x), -down * (dy / dz - at_y), -depth
    tl.store(origins + 3 * n, ox, mask=mine)
    tl.store(origins + 3 * n + 1, oy, mask=mine)
    tl.store(origins + 3 * n + 2, oz, mask=mine)
    tl.store(directions + 3 * n, dx, mask=mine)
    tl.store(directions + 3 * n + 1, dy, mask=mine)
    tl.store(directions + 3 * n + 2, dz, mask=mine)
