"""Adam that touches only the rows a batch touched."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from softmine.errors import SoftmineError
from softmine.kernels.backends import backend_for
from softmine.kernels.bias import AdamRule
from softmine.kernels.row_gradient import RowGradient


class RowAdam(torch.optim.Optimizer):
    """Row-wise ("lazy") Adam for tables of which a batch uses few rows, such as ``HashGrid.table``.

    A step reads and writes only the rows that the gradient touched, so that it costs what the batch touches,
    whatever the size of the table. Where every step touches every row, and all have momentum, it is
    ``torch.optim.Adam``. Elsewhere it differs from it thus: when a row is touched again after k steps, its moments first decay as in Adam, by beta^k.
    Adam would also have moved the row in the steps between, on its old momentum. Nothing reads the row then, so
    that all of it is moved at the touch before, as far as Adam would in a gap as long as the last one. (Lazy Adam
    as in instant-ngp leaves both out, and so learns a fine table more slowly from small batches.)

    While it lives, it takes the gradient from the encoding's backward directly: ``table.grad`` stays None, so
    gradient clipping and ``GradScaler`` do not see it. An ordinary ``table.grad`` is used too, where there is
    one; rows in which it is zero count as untouched. ``step`` uses the gradient up; ``zero_grad`` (of this
    optimizer, not of the module) discards it. Backwards in between add up. A gradient that is not finite makes
    its rows so, as Adam does.

    Make it after the table is on its device. ``state_dict`` has for each table ``step`` (), ``last_step``
    (R,), ``exp_avg`` and ``exp_avg_sq`` (R, F), which resume exactly.

    Args:
        params: tables (R, F), or parameter groups of such.
        lr: learning rate, at least 0; may change at every step through ``param_groups``. As a tensor () on the table's
            device it may be changed in place, which a recorded CUDA graph sees (``softmine.training.capture``).
        betas: decay of the two moments, each in [0, 1). They may change at every step through ``param_groups``, as Adam's may;
            the present ones hold for all steps since a row was first touched and since it was last.
        eps: added to the root of the second moment, positive.
        momentum_rows: rows of each table, from its first, that have a first moment; None is all. The others follow their last
            gradient alone, as with a first beta of 0. The first rows of a ``HashGrid`` are its coarse levels, which every batch
            touches (``HashGrid.coarse_rows``); momentum of a row that is touched once in many steps points nowhere. Not to
            be changed between steps.

    Raises:
        SoftmineError: a parameter is no matrix of floating-point numbers, or a setting is out of range.

    Example:
        >>> grid = softmine.HashGrid(2)
        >>> optimizer = RowAdam([grid.table], lr=1e-2)
        >>> grid(torch.rand(64, 2)).sum().backward()
        >>> grid.table.grad is None
        True
        >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
        momentum_rows: int | None = None,
    ) -> None:
        self._rows: dict[Tensor, Any] = {}
        self._gradients: dict[Tensor, RowGradient] = {}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "momentum_rows": momentum_rows})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Takes more tables; see ``torch.optim.Optimizer.add_param_group``.

        Raises:
            SoftmineError: one is no matrix of floating-point numbers, or a setting of theirs is out of range.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["betas"] = tuple(group["betas"])
        _check(group)
        for table in group["params"]:
            self._take(table)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Updates the touched rows and uses the gradient up; returns what ``closure`` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rows = group["momentum_rows"]
            for table in group["params"]:
                rule = AdamRule(group["betas"], group["eps"], len(table) if rows is None else rows)
                self._rows[table].update(table, group["lr"], rule, table.grad)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Discards the gradient of every table."""
        for table, rows in self._rows.items():
            # Torch's own takes longer to find nothing to do than the rest of this.
            if table.grad is not None:
                super().zero_grad(set_to_none)
            rows.clear()

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a ``state_dict``, exactly.

        Raises:
            SoftmineError: it belongs to tables of other shapes.
        """
        # Torch would turn the moments of a float16 table into float16 and drop the views.
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        tables = [table for group in self.param_groups for table in group["params"]]
        for index, table in enumerate(tables):
            rows = self._rows[table]
            rows.clear()
            mine, saved = rows.state(), state_dict["state"].get(index)
            self.state[table] = mine
            for name, view in mine.items():
                value = None if saved is None else saved.get(name)
                if value is None:
                    view.zero_()
                elif value.shape != view.shape:
                    raise SoftmineError(
                        f"the state '{name}' of table {index} has shape {tuple(value.shape)}, "
                        f"but the table needs {tuple(view.shape)}"
                    )
                else:
                    view.copy_(value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of ``copy.deepcopy`` and pickle: the copy takes the copied tables and starts from the copied state."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("momentum_rows", None)  # of a version that had no such option
        if "_rows" in self.__dict__:
            return
        self._rows, self._gradients = {}, {}
        for group in self.param_groups:
            for table in group["params"]:
                saved = self.state.get(table)
                self._take(table)
                for name, value in (saved or {}).items():
                    self.state[table][name].copy_(value)

    def _take(self, table: Tensor) -> None:
        if table.ndim != 2 or not table.is_floating_point():
            raise SoftmineError(
                f"RowAdam takes tables (rows, features), not a {table.dtype} of shape {tuple(table.shape)}"
            )
        rows = _rows_for(table)
        gradient = RowGradient(rows)
        self._rows[table], self._gradients[table] = rows, gradient
        self.state[table] = rows.state()
        if rows.fused:
            table.row_gradient = gradient  # pyright: ignore[reportAttributeAccessIssue]
            weakref.finalize(self, gradient.release)


def _check(group: dict[str, Any]) -> None:
    """Raises SoftmineError if a setting of a parameter group is out of range."""
    lr, eps, betas, momentum_rows = (group[key] for key in ("lr", "eps", "betas", "momentum_rows"))
    if not (float(lr) >= 0 and eps > 0 and all(0 <= beta < 1 for beta in betas)):
        raise SoftmineError(
            f"RowAdam needs lr >= 0, eps > 0 and betas in [0, 1), not lr={lr}, eps={eps}, betas={betas}"
        )
    if momentum_rows is not None and (type(momentum_rows) is not int or momentum_rows < 0):
        raise SoftmineError(
            f"momentum_rows is {momentum_rows}: give a number of rows, 0 or more, or None for all"
        )


def _rows_for(table: Tensor) -> Any:
    # Coordinates of the type that goes with the table.
    backend = backend_for(
        table[:0].float() if table.dtype == torch.float16 else table[:0], table, table.shape[1]
    )
    if backend == "numba":
        from softmine.kernels.cpu import Rows
    elif backend == "triton":
        from softmine.kernels.gpu import Rows
    else:
        from softmine.kernels.torch_rows import Rows
    return Rows(table)
