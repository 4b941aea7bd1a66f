"""Which cells of a grid hold anything, and coordinates drawn from those alone.

A mask of tens of millions of cells must not become a list of as many indices. It stays one byte a cell, which says how
many of its block of 64 cells are set up to there, with one count for each block: the n-th cell that is set is found by
a search among the blocks and one within the block. Up to ``LISTED`` cells are listed besides, which spares the search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

Cells = Int[Tensor, "n"]
"""Flat (row-major) cell indices, shape (N,)."""
Flags = Bool[Tensor, "n"]
"""One truth value a sample, shape (N,)."""

BLOCK = 64
"""Cells that share a count."""
LISTED = 2**22
"""Set cells, at most, that have a list of their own: 16 MiB."""
AT_A_TIME = 2**22
"""Cells that are put in order at a time, so that building takes little memory."""


class SetCells(nn.Module):
    """The cells of a flat mask that are set, numbered from 0.

    Args:
        flags: True where a cell is set, (M,).

    Example:
        >>> cells = SetCells(torch.tensor([False, True, True, False, True]))
        >>> cells.count, cells.nth(torch.tensor([0, 2])).tolist()
        (3, [1, 4])
    """

    within: Tensor
    before: Tensor
    listed: Tensor

    def __init__(self, flags: Flags) -> None:
        super().__init__()
        self.length = len(flags)
        blocks = torch.nn.functional.pad(flags, (0, -len(flags) % BLOCK)).view(-1, BLOCK)
        within = blocks.cumsum(-1, dtype=torch.uint8)
        before = torch.nn.functional.pad(within[:, -1].cumsum(0, dtype=torch.int64), (1, 0))
        self.count = int(before[-1])
        self.register_buffer("within", within, persistent=False)
        self.register_buffer("before", before, persistent=False)
        listed = flags.nonzero().view(-1) if self.count <= LISTED else torch.empty(0)
        self.register_buffer("listed", listed.to(torch.int32), persistent=False)

    @property
    def flags(self) -> Flags:
        """True where a cell is set, (M,), a new tensor."""
        earlier = torch.nn.functional.pad(self.within[:, :-1], (1, 0))
        return (self.within != earlier).flatten()[: self.length]

    def nth(self, numbers: Cells) -> Cells:
        """The cells (N,) of these numbers (N,), each below ``count``."""
        if len(self.listed):
            return self.listed[numbers].long()
        block = torch.searchsorted(self.before, numbers.contiguous(), right=True) - 1
        left = (numbers - self.before[block]).to(torch.uint8).unsqueeze(-1)
        return block * BLOCK + torch.searchsorted(self.within[block], left, right=True).squeeze(-1)

    def number(self, cells: Cells) -> Cells:
        """How many set cells come before each of these cells, (N,): its own number, if it is set."""
        return self.before[cells // BLOCK] + self._earlier(cells)

    def has(self, cells: Cells) -> Flags:
        """Which of these cells (N,) are set."""
        return self.within.view(-1)[cells] != self._earlier(cells)

    def _earlier(self, cells: Cells) -> Tensor:
        """How many cells of their block are set before each of these cells, (N,)."""
        return self.within.view(-1)[(cells - 1).clamp_min(0)] * (cells % BLOCK != 0)


class MaskedGrid(nn.Module):
    """A coarse grid over a masked fine one, and of its cells those that hold anything: *pieces*, in row-major order.

    A fine cell belongs to the coarse cell that its center lies in, so that no fine cell is cut.

    Args:
        mask: True where a fine cell holds something; at most 2^31 cells.
        shape: coarse cells along each axis, at most as many as fine ones.
    """

    first: Tensor

    def __init__(self, mask: Bool[Tensor, "..."], shape: Sequence[int]) -> None:
        super().__init__()
        self.fine, self.coarse = tuple(mask.shape), tuple(shape)
        self.same = self.fine == self.coarse
        held = torch.zeros(0, dtype=torch.int64)
        self.whole = math.prod(self.coarse) == 1
        if self.same:
            self.inner = self.outer = SetCells(mask.flatten())
        elif self.whole:
            self.inner, self.outer = SetCells(mask.flatten()), SetCells(torch.tensor([True]))
            held = torch.tensor([self.inner.count])
        else:
            # Its cells in the order of the coarse ones, so that those of a piece are neighbors.
            ordered, held = self._in_order(mask)
            self.inner, self.outer = SetCells(ordered), SetCells(held > 0)
            held = held[held > 0]
        first = torch.nn.functional.pad(held.cumsum(0), (1, 0))
        self.register_buffer("first", first, persistent=False)
        self.count = self.outer.count

    @property
    def counts(self) -> Cells:
        """How many set cells each piece holds, (K,)."""
        return torch.ones(self.count, dtype=torch.int64) if self.same else self.first.diff()

    def inside(self, pieces: Cells, offsets: Sequence[Tensor]) -> tuple[Cells, list[Tensor]]:
        """A fine cell that is set, (N,), and offsets in it, for offsets in [0, 1) along each axis of pieces (N,).

        Uniform offsets in the piece fall uniformly on its set cells: the place among all its cells, in row-major
        order, is squeezed to one among those that are set, and what this leaves is the offset along the last axis.
        """
        if self.same:
            return self.inner.nth(pieces), list(offsets)
        if self.whole:
            # One piece, of which all is known: numbers instead of tensors save most of the divisions.
            return _squeezed(pieces, offsets, self.fine, self.inner, 0, self.inner.count)
        lows, widths = self._extent(self.outer.nth(pieces))
        first = self.first[pieces]
        position, within = _squeezed(
            pieces, offsets, widths, self.inner, first, self.first[pieces + 1] - first
        )
        return self._flat(position - self._start(lows, widths), lows, widths), within

    def find(self, cells: Cells) -> tuple[Cells, Flags]:
        """The pieces (N,) that hold fine cells (N,), and whether these are set; where they are not, any piece."""
        if self.same:
            pieces, found = self.inner.number(cells), self.inner.has(cells)
        else:
            indices = _indices(cells, self.fine)
            sizes = zip(indices, self.fine, self.coarse, strict=True)
            coarse = _join([block_of(index, size, many) for index, size, many in sizes], self.coarse)
            pieces, found = self.outer.number(coarse), self.inner.has(self._position(indices, coarse))
        return pieces.clamp(max=self.count - 1), found

    def _extent(self, coarse: Cells) -> tuple[list[Tensor], list[Tensor]]:
        """First fine index and number of fine cells along each axis, each (N,), of flat coarse cells (N,)."""
        indices = _indices(coarse, self.coarse)
        axes = list(zip(indices, self.fine, self.coarse, strict=True))
        lows = [block_start(index, size, many) for index, size, many in axes]
        highs = [block_start(index + 1, size, many) for index, size, many in axes]
        return lows, [high - low for low, high in zip(lows, highs, strict=True)]

    def _start(self, lows: Sequence[Tensor], widths: Sequence[Tensor]) -> Tensor:
        """How many fine cells come before a coarse one in the order of those."""
        start, before = torch.zeros_like(lows[0]), torch.ones_like(lows[0])
        for axis, (low, width) in enumerate(zip(lows, widths, strict=True)):
            start = start + before * low * math.prod(self.fine[axis + 1 :])
            before = before * width
        return start

    def _position(self, indices: Sequence[Tensor], coarse: Cells) -> Cells:
        """Place of fine cells, by their index along each axis, in the order of the coarse ones that hold them (N,)."""
        lows, widths = self._extent(coarse)
        place = torch.zeros_like(coarse)
        for index, low, width in zip(indices, lows, widths, strict=True):
            place = place * width + index - low
        return place + self._start(lows, widths)

    def _flat(self, place: Tensor, lows: Sequence[Tensor], widths: Sequence[Tensor]) -> Tensor:
        """Flat fine cells (N,) at places within coarse ones."""
        indices = []
        for low, width in zip(reversed(lows), reversed(widths), strict=True):
            indices.append(low + place % width)
            place = place // width
        return _join(indices[::-1], self.fine)

    def _in_order(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The mask (M,) in the order of the coarse cells, and how many cells are set in each of those, (K,)."""
        rows, behind, coarse_behind = self.fine[0], math.prod(self.fine[1:]), math.prod(self.coarse[1:])
        flags = mask.reshape(rows, behind)
        ordered = torch.empty(rows * behind, dtype=torch.bool)
        held = torch.zeros(self.coarse[0], coarse_behind, dtype=torch.int64)
        # Of every place, the parts that the other axes decide, which are the same in all rows.
        rest = _columns(self.fine[1:], self.coarse[1:])
        chunk = max(1, AT_A_TIME // behind)
        for start in range(0, rows, chunk):
            part = flags[start : start + chunk]
            index = torch.arange(start, start + len(part))
            holder = block_of(index, rows, self.coarse[0])
            low, high = (block_start(holder + step, rows, self.coarse[0]) for step in (0, 1))
            low, width, offset = (each.unsqueeze(-1) for each in (low, high - low, index - low))
            place = (width * rest.start).add_(offset * rest.size).add_(rest.place).add_(low * behind)
            ordered[place.flatten()] = part.flatten()
            first, last = int(holder[0]), int(holder[-1]) + 1
            summed = torch.zeros(last - first, behind, dtype=torch.int64)
            summed.index_add_(0, holder - first, part.long())
            held[first:last].index_add_(1, rest.holder, summed)
        return ordered, held.flatten()


def _squeezed(
    pieces: Cells,
    offsets: Sequence[Tensor],
    widths: Sequence[Tensor] | Sequence[int],
    inner: SetCells,
    first: Tensor | int,
    count: Tensor | int,
) -> tuple[Cells, list[Tensor]]:
    """Set cells (N,) by their place in the order of pieces (N,), and offsets in them, for offsets in the pieces.

    Args:
        pieces: whose number matters no more.
        offsets: in [0, 1) along each axis.
        widths: fine cells of the pieces along each axis.
        inner: the set cells in that order.
        first: the pieces' first among these.
        count: how many of them the pieces hold.
    """
    place, within, size = torch.zeros_like(pieces), [], 1
    for offset, width in zip(offsets, widths, strict=True):
        along = offset * width
        index = along.long().clamp(max=width - 1)
        place, size = place * width + index, width * size
        within.append(along - index)
    # Whole numbers, because float32 has not the digits of a large grid.
    whole = place * count // size
    along = (place * count - whole * size + within[-1] * count) / size
    over = along.floor()
    within[-1] = along - over
    return inner.nth((whole + over.long()).clamp(max=count - 1) + first), within


class Columns(NamedTuple):
    """For every fine cell of a grid: its coarse cell, how many cells that holds and come before it, its place in it."""

    holder: Tensor
    size: Tensor
    start: Tensor
    place: Tensor


def _columns(fine: Sequence[int], coarse: Sequence[int]) -> Columns:
    """All about the cells of a grid of shape ``fine``, flat, for coarse cells in row-major order."""
    holder, size, start, place = (torch.tensor([value]) for value in (0, 1, 0, 0))
    for axis in reversed(range(len(fine))):
        index = torch.arange(fine[axis])
        along = block_of(index, fine[axis], coarse[axis])
        low, high = (block_start(along + step, fine[axis], coarse[axis]) for step in (0, 1))
        low, width, offset = (each.unsqueeze(-1) for each in (low, high - low, index - low))
        start = (low * len(start) + width * start).flatten()
        place = (offset * size + place).flatten()
        holder = (along.unsqueeze(-1) * math.prod(coarse[axis + 1 :]) + holder).flatten()
        size = (width * size).flatten()
    return Columns(holder, size, start, place)


def block_of(index: Tensor, size: int, many: int) -> Tensor:
    """Which of ``many`` coarse cells holds the center of a fine one of this index, of ``size``, along one axis."""
    return (2 * index + 1) * many // (2 * size)


def block_start(block: Tensor, size: int, many: int) -> Tensor:
    """The first fine index whose center lies in the coarse cell of this index, along one axis."""
    return (2 * size * block + many - 1) // (2 * many)


def _indices(flat: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Index along each axis of flat cells."""
    indices = []
    for size in reversed(shape):
        indices.append(flat % size)
        flat = flat // size
    return indices[::-1]


def _join(indices: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Flat cells of indices along each axis."""
    flat = torch.zeros_like(indices[0])
    for index, size in zip(indices, shape, strict=True):
        flat = flat * size + index
    return flat
