"""A shuffled order of any number of cells, of which each place is computed when it is asked for."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from softmine.domain import Cells

HALVES = 6
"""Times that one half of a place is moved by what the other is."""
ODD = (0x2C1B3C6D, 0x297A2D39)
"""Multipliers of a 32-bit hash (C. Wellons' search for those with the least bias, 2018)."""


def shuffled(places: Tensor, count: int, key: Tensor) -> Cells:
    """Cells (N,) from 0 to ``count`` - 1 at places (N,) of an endless shuffled order.

    Every ``passes(count)`` places hold every cell once, in an order of their own. No list of cells is kept: a place is a
    row and a column of a nearly square table, and a Feistel network (Black and Rogaway, CT-RSA 2002) takes it to another
    one. Of a table that is a little larger than the count, cells from ``count`` on are to be left out.

    Args:
        places: int64, not negative.
        count: cells, at most 2^60.
        key: int64 scalar tensor that chooses the order.
    """
    rows, columns = _table(count)
    # Numbers of 32 bits are twice as fast, but leave only 15 for a hash.
    kind = torch.int32 if max(rows, columns) <= 2**15 else torch.int64
    turn = (places // (rows * columns)).mul_(ODD[1]).add_(key ^ (key >> 32)).to(kind)
    place = (places % (rows * columns)).to(kind)
    halves, sizes = [place // columns, place % columns], (rows, columns)
    for half in range(HALVES):
        moved, other = half % 2, 1 - half % 2
        halves[moved] = _moved(halves[moved], halves[other] + turn, sizes[moved])
        turn = turn + ODD[0]
    return halves[0].long() * columns + halves[1]


def passes(count: int) -> int:
    """Places in which every one of ``count`` cells comes once: ``count``, or more by less than its root."""
    return math.prod(_table(count))


@functools.cache
def _table(count: int) -> tuple[int, int]:
    """Rows and columns of a table with ``count`` cells, not too far from a square, or a few cells more."""
    root = math.isqrt(count)
    rows = next((rows for rows in range(root, root // 4, -1) if count % rows == 0), root)
    return rows, -(-count // rows)


def _moved(number: Tensor, other: Tensor, size: int) -> Tensor:
    """Numbers below ``size``, moved on, around the end, by a hash of another one."""
    other = other * ODD[0]
    other = (other ^ (other >> 15)).mul_(ODD[1])
    bits = 15 if number.dtype == torch.int32 else 31
    far = (other >> 15).bitwise_and_((1 << bits) - 1).mul_(size) >> bits
    far.add_(number)
    return far.sub_((far >= size) * size)
