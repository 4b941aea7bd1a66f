"""Where an encoding's backward finds the optimizer that holds its table."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from softmine.errors import SoftmineError

if TYPE_CHECKING:
    from softmine.kernels.cpu import Rows as CpuRows
    from softmine.kernels.gpu import Rows as GpuRows

_rows: WeakValueDictionary[int, CpuRows | GpuRows] = WeakValueDictionary()
_handles = itertools.count()


class RowGradient:
    """What a ``RowAdam`` leaves on a table as ``table.row_gradient``.

    Attributes:
        active: whether the optimizer is alive; a table whose optimizer is gone gets an ordinary ``grad`` again.
        handle: number of the rows that it keeps.
        backwards: how many times a gradient was added, int64 (1,) on the CPU.
    """

    def __init__(self, rows: CpuRows | GpuRows) -> None:
        self.active = True
        self.handle = next(_handles)
        self.backwards: Tensor = torch.zeros(1, dtype=torch.int64)
        _rows[self.handle] = rows

    def release(self) -> None:
        """Hands the table back to autograd."""
        self.active = False

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled table is a table: its copy belongs to no optimizer.
        return _nothing, ()


def rows_of_handle(handle: int) -> CpuRows | GpuRows:
    """The rows behind a handle.

    Raises:
        SoftmineError: their optimizer is gone.
    """
    rows = _rows.get(handle)
    if rows is None:
        raise SoftmineError(
            "the table's RowAdam was deleted between forward and backward: keep it as long as you train"
        )
    return rows


def _nothing() -> None:
    return None
