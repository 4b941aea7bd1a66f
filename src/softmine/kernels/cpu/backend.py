"""The CPU backend: tensors in and out of the loops that numba compiled."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softmine.errors import SoftmineError
from softmine.kernels import thread_pool
from softmine.kernels.grid import Grid
from softmine.kernels.touched_rows import STAMPS, AdamRule, Records, decays

ALONE = 1 << 13
"""Corner visits below which waking a second thread costs more than it saves."""
ALONE_SLOPES = 1 << 20
"""Slopes below which it does."""
LAST_STAMP = STAMPS


def encode(coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Features (N, L * F)."""
    return _encode(coords, table, grid, axes=0)[0]


def encode_with_slopes(coords: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Features (N, L * F), and their slopes along the axes, as ``along_slopes`` takes them."""
    return _encode(coords, table, grid, axes=coords.shape[1])


def _encode(coords: Tensor, table: Tensor, grid: Grid, axes: int) -> tuple[Tensor, Tensor]:
    from softmine.kernels.cpu import encode_loops

    width = table.shape[1]
    features = coords.new_empty(len(coords), len(grid.offsets) * width)
    blocks = -(-len(coords) // encode_loops.POINTS)
    shape = (blocks if axes else 0, axes, len(grid.offsets) * width, encode_loops.POINTS)
    slopes = coords.new_empty(shape)
    parts = _parts(coords, grid, blocks)
    levels = _flat(grid, width)
    arrays = (_array(coords.t()), _array(table), levels, _array(features), _array(slopes))
    thread_pool.run(encode_loops.encode, *arrays, parts=parts)
    return features, slopes


def along_slopes(grad: Tensor, slopes: Tensor) -> Tensor:
    """Gradient (N, D) of the coordinates from that of the features (N, L * F) and their slopes."""
    from softmine.kernels.cpu import encode_loops

    result = grad.new_empty(len(grad), slopes.shape[1])
    parts = -(-len(grad) // encode_loops.POINTS) if slopes.numel() > ALONE_SLOPES else 1
    thread_pool.run(encode_loops.along_slopes, _array(grad), _array(slopes), _array(result), parts=parts)
    return result


def gradient_of_coords(grad: Tensor, coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Gradient (N, D) of the coordinates from that of the features (N, L * F)."""
    slopes = encode_with_slopes(coords, table, grid)[1]
    return along_slopes(grad, slopes)


def gradient_of_table(grad: Tensor, coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Gradient (R, F) of the table from that of the features (N, L * F)."""
    from softmine.kernels.cpu import encode_loops

    result = torch.zeros_like(table, memory_format=torch.contiguous_format)
    arrays = (_array(grad), _array(coords.t()), _flat(grid, table.shape[1]), _array(result))
    parts = _parts(coords, grid, len(grid.offsets))
    thread_pool.run(encode_loops.gradient_of_table, *arrays, parts=parts)
    return result


class Rows(Records):
    """Adam's state of a table (R, F), and the gradient of the rows that were touched, on the CPU.

    A row is touched where its record's mark is the present ``stamp``. For F = 2 a record is half a cache line.
    """

    def __init__(self, table: Tensor) -> None:
        if len(table) >= 1 << 32:
            raise SoftmineError(f"RowAdam holds tables of up to 2^32 rows, not {len(table)}")
        width = max(8, 1 << (3 * table.shape[1] + 1).bit_length())
        # Written, not only allocated: else the first steps wait for the system to find page after page.
        super().__init__(table.shape[1], torch.empty(len(table), width, dtype=table.dtype).zero_())
        # A list of rows a level: levels share no row, so each row is in one list, once.
        self.touched = np.empty((0, 0), np.uint32)
        self.counts = np.zeros(0, np.int64)
        self.most = 0  # what no count exceeds
        self.stamp = 1
        # The same memory: after a loop has emptied the caches, a call of torch or numpy costs tens of microseconds.
        self._records, self._time = self.records.numpy(), self.time.numpy()

    @property
    def pending(self) -> bool:
        """Whether there is a gradient that no step has used."""
        return self.most > 0

    def clear(self) -> None:
        """Forgets the gradient."""
        self.counts.fill(0)
        self.most = 0
        self.stamp += 1
        if self.stamp > LAST_STAMP:
            self.records[:, 3 * self.features + 1] = 0
            self.stamp = 1

    def add(self, grad: Tensor, coords: Tensor, grid: Grid) -> None:
        """Adds the gradient of the table that follows from that of the features (N, L * F)."""
        from softmine.kernels.cpu import row_loops

        self._reserve(len(grid.offsets), min(grid.table_size, len(coords) << coords.shape[1]))
        stamp = self._records.dtype.type(self.stamp)
        arrays = (_array(grad), _array(coords.t()), _flat(grid, self.features), self._records)
        parts = _parts(coords, grid, len(grid.offsets))
        thread_pool.run(row_loops.gather_rows, *arrays, stamp, self.touched, self.counts, parts=parts)

    def update(
        self, table: Tensor, rate: float | Tensor, rule: AdamRule, dense: Tensor | None = None
    ) -> None:
        """One step of Adam on the touched rows of the table (R, F), in place; forgets the gradient.

        ``dense`` is an ordinary gradient (R, F) to be added; where it is zero it touches no row.
        """
        others = None if dense is None else self._add_dense(dense)
        lists = [(self.touched, self.counts)] if self.most else []
        if others is not None:
            lists.append((others[None], np.array([len(others)])))
        lists = [(touched, counts, parts) for touched, counts in lists if (parts := _parts_of_rows(counts))]
        if lists:
            self._time += 1
        for touched, counts, parts in lists:
            self._adam(table, float(rate * rule.factor), rule, touched, counts, parts)
        self.clear()

    def _adam(
        self, table: Tensor, rate: float, rule: AdamRule, touched: np.ndarray, counts: np.ndarray, parts: int
    ) -> None:
        from softmine.kernels.cpu import row_loops

        kind = self._records.dtype.type
        after = decays(rule.betas)
        time = int(self._time)
        now = min(time, len(after.first) - 1)
        numbers = (time % STAMPS, rate, after.first[now], after.second[now], *rule.betas, rule.epsilon)
        arrays = (table.detach().numpy(), self._records, touched, counts, (0,) * self.features)
        powers = (after.mean, after.square, after.drift)
        thread_pool.run(
            row_loops.adam_rows, *arrays, *map(kind, numbers), rule.momentum_rows, *powers, parts=parts
        )

    def _add_dense(self, grad: Tensor) -> np.ndarray:
        """Adds an ordinary gradient (R, F) to the records; returns the rows that are on no list."""
        rows = (grad != 0).any(1).nonzero().squeeze(1)
        width, stamps = self.features, self.records[:, 3 * self.features + 1]
        fresh = stamps[rows] != self.stamp
        old = self.records[rows, 2 * width : 3 * width]
        self.records[rows, 2 * width : 3 * width] = torch.where(fresh[:, None], 0, old) + grad[rows]
        return rows[fresh].numpy().astype(np.uint32)

    def _reserve(self, levels: int, more: int) -> None:
        """At least ``levels`` lists with room for ``more`` rows each."""
        lists, room = self.touched.shape
        # One place more than rows: the loop writes behind the last row before it knows whether it is new.
        self.most = min(len(self._records), self.most + more)
        needed = self.most + 1
        if lists < levels or room < needed:
            larger = np.empty((max(lists, levels), max(room, needed)), np.uint32)
            larger[:lists, :room] = self.touched
            self.touched = larger
            self.counts = np.append(self.counts, np.zeros(len(larger) - lists, np.int64))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _flat(grid: Grid, features: int) -> tuple:
    """The grid as compiled loops take it; the lengths of the tuples, D and F, are known to them."""
    resolutions, offsets, table_size, dense_levels = grid
    dims, widths = (0,) * resolutions.shape[1], (0,) * features
    return resolutions.numpy(), offsets.numpy(), table_size, dense_levels, dims, widths


def _parts_of_rows(counts: np.ndarray) -> int:
    from softmine.kernels.cpu.row_loops import ROWS

    return sum(-(-count // ROWS) for count in counts.tolist())


def _parts(coords: Tensor, grid: Grid, parts: int) -> int:
    return parts if (len(coords) << coords.shape[1]) * len(grid.offsets) > ALONE else 1
