"""The CPU loops of Adam on touched rows, compiled by numba: the rows' gradient, and a step.

They share their parts among threads as those of ``encode_loops.py`` do, with the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from softmine.kernels.cpu.encode_loops import POINTS, locate, room_for
from softmine.kernels.cpu.jit import compiled, intrinsic, take
from softmine.kernels.touched_rows import STAMPS

ROWS = 2048
"""Rows of one level in a part of Adam's work."""
AHEAD = 8
"""How many rows ahead memory is asked for."""


@intrinsic
def _prefetch(typing, array, row):
    """Asks for the memory of ``array[row]``, a matrix whose rows are contiguous, without waiting."""

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        matrix = context.make_array(array_type)(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, matrix.strides, 2)[0]
        byte, word = ir.IntType(8), ir.IntType(32)
        start = builder.bitcast(matrix.data, byte.as_pointer())
        address = builder.gep(start, [builder.mul(arguments[1], stride)])
        function_type = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0i8")
        builder.call(function, [address, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@compiled
def gather_rows(queue, grad, coords, grid, records, stamp, touched, counts):
    """Adds the table's gradient to the records of the touched rows, and lists each row once.

    A record is (first moment, second moment, gradient: F each; last step; stamp). Its gradient counts only where its
    stamp is ``stamp``, so nothing is ever cleared.
    """
    _, offsets, _, _, dims, widths = grid
    corners = 1 << len(dims)
    width = len(widths)
    room = room_for(coords, dims)
    _, _, rows, weights = room
    points, levels = coords.shape[1], len(offsets)
    while True:
        level = levels - 1 - take(queue)
        if level < 0:
            break
        offset = offsets[level]
        listed = counts[level]
        for start in range(0, points, POINTS):
            count = min(POINTS, points - start)
            locate(coords, start, count, grid, level, room)
            for i in range(min(AHEAD, count)):
                for corner in range(corners):
                    _prefetch(records, offset + np.int64(rows[corner, i]))
            for i in range(count):
                if i + AHEAD < count:
                    for corner in range(corners):
                        _prefetch(records, offset + np.int64(rows[corner, i + AHEAD]))
                for corner in range(corners):
                    row = np.uintp(offset) + np.uintp(rows[corner, i])
                    fresh = records[row, np.uintp(3 * width + 1)] != stamp
                    records[row, np.uintp(3 * width + 1)] = stamp
                    # Written always and counted when new: a branch here is one the processor cannot foresee.
                    touched[level, listed] = np.uint32(row)
                    listed += fresh
                    for f in range(width):
                        old = coords.dtype.type(0) if fresh else records[row, np.uintp(2 * width + f)]
                        records[row, np.uintp(2 * width + f)] = (
                            old + weights[corner, i] * grad[start + i, level * width + f]
                        )
        counts[level] = listed


@compiled
def adam_rows(
    queue, table, records, touched, counts, widths, time, rate, first, scale, beta1, beta2, epsilon,
    momentum_rows, means, squares, drifts,
):  # fmt: skip
    """One step of Adam, the ``time``-th modulo ``STAMPS``, on the rows listed.

    ``first`` and ``scale`` are the bias corrections; ``means``, ``squares``, ``drifts`` are from ``Decays``. Only the
    first ``momentum_rows`` rows have a first moment.
    """
    width = len(widths)
    one = table.dtype.type(1)  # a plain 1 would turn everything into float64
    last_at = np.uintp(3 * width)
    longest = len(means) - 1
    while True:
        part = take(queue)
        level = len(counts) - 1
        while level >= 0 and part >= (counts[level] + ROWS - 1) // ROWS:
            part -= (counts[level] + ROWS - 1) // ROWS
            level -= 1
        if level < 0:
            break
        end = min(counts[level], (part + 1) * ROWS)
        for item in range(part * ROWS, end):
            if item + AHEAD < end:
                ahead = np.int64(touched[level, item + AHEAD])
                _prefetch(records, ahead)
                _prefetch(table, ahead)
            row = np.uintp(touched[level, item])
            gap = np.uintp(min(np.int64(time - records[row, last_at]) & (STAMPS - 1), longest))
            records[row, last_at] = time
            momentum = row < np.uintp(momentum_rows)
            size = rate * first * drifts[gap] if momentum else rate
            for f in range(width):
                gradient = records[row, np.uintp(2 * width + f)]
                mean = gradient
                if momentum:
                    mean = means[gap] * records[row, np.uintp(f)] + (one - beta1) * gradient
                    records[row, np.uintp(f)] = mean
                square = (
                    squares[gap] * records[row, np.uintp(width + f)] + (one - beta2) * gradient * gradient
                )
                records[row, np.uintp(width + f)] = square
                table[row, np.uintp(f)] -= size * mean / (np.sqrt(square) * scale + epsilon)
