"""The CPU loops of a small MLP, compiled by numba: forward and backward over blocks of points.

A layer of a few dozen units is too small for a matrix library: calling it costs as much as the product. Here a thread
takes a block of points through all layers while its activations stay in the first-level cache. As in
``encode_loops.py``, threads share the blocks through ``queue[0]``, and results are the same bits for any number of
them: each part sums its gradient by itself, and the parts are added in order.

Widths are padded with zeros to a multiple of ``UNIT``, so that every product is made of whole tiles.
"""

from __future__ import annotations

import numpy as np
from numba import carray  # pyright: ignore[reportPrivateImportUsage]
from numba.core import types

from softmine.kernels.cpu.jit import compiled, intrinsic, take
from softmine.kernels.cpu.matmul import UNIT, multiply

BLOCK = 64
"""Points a block, a multiple of ``UNIT``."""


@intrinsic
def _pointer(typing, address, like):
    """The address of numbers of the type of the array ``like``."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(address, like), generate


@compiled
def pack(addresses, sizes, widths, packed):
    """Writes the layers into one array, padded: for each (I, O) for the forward, (O, I) for the backward, bias (O,).

    ``addresses`` are of each layer's weight (O, I) and bias in turn, ``sizes`` and ``widths`` those without and with
    padding. One call for all: to enter compiled code with many arrays costs more than to copy them.
    """
    start = 0
    for layer in range(len(sizes) - 1):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        wide_in, wide_out = widths[layer], widths[layer + 1]
        back = start + wide_in * wide_out
        weight = carray(_pointer(addresses[2 * layer], packed), inputs * outputs)
        bias = carray(_pointer(addresses[2 * layer + 1], packed), outputs)
        packed[start : back + (wide_in + 1) * wide_out] = 0
        for o in range(outputs):
            row = weight[o * inputs : (o + 1) * inputs]
            copy = packed[back + o * wide_in : back + o * wide_in + inputs]
            for i in range(inputs):
                copy[i] = row[i]
        for i in range(inputs):
            copy = packed[start + i * wide_out : start + i * wide_out + outputs]
            for o in range(outputs):
                copy[o] = weight[o * inputs + i]
        for o in range(outputs):
            packed[back + wide_in * wide_out + o] = bias[o]
        start = back + (wide_in + 1) * wide_out


@compiled
def _copy(rows, flat, stride):
    """Writes rows into a flat array, ``stride`` apart."""
    for p in range(len(rows)):
        row = flat[p * stride : p * stride + rows.shape[1]]
        for i in range(len(row)):
            row[i] = rows[p, i]


@compiled
def forward(queue, inputs, packed, widths, kept, keep, out):
    """Values (N, C) from inputs (N, I); with ``keep``, every hidden layer is left in ``kept`` for the backward."""
    layers = len(widths) - 1
    first, widest = widths[0], widths.max()
    points = len(inputs)
    room = (points + UNIT - 1) // UNIT * UNIT
    scratch = np.zeros(BLOCK * first, inputs.dtype)
    turns = np.empty(2 * BLOCK * widest, inputs.dtype)
    zero = inputs.dtype.type(0)
    while True:
        start = take(queue) * BLOCK
        if start >= points:
            break
        count = min(BLOCK, points - start)
        rows = (count + UNIT - 1) // UNIT * UNIT
        _copy(inputs[start : start + count], scratch, first)
        source, source_at = scratch, 0
        weight_at, kept_at = 0, 0
        for layer in range(layers):
            wide_in, wide_out = widths[layer], widths[layer + 1]
            size = wide_in * wide_out
            last = layer == layers - 1
            if keep and not last:
                target, target_at = kept, kept_at + start * wide_out
            else:
                target, target_at = turns, (layer & 1) * BLOCK * widest
            bias = packed[weight_at + 2 * size : weight_at + 2 * size + wide_out]
            for p in range(rows):
                row = target[target_at + p * wide_out : target_at + (p + 1) * wide_out]
                for o in range(wide_out):
                    row[o] = bias[o]
            multiply(
                target, target_at, wide_out, source, source_at, wide_in, 1,
                packed, weight_at, wide_out, rows, wide_out, wide_in,
            )  # fmt: skip
            if not last:
                hidden = target[target_at : target_at + rows * wide_out]
                for i in range(len(hidden)):
                    # So that NaN stays NaN.
                    hidden[i] = zero if hidden[i] < zero else hidden[i]
            source, source_at = target, target_at
            weight_at += 2 * size + wide_out
            kept_at += room * wide_out
        for p in range(count):
            for c in range(out.shape[1]):
                out[start + p, c] = source[source_at + p * widths[layers] + c]


@compiled
def backward(queue, grad, inputs, packed, widths, kept, share, sums, wanted, of_inputs):
    """Gradient of all layers, a row of ``sums`` for every part of ``share`` points, and (N, I) of the inputs if wanted."""
    layers = len(widths) - 1
    first, widest = widths[0], widths.max()
    points = len(inputs)
    room = (points + UNIT - 1) // UNIT * UNIT
    scratch = np.zeros(BLOCK * first, inputs.dtype)
    turns = np.zeros(2 * BLOCK * widest, inputs.dtype)
    zero = inputs.dtype.type(0)
    while True:
        part = take(queue)
        if part * share >= points:
            break
        total = sums[part]
        for start in range(part * share, min(points, (part + 1) * share), BLOCK):
            count = min(BLOCK, points - start)
            rows = (count + UNIT - 1) // UNIT * UNIT
            _copy(inputs[start : start + count], scratch, first)
            now, weight_at, sum_at, kept_at = 0, 0, 0, 0
            for layer in range(layers):
                weight_at += (2 * widths[layer] + 1) * widths[layer + 1]
                sum_at += (widths[layer] + 1) * widths[layer + 1]
                kept_at += room * widths[layer + 1]
            turns[: rows * widths[layers]] = zero
            _copy(grad[start : start + count], turns, widths[layers])
            for layer in range(layers - 1, -1, -1):
                wide_in, wide_out = widths[layer], widths[layer + 1]
                size = wide_in * wide_out
                weight_at -= 2 * size + wide_out
                sum_at -= size + wide_out
                kept_at -= room * wide_out
                here, there = now * BLOCK * widest, (1 - now) * BLOCK * widest
                if layer > 0:
                    source, source_at = kept, kept_at - room * wide_in + start * wide_in
                else:
                    source, source_at = scratch, 0
                multiply(
                    total, sum_at, wide_in, turns, here, 1, wide_out,
                    source, source_at, wide_in, wide_out, wide_in, rows,
                )  # fmt: skip
                of_bias = total[sum_at + size : sum_at + size + wide_out]
                for p in range(rows):
                    row = turns[here + p * wide_out : here + (p + 1) * wide_out]
                    for o in range(wide_out):
                        of_bias[o] += row[o]
                of_source = turns[there : there + rows * wide_in]
                if layer > 0 or wanted:
                    for i in range(len(of_source)):
                        of_source[i] = zero
                    multiply(
                        turns, there, wide_in, turns, here, wide_out, 1,
                        packed, weight_at + size, wide_in, rows, wide_in, wide_out,
                    )  # fmt: skip
                if layer > 0:
                    hidden = source[source_at : source_at + rows * wide_in]
                    for i in range(len(hidden)):
                        of_source[i] = zero if hidden[i] <= zero else of_source[i]
                now = 1 - now
            if wanted:
                at = now * BLOCK * widest
                for p in range(count):
                    row = turns[at + p * first : at + p * first + of_inputs.shape[1]]
                    for i in range(len(row)):
                        of_inputs[start + p, i] = row[i]


@compiled
def add_parts(sums, sizes, widths, out):
    """Adds the parts' gradients, in order, and takes the padding out: weight (O, I) and bias (O,) of each layer in turn."""
    start, end = 0, 0
    for layer in range(len(sizes) - 1):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        wide_in = widths[layer]
        for o in range(outputs + 1):
            # Behind the rows of weights lies the bias.
            count = inputs if o < outputs else outputs
            at = start + (o * wide_in if o < outputs else wide_in * widths[layer + 1])
            total = out[end : end + count]
            for part in range(len(sums)):
                row = sums[part, at : at + count]
                for i in range(count):
                    total[i] = row[i] if part == 0 else total[i] + row[i]
            end += count
        start += (wide_in + 1) * widths[layer + 1]
