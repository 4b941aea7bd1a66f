"""The small kernels of samplers: random numbers, a batch that was drawn ahead, errors noted, samples counted."""

from __future__ import annotations

import triton.language as tl  # pyright: ignore[reportMissingImports]

from softmine.kernels.triton.kernels import compiled


@compiled
def random_numbers(key, counter, out, count, UNIFORM: tl.constexpr, BLOCK: tl.constexpr):
    """Words of a stream of random numbers from where it stands, or with UNIFORM the numbers in [0, 1) of their 24 upper bits.

    SplitMix64, as in ``softmine.sampling.random``; shifts are of unsigned words.
    """
    item = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = item < count
    step = tl.full((1,), 0x9E3779B97F4A7C15, tl.uint64)
    place = (tl.load(counter) + item + 1).to(tl.uint64)
    bits = tl.load(key).to(tl.uint64) + place * step
    bits = (bits ^ (bits >> 30)) * tl.full((1,), 0xBF58476D1CE4E5B9, tl.uint64)
    bits = (bits ^ (bits >> 27)) * tl.full((1,), 0x94D049BB133111EB, tl.uint64)
    if UNIFORM:
        tl.store(out + item, (bits >> 40).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08, mask=inside)
    else:
        tl.store(out + item, (bits ^ (bits >> 31)).to(tl.int64), mask=inside)


@compiled
def take_batch(
    all_coords, all_density, all_limit, first, number, step, coords, density, limit, step_out, period, points,
    LIMIT: tl.constexpr, ON_DEVICE: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One of ``period`` batches that were drawn ahead, and the step at which it is taken.

    Whose turn it is follows from its number, which is on the device or not, and the first one.
    """
    index = tl.load(number) if ON_DEVICE else number
    turn = (tl.load(first) + index) % period
    item = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = item < points
    there = turn * points + item
    for axis in tl.static_range(DIM):
        x = tl.load(all_coords + there * DIM + axis, mask=inside, other=0.0)
        tl.store(coords + item * DIM + axis, x, mask=inside)
    tl.store(density + item, tl.load(all_density + there, mask=inside, other=1.0), mask=inside)
    if LIMIT:
        tl.store(limit + item, tl.load(all_limit + there, mask=inside, other=0.0), mask=inside)
    if tl.program_id(0) == 0:
        tl.store(step_out, tl.load(step))


@compiled
def note_errors(
    errors, seen, first, number, drawn, period, points, ON_DEVICE: tl.constexpr, BLOCK: tl.constexpr
):
    """Writes the errors of a batch to its place among those of ``period``; what is no number, or infinite, as zero.

    A number on the device may be that of a batch that was drawn before these: its errors are left out.
    """
    index = tl.load(number) if ON_DEVICE else number
    oldest = tl.load(drawn) - period if ON_DEVICE else 0
    turn = (tl.load(first) + index) % period
    item = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = item < points
    error = tl.load(errors + item, mask=inside, other=0.0)
    error = tl.where((error >= 0.0) & (error < float("inf")), error, 0.0)
    tl.store(
        seen + turn * points + item, error, mask=inside & (tl.zeros((BLOCK,), tl.int64) + index >= oldest)
    )


@compiled
def count_cells(
    coords, counts, points, fine0, fine1, fine2, fine3, coarse0, coarse1, coarse2, coarse3,
    DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds one to the count of the coarse cell in which the center of the fine one lies that holds each coordinate."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < points
    flat = tl.zeros((BLOCK,), tl.int64)
    for axis in tl.static_range(DIM):
        if axis == 0:
            fine, coarse = fine0, coarse0
        elif axis == 1:
            fine, coarse = fine1, coarse1
        elif axis == 2:
            fine, coarse = fine2, coarse2
        else:
            fine, coarse = fine3, coarse3
        x = tl.load(coords + point * DIM + axis, mask=inside, other=0.0)
        place = tl.minimum(tl.maximum((x * fine.to(tl.float32)).to(tl.int64), 0), fine - 1)
        flat = flat * coarse + (2 * place + 1) * coarse // (2 * fine)
    tl.atomic_add(counts + flat, tl.full((BLOCK,), 1.0, tl.float32), mask=inside, sem="relaxed")
