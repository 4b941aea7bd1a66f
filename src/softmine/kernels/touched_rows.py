"""What the rows that a batch touched share on every device: their Adam rule, their gradient's way, where they are kept.

Each backend has a class ``Rows``, which keeps Adam's state of one table and the gradient of its touched rows.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from softmine.errors import SoftmineError
from softmine.kernels.backends import backend_for

if TYPE_CHECKING:
    from softmine.kernels.cpu.backend import Rows as CpuRows
    from softmine.kernels.triton.backend import Rows as GpuRows

GROWTH = 5
"""Steps for each step of memory, where first moments come to remember more and more of them."""

_rows: WeakValueDictionary[int, CpuRows | GpuRows] = WeakValueDictionary()
_tables: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
_handles = itertools.count()

STAMPS = 1 << 24
"""Whole numbers below it are exact in float32: a row remembers the step that touched it last modulo this many. A row that rests for
longer counts as touched up to so many steps later."""


def rows_for(table: Tensor) -> Any:
    """New rows of a table (R, F): those of the backend that encodes with it.

    Raises:
        SoftmineError: it is no matrix of floating-point numbers, or too large.
    """
    if table.ndim != 2 or not table.is_floating_point():
        raise SoftmineError(
            f"a hash table is a matrix (rows, features) of floating-point numbers, not a {table.dtype} of shape "
            f"{tuple(table.shape)}"
        )
    # Coordinates of the type that goes with the table.
    coords = table[:0].float() if table.dtype == torch.float16 else table[:0]
    backend = backend_for(coords, table, table.shape[1])
    if backend == "numba":
        from softmine.kernels.cpu.backend import Rows
    elif backend == "triton":
        from softmine.kernels.triton.backend import Rows
    else:
        from softmine.kernels.reference import Rows
    return Rows(table)


class Records:
    """What the rows of all compiled backends share: one record a row, (R, W), with all that a step needs of it.

    First and second moment and gradient (F each), the last step that touched it, a mark that it is touched; padded to a
    power of two.

    Attributes:
        features: F.
        records: (R, W).
        time: steps so far, (), int64, which counts them all.
    """

    fused = True
    counts_on_device = False
    """Whether steps are counted, and rates read, by the kernels, so that recorded steps go on counting."""

    def __init__(self, features: int, records: Tensor) -> None:
        self.features, self.records = features, records
        self.time = torch.zeros((), dtype=torch.int64, device=records.device)

    def state(self) -> dict[str, Tensor]:
        """Views of the state: ``step`` (), ``last_step`` (R,) modulo ``STAMPS``, ``exp_avg`` and ``exp_avg_sq`` (R, F)."""
        width = self.features
        return {
            "step": self.time,
            "last_step": self.records[:, 3 * width],
            "exp_avg": self.records[:, :width],
            "exp_avg_sq": self.records[:, width : 2 * width],
        }


class RowGradient:
    """What a ``RowAdam`` leaves on a table as ``table.row_gradient``.

    Attributes:
        active: whether the optimizer is alive and holds the table; else the table gets an ordinary ``grad`` again.
        handle: number of the rows that it keeps.
        backwards: how many times a gradient was added, int64 (1,) on the CPU.
    """

    def __init__(self, table: Tensor, rows: CpuRows | GpuRows) -> None:
        self.active = True
        self.handle = next(_handles)
        self.backwards: Tensor = torch.zeros(1, dtype=torch.int64)
        _rows[self.handle], _tables[self.handle] = rows, table

    def release(self) -> None:
        """Hands the table back to autograd, or to the next optimizer."""
        self.active = False
        _rows.pop(self.handle, None)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled table is a table: its copy belongs to no optimizer.
        return _nothing, ()


def rows_of_handle(handle: int) -> CpuRows | GpuRows:
    """The rows behind a handle.

    Raises:
        SoftmineError: their optimizer is gone, or another took the table.
    """
    rows = _rows.get(handle)
    if rows is None:
        raise SoftmineError(
            "the table's RowAdam was deleted, or a later one took the table, between forward and backward: keep one RowAdam "
            "as long as you train"
        )
    return rows


def will_execute(node: Any) -> bool | None:
    """Inside a backward, whether it reaches a node of autograd; None where ``autograd.grad`` wants a leaf's gradient itself."""
    try:
        return torch._C._will_engine_execute_node(node)  # pyright: ignore[reportPrivateImportUsage]
    except RuntimeError:
        return None


def accumulates(handle: int) -> bool:
    """Whether the backward that runs now adds to the gradient of the table behind a handle.

    Raises:
        SoftmineError: ``autograd.grad`` wants the table's gradient itself, which a traced backward cannot give.
    """
    table = _tables.get(handle)
    if table is None or torch._C._current_graph_task_id() == -1:  # pyright: ignore[reportPrivateImportUsage]
        return True
    wanted = will_execute(_accumulator(table))
    if wanted is None:
        raise SoftmineError(
            "a compiled backward gives the gradient of a hash table to its RowAdam, and not to torch.autograd.grad: make "
            "RowAdam with row_gradients=False"
        )
    return wanted


def _accumulator(table: Tensor) -> Any:
    """The node of autograd that adds to ``table.grad``, as a running operator finds it, below autograd and in no graph.

    To keep the node instead would keep the table alive, which the node holds.
    """
    keys: Any = torch._C
    excluded = keys._dispatch_tls_local_exclude_set().remove(keys.DispatchKey.AutogradCPU)
    with torch.enable_grad(), keys._ForceDispatchKeyGuard(keys._dispatch_tls_local_include_set(), excluded):
        return torch.autograd.graph.get_gradient_edge(table).node


def _nothing() -> None:
    return None


class Decays(NamedTuple):
    """Float32 arrays of one length; entry t belongs to t steps, the last one to all that are longer.

    Attributes:
        first: 1 / (1 - beta1^t), the bias correction of the first moment.
        second: 1 / sqrt(1 - beta2^t), that of the second moment's root.
        mean: beta1^t.
        square: beta2^t.
        drift: how far Adam moves in t steps of which only the first has a gradient, in units of that first step:
            1 + r + ... + r^(t - 1) with r = beta1 / sqrt(beta2). Where r >= 1 that would run away, so it is 1.
    """

    first: np.ndarray
    second: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    drift: np.ndarray


class AdamRule(NamedTuple):
    """How ``RowAdam`` moves the rows of one table, but for the rate.

    Attributes:
        betas: decay of the two moments, each in [0, 1).
        epsilon: added to the root of the second moment.
        momentum_rows: rows of the table, from its first, that have a first moment; others follow their last gradient.
        factor: on the rate.
        memory: steps that first moments come to remember at most, where the first of ``betas`` grows; None where it does
            not. A device that counts the steps itself lets it grow by itself; elsewhere ``betas`` are the present ones.
    """

    betas: tuple[float, float]
    epsilon: float
    momentum_rows: int
    factor: float = 1.0
    memory: int | None = None


@functools.lru_cache(maxsize=64)
def decays(betas: tuple[float, float]) -> Decays:
    """The table of two betas in [0, 1): until both powers vanish in float32, at most a million entries."""
    slowest = max(betas)
    count = 2 if slowest <= 0 else math.ceil(math.log(2.0**-26) / math.log(slowest)) + 1
    steps = np.arange(1, min(max(count, 2), 1 << 20), dtype=np.float64)
    mean, square = betas[0] ** steps, betas[1] ** steps
    ratio = betas[0] / math.sqrt(betas[1]) if betas[1] > 0 else 1.0
    drift = (1 - ratio**steps) / (1 - ratio) if ratio < 1 else np.ones_like(steps)
    columns = (1 / (1 - mean), 1 / np.sqrt(1 - square), mean, square, drift)
    return Decays(*(np.concatenate(([1.0], column)).astype(np.float32) for column in columns))
