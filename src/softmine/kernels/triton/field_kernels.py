"""The kernels of a training step of a field of a hash grid and an MLP.

One takes the values to learn, one encodes, evaluates, compares, weighs and goes back, one takes up the loss.
"""

from __future__ import annotations

import triton.language as tl  # pyright: ignore[reportMissingImports]

from softmine.kernels.triton.kernels import compiled


@compiled
def _product(a, b, PRODUCT: tl.constexpr):
    """A matrix product summed in float32, of bfloat16 (``bf16``) or of float32 as precisely as ``tf32`` or ``ieee`` says.

    Triton's interpreter knows no products of bfloat16: ``rounded`` has their values.
    """
    if PRODUCT == "bf16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    elif PRODUCT == "rounded":
        return tl.dot(
            a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32), input_precision="ieee"
        )
    else:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision=PRODUCT)


@compiled
def _kept(values, PRODUCT: tl.constexpr):
    """Values as the next product takes them, which need not be kept longer than that."""
    if PRODUCT == "bf16":
        return values.to(tl.bfloat16)
    elif PRODUCT == "rounded":
        return values.to(tl.bfloat16).to(tl.float32)
    else:
        return values


@compiled
def _features(
    coords, table, resolutions, offsets, point, inside, table_size, dense_levels,
    DIM: tl.constexpr, LEVELS: tl.constexpr, WIDTH: tl.constexpr, INPUTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Features (BLOCK, INPUTS) of all levels side by side; see ``encode`` and ``_corner`` in ``kernels``."""
    column = tl.arange(0, INPUTS)
    used = column < LEVELS * WIDTH
    level = column // WIDTH
    offset = tl.load(offsets + level, mask=used, other=0)
    dense = level < dense_levels
    mask = inside[:, None] & used[None, :]
    total = tl.zeros((BLOCK, INPUTS), tl.float32)
    for corner in tl.static_range(1 << DIM):
        weight = tl.full((BLOCK, INPUTS), 1.0, tl.float32)
        flat = tl.zeros((BLOCK, INPUTS), tl.uint32)
        mixed = tl.zeros((BLOCK, INPUTS), tl.uint32)
        stride = tl.full((INPUTS,), 1, tl.uint32)
        for axis in tl.static_range(DIM):
            x = tl.load(coords + point * DIM + axis, mask=inside, other=0.0)
            resolution = tl.load(resolutions + level * DIM + axis, mask=used, other=1).to(tl.int32)
            # Comparisons, not minimum and maximum, so that NaN sits in cell 0.
            clamped = tl.where(x > 0.0, x, 0.0)
            clamped = tl.where(clamped < 1.0, clamped, 1.0)
            position = clamped[:, None] * resolution.to(tl.float32)[None, :]
            cell = position.to(tl.int32)
            cell = tl.where(cell < resolution[None, :], cell, resolution[None, :] - 1)
            fraction = position - cell.to(tl.float32)
            fraction = tl.where((x == x)[:, None], fraction, x[:, None])
            if (corner >> axis) & 1:
                weight *= fraction
                cell += 1
            else:
                weight *= 1.0 - fraction
            vertex = cell.to(tl.uint32)
            flat += vertex * stride[None, :]
            stride *= (resolution + 1).to(tl.uint32)
            if axis == 0:
                mixed ^= vertex
            elif axis == 1:
                mixed ^= vertex * tl.full((1, 1), 2654435761, tl.uint32)
            elif axis == 2:
                mixed ^= vertex * tl.full((1, 1), 805459861, tl.uint32)
            else:
                mixed ^= vertex * tl.full((1, 1), 3674653429, tl.uint32)
        row = (
            tl.where(dense[None, :], flat, mixed & (table_size - 1).to(tl.uint32)).to(tl.int64)
            + offset[None, :]
        )
        # The features of a row lie side by side, and are read together.
        place = tl.max_contiguous(
            tl.multiple_of(row * WIDTH + (column % WIDTH)[None, :], (1, WIDTH)), (1, WIDTH)
        )
        total += weight * tl.load(table + place, mask=mask, other=0.0).to(tl.float32)
    return total


@compiled
def field_step(
    coords, targets, density, limit, weights, step, table, resolutions, offsets,
    w1, b1, w2, b2, w3, b3, of_w1, of_b1, of_w2, of_b2, of_w3, of_b3, of_features, of_values, errors, losses, sums,
    points, table_size, dense_levels, alpha, warmup, kept, share,
    TRAIN: tl.constexpr, WEIGHTS: tl.constexpr, LIMIT: tl.constexpr, PRODUCT: tl.constexpr,
    DIM: tl.constexpr, LEVELS: tl.constexpr, WIDTH: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr,
    CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Error and loss of a field at coordinates (N, D) with values to be (N, C), and with TRAIN their gradients.

    The field is a hash grid, of which all levels are encoded at once, and an MLP with two hidden layers of HIDDEN units.
    Error is the mean absolute difference of the channels, loss the mean square, both (N,). The weights (N,) of the losses
    are one (WEIGHTS 0), as given (1), or from the density over uniform (2): to the power of minus alpha, which grows to
    its full size over ``warmup`` steps, and where the error is above a ``limit`` (LIMIT), times ``kept``.

    Written, with TRAIN: the sum of the weighted losses of each program (P,); their gradient, times ``share``, in the
    features (N, L * F) and in the field's values (N, C); added, to what is there, that in the layers.
    """
    program = tl.program_id(0)
    point = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < points
    column = tl.arange(0, INPUTS)
    used = column < LEVELS * WIDTH
    unit = tl.arange(0, HIDDEN)
    channel = tl.arange(0, OUTPUTS)
    given = channel < CHANNELS
    features = _features(
        coords, table, resolutions, offsets, point, inside, table_size, dense_levels, DIM, LEVELS, WIDTH, INPUTS, BLOCK
    )  # fmt: skip
    features = _kept(features, PRODUCT)
    of_layer1 = unit[None, :] * (LEVELS * WIDTH) + column[:, None]
    layer1 = _kept(tl.load(w1 + of_layer1, mask=used[:, None], other=0.0), PRODUCT)
    first = _product(features, layer1, PRODUCT) + tl.load(b1 + unit)[None, :]
    # Comparisons keep NaN.
    first = _kept(tl.where(first <= 0.0, 0.0, first), PRODUCT)
    of_layer2 = unit[None, :] * HIDDEN + unit[:, None]
    layer2 = _kept(tl.load(w2 + of_layer2), PRODUCT)
    second = _product(first, layer2, PRODUCT) + tl.load(b2 + unit)[None, :]
    second = _kept(tl.where(second <= 0.0, 0.0, second), PRODUCT)
    of_layer3 = channel[None, :] * HIDDEN + unit[:, None]
    layer3 = _kept(tl.load(w3 + of_layer3, mask=given[None, :], other=0.0), PRODUCT)
    value = _product(second, layer3, PRODUCT) + tl.load(b3 + channel, mask=given, other=0.0)[None, :]
    known = inside[:, None] & given[None, :]
    here = point[:, None] * CHANNELS + channel[None, :]
    residual = tl.where(known, value - tl.load(targets + here, mask=known, other=0.0), 0.0)
    error = tl.sum(tl.abs(residual), 1) / CHANNELS
    loss = tl.sum(residual * residual, 1) / CHANNELS
    tl.store(errors + point, error, mask=inside)
    tl.store(losses + point, loss, mask=inside)
    if TRAIN:
        weight = tl.full((BLOCK,), 1.0, tl.float32)
        if WEIGHTS == 1:
            weight = tl.load(weights + point, mask=inside, other=0.0)
        elif WEIGHTS == 2:
            grown = tl.minimum(tl.load(step).to(tl.float32) / tl.maximum(warmup, 1.0), 1.0)
            grown = tl.where(warmup > 0.0, grown, 1.0)
            weight = tl.exp2(-alpha * grown * tl.log2(tl.load(density + point, mask=inside, other=1.0)))
            if LIMIT:
                above = error > tl.load(limit + point, mask=inside, other=0.0)
                weight = tl.where(above, weight * kept, weight)
        tl.store(sums + program, tl.sum(tl.where(inside, weight * loss, 0.0), 0))
        slope = (weight * share * (2.0 / CHANNELS))[:, None] * residual
        tl.store(of_values + here, slope, mask=known)
        tl.atomic_add(of_b3 + channel, tl.sum(slope, 0), mask=given, sem="relaxed")
        slope = _kept(slope, PRODUCT)
        tl.atomic_add(
            of_w3 + tl.trans(of_layer3),
            _product(tl.trans(slope), second, PRODUCT),
            mask=given[:, None],
            sem="relaxed",
        )
        above = second.to(tl.float32) > 0.0
        layer3 = _kept(tl.load(w3 + tl.trans(of_layer3), mask=given[:, None], other=0.0), PRODUCT)
        slope = tl.where(above, _product(slope, layer3, PRODUCT), 0.0)
        tl.atomic_add(of_b2 + unit, tl.sum(slope, 0), sem="relaxed")
        slope = _kept(slope, PRODUCT)
        tl.atomic_add(of_w2 + tl.trans(of_layer2), _product(tl.trans(slope), first, PRODUCT), sem="relaxed")
        above = first.to(tl.float32) > 0.0
        layer2 = _kept(tl.load(w2 + tl.trans(of_layer2)), PRODUCT)
        slope = tl.where(above, _product(slope, layer2, PRODUCT), 0.0)
        tl.atomic_add(of_b1 + unit, tl.sum(slope, 0), sem="relaxed")
        slope = _kept(slope, PRODUCT)
        tl.atomic_add(
            of_w1 + tl.trans(of_layer1),
            _product(tl.trans(slope), features, PRODUCT),
            mask=used[None, :],
            sem="relaxed",
        )
        layer1 = _kept(tl.load(w1 + tl.trans(of_layer1), mask=used[None, :], other=0.0), PRODUCT)
        slope = _product(slope, layer1, PRODUCT)
        there = point[:, None] * (LEVELS * WIDTH) + column[None, :]
        tl.store(of_features + there, slope, mask=inside[:, None] & used[None, :])


@compiled
def take_cells(
    coords, stored, known, centers, values, points, n0, n1, n2, n3, zero, span,
    KNOWN: tl.constexpr, DIM: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """See ``gather_cells`` in ``cells``; WIDTH is the power of two from CHANNELS on."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < points
    flat = tl.zeros((BLOCK,), tl.int64)
    for axis in tl.static_range(DIM):
        if axis == 0:
            size = n0
        elif axis == 1:
            size = n1
        elif axis == 2:
            size = n2
        else:
            size = n3
        x = tl.load(coords + point * DIM + axis, mask=inside, other=0.0)
        place = tl.floor(x * size.to(tl.float32))
        # Rounded as division is elsewhere, so that all devices train at the same coordinates.
        center = tl.math.div_rn(place + 0.5, tl.full((BLOCK,), 0.0, tl.float32) + size.to(tl.float32))
        tl.store(centers + point * DIM + axis, center, mask=inside)
        cell = tl.minimum(tl.maximum(place.to(tl.int64), 0), size - 1)
        flat = flat * size + cell
    channel = tl.arange(0, WIDTH)
    mask = inside[:, None] & (channel < CHANNELS)[None, :]
    raw = tl.load(stored + flat[:, None] * CHANNELS + channel[None, :], mask=mask, other=0).to(tl.float32)
    value = tl.math.div_rn(raw - zero, tl.full((BLOCK, WIDTH), 0.0, tl.float32) + span)
    if KNOWN:
        held = tl.load(known + flat, mask=inside, other=0) != 0
        value = tl.where(held[:, None], value, 0.0)
    tl.store(values + point[:, None] * CHANNELS + channel[None, :], value, mask=mask)


@compiled
def finish(sums, loss, first_bad, step, count, share, BLOCK: tl.constexpr):
    """Loss () of a batch from the sums of its parts, and the number of the first step in which it was not finite."""
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, count, BLOCK):
        item = start + tl.arange(0, BLOCK)
        total += tl.load(sums + item, mask=item < count, other=0.0)
    mean = tl.sum(total, 0) * share
    tl.store(loss, mean)
    bad = tl.load(first_bad)
    now = tl.load(step) + 1
    # Neither NaN nor infinite.
    good = tl.abs(mean) <= 3.4028234e38
    tl.store(first_bad, tl.where(good | (bad < now), bad, now))
