"""The shape of a hash grid, as all kernels take it, and how an optimizer recognizes its table."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Grid(NamedTuple):
    """Levels of a hash grid.

    The first ``dense_levels`` levels store their (resolution + 1)^D vertices one by one, first axis fastest; the
    others hash theirs to ``table_size`` rows each.

    Attributes:
        resolutions: cells along each axis of each level, int64 (L, D).
        offsets: first row of each level in the table, int64 (L,).
        table_size: rows of a hashed level, a power of two; a dense level has at most as many.
        dense_levels: how many levels are dense.
    """

    resolutions: Tensor
    offsets: Tensor
    table_size: int
    dense_levels: int


class TableLevels(NamedTuple):
    """Levels of a table, from its first row; what an optimizer needs to know of them.

    Attributes:
        dim: axes of the coordinates.
        rows: rows of each level, coarsest first.
    """

    dim: int
    rows: tuple[int, ...]

    def coarse_rows(self, batch_size: int, visits: float) -> int:
        """Rows, from the first, of the coarse levels: those whose every vertex many samples of a batch have beside them.

        Args:
            batch_size: coordinates per step.
            visits: how many samples of a uniform batch lie in the cells around a vertex of a coarse level, on average,
                at least.
        """
        return sum(rows for rows in self.rows if rows * visits <= batch_size << self.dim)


def mark_table(parameter: nn.Parameter, levels: TableLevels) -> None:
    """Marks a parameter (R, F) as a hash table, by which ``softmine.optim.RowAdam`` recognizes it.

    The mark is an ordinary attribute: it stays when the parameter is pickled or moved to a device. Torch drops it from
    a deep copy and where it makes a new parameter; a module that owns a table marks it again there, as ``HashGrid`` does.
    """
    parameter.table_levels = levels  # pyright: ignore[reportAttributeAccessIssue]


def levels_of(parameter: Tensor) -> TableLevels | None:
    """Levels of a hash table; None for any other parameter."""
    return getattr(parameter, "table_levels", None)
