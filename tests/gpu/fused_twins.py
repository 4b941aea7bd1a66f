"""What the kernels of the fused step do, in plain torch; a part of ``reference_kernels.REFERENCES``."""

from __future__ import annotations

import torch

from softmine.kernels import reference
from softmine.kernels.grid import Grid
from softmine.sampling.random import _STEP, _shift, mixed


def rounded(values, product):
    """As operands of a product are rounded: to nearest on a GPU; Triton's interpreter cuts off."""
    if product == "rounded":
        return (values.contiguous().view(torch.int32) & -65536).view(torch.float32)
    return values.bfloat16().float() if product == "bf16" else values


def field_step(
    coords, targets, density, limit, weights, step, table, resolutions, offsets,
    w1, b1, w2, b2, w3, b3, of_w1, of_b1, of_w2, of_b2, of_w3, of_b3, of_features, of_values, errors, losses, sums,
    table_size, dense_levels, alpha, warmup, kept, share, TRAIN, WEIGHTS, LIMIT, PRODUCT, CHANNELS, BLOCK, **_,
):  # fmt: skip
    grid = Grid(resolutions, offsets, table_size, dense_levels)
    features = rounded(reference.encode(coords, table, grid).float(), PRODUCT)
    layers = [rounded(layer, PRODUCT) for layer in (w1, w2, w3)]
    first = rounded((features @ layers[0].T + b1).relu(), PRODUCT)
    second = rounded((first @ layers[1].T + b2).relu(), PRODUCT)
    residual = second @ layers[2].T + b3 - targets
    errors.copy_(residual.abs().mean(-1))
    losses.copy_(residual.square().mean(-1))
    if not TRAIN:
        return
    weight = torch.ones_like(errors)
    if WEIGHTS == 1:
        weight = weights
    elif WEIGHTS == 2:
        weight = density ** (-alpha * ((step / warmup).clamp(max=1) if warmup else 1))
        if LIMIT:
            weight = torch.where(errors > limit, weight * kept, weight)
    for part, summed in enumerate((weight * losses).split(BLOCK)):
        sums[part] = summed.sum()
    slope = (weight * share * (2 / CHANNELS)).unsqueeze(1) * residual
    of_values.copy_(slope)
    of_b3.add_(slope.sum(0))
    slope = rounded(slope, PRODUCT)
    of_w3.add_(slope.T @ second)
    slope = (slope @ layers[2]) * (second > 0)
    of_b2.add_(slope.sum(0))
    slope = rounded(slope, PRODUCT)
    of_w2.add_(slope.T @ first)
    slope = (slope @ layers[1]) * (first > 0)
    of_b1.add_(slope.sum(0))
    slope = rounded(slope, PRODUCT)
    of_w1.add_(slope.T @ features)
    of_features.copy_(slope @ layers[0])


def finish(sums, loss, first_bad, step, share, **_):
    loss.copy_(sums.sum() * share)
    now = step + 1
    first_bad.copy_(torch.where(loss.isfinite() | (first_bad < now), first_bad, now))


def take_cells(coords, stored, known, centers, values, n0, n1, n2, n3, zero, span, KNOWN, DIM, **_):
    sizes = torch.tensor((n0, n1, n2, n3)[:DIM])
    places = (coords * sizes).floor()
    centers.copy_((places + 0.5) / sizes)
    flat = torch.zeros(len(coords), dtype=torch.int64)
    for axis, size in enumerate(sizes.tolist()):
        flat = flat * size + places[:, axis].long().clamp(0, size - 1)
    found = (stored[flat].float() - zero) / span
    values.copy_(torch.where(known[flat].bool().unsqueeze(1), found, 0.0) if KNOWN else found)


def random_numbers(key, counter, out, count, UNIFORM, **_):
    bits = mixed(key + (counter + torch.arange(1, count + 1)) * _STEP)
    out.copy_(_shift(bits, 40).float() * 2.0**-24 if UNIFORM else bits)


def take_batch(
    all_coords,
    all_density,
    all_limit,
    first,
    number,
    step,
    coords,
    density,
    limit,
    step_out,
    period,
    LIMIT,
    **_,
):
    turn = (first + number) % period
    coords.copy_(all_coords[turn][0])
    density.copy_(all_density[turn][0])
    if LIMIT:
        limit.copy_(all_limit[turn][0])
    step_out.copy_(step)


def note_errors(errors, seen, first, number, drawn, period, ON_DEVICE, **_):
    if not ON_DEVICE or number >= drawn - period:
        seen[(first + number) % period] = torch.where((errors >= 0) & errors.isfinite(), errors, 0.0)


def count_cells(coords, counts, DIM, **given):
    flat = torch.zeros(len(coords), dtype=torch.int64)
    for axis in range(DIM):
        fine, coarse = given[f"fine{axis}"], given[f"coarse{axis}"]
        place = (coords[:, axis] * fine).long().clamp(0, fine - 1)
        flat = flat * coarse + (2 * place + 1) * coarse // (2 * fine)
    counts.scatter_add_(0, flat, torch.ones(len(coords)))


_ALL = (field_step, finish, take_cells, random_numbers, take_batch, note_errors, count_cells)
TWINS = {each.__name__: each for each in _ALL}
"""By the name of the kernel."""
