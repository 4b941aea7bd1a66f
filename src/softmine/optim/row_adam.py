"""Adam for a whole field, which of its hash tables touches only the rows that a batch touched."""

from __future__ import annotations

import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from softmine.checks import check_not_negative, check_positive
from softmine.errors import SoftmineError, SoftmineWarning
from softmine.kernels.backends import backend_for
from softmine.kernels.grid import levels_of
from softmine.kernels.touched_rows import GROWTH, AdamRule, RowGradient, rows_for

# A row of a fine level is touched once in many steps, and momentum from so long ago points nowhere. Without it, at twice
# the rate, uniform sampling ended 0 to 0.6 dB higher and soft mining 0.2 to 0.4 (Pluto after 1,500 steps, a Kodak photo
# after 2,000, one seed each).
TABLE_RATE = 2.0
VISITS = 2.0
"""Samples of a uniform batch in the cells around a vertex, on average, from which on its level counts as coarse."""
# Coarse levels and MLP are touched at every step. Without momentum they come to oscillate together, by decibels: Adam is
# stable up to a curvature that grows as (1 + beta1) / (1 - beta1) (Cohen et al., arXiv 2207.14484). With momentum that
# remembers more steps than there have been, beginnings are slow (docs/evidence.md, research log, 36 to 40).
MEMORY = 100
"""Steps that first moments remember at most."""
FIXED = ("row_wise", "row_gradients")
"""What of a parameter group a loaded state does not change."""


class RowAdam(torch.optim.Optimizer):
    """Adam for all parameters of a field, row-wise ("lazy") for its hash tables, of which a batch uses few rows.

    Each table of a ``HashGrid`` among the parameters gets a group of its own; all others are trained by torch's fused Adam,
    with its state. Make it after the field is on its device. ``state_dict`` has for each table ``step`` (), ``last_step``
    (R,), ``exp_avg`` and ``exp_avg_sq`` (R, F), for each other parameter what torch's Adam has, and resumes exactly.

    *Tables.* A step reads and writes only the rows that the gradient touched, whatever the size of the table. Where every
    step touches every row, and all have momentum, it is ``torch.optim.Adam``. Elsewhere, when a row is touched again after
    k steps, its moments first decay as in Adam, by beta^k. Adam would also have moved the row in the steps between, on its
    old momentum; nothing reads the row then, so that all of it is moved at the touch before, as far as Adam would in a gap
    as long as the last one. (Lazy Adam as in instant-ngp leaves both out, and learns a fine table more slowly from small
    batches.)

    *Momentum.* Only the coarse levels of a table have a first moment, those whose every vertex a batch visits
    (``batch_size``). In a field with tables, all first moments remember a fifth of the steps so far, in whole steps from
    one, which is no momentum, up to ``memory``: bias corrections stay right to 1% while it grows.

    *The gradient of a table* comes from the encoding's backward directly: ``table.grad`` stays None, and gradient clipping
    does not see it. Backwards add up until ``step`` uses the gradient or ``zero_grad`` of this optimizer discards it. An
    ordinary ``table.grad`` is used too, where there is one; rows in which it is zero count as untouched. With
    ``row_gradients=False`` tables have an ordinary, dense ``grad`` instead, as clipping and ``GradScaler`` need; a step still
    moves only the touched rows. At the first step that a ``GradScaler`` calls tables get one of their own accord: that step is
    skipped, as an overflow's, and a warning says so. In a process group of several processes tables always have one, for
    ``DistributedDataParallel`` or whoever else adds it up. A gradient that is not finite makes its rows so, as Adam does.

    Args:
        params: parameters, parameter groups or named parameters. A group may have its own ``lr``, ``betas``, ``eps``,
            ``batch_size``, ``table_rate`` and ``memory``; ``row_wise`` (True takes all its parameters as tables (R, F),
            False none; default: those of hash grids); and ``momentum_rows``, rows of its tables, from the first, that have
            a first moment (default: those of coarse levels; others follow their last gradient alone).
            The last two may not change between steps.
        lr: learning rate, at least 0; may change at every step through ``param_groups``. As a tensor () on the field's
            device it may be changed in place, which a recorded CUDA graph sees (``softmine.optim.CapturedStep``).
        betas: decay of the two moments, each in [0, 1). The present ones hold for all steps since a row was first touched
            and since it was last. Where momentum grows, ``step`` sets the first.
        eps: added to the root of the second moment, positive.
        batch_size: coordinates per step (rays, of a radiance field), which decides which levels of a table are coarse. None
            gives all levels momentum.
        table_rate: factor on the learning rate of tables, at least 0.
        memory: steps that first moments remember at most, at least 1, in a field with tables. None keeps ``betas`` as they
            are. In a CUDA graph they grow by themselves where Triton's kernels step all parameters, from the steps that the
            device counts; elsewhere ``CapturedStep`` records the step anew for each.
        row_gradients: take the gradient of tables from the encoding's backward, not from ``table.grad``.

    Raises:
        SoftmineError: a table is no matrix of floating-point numbers, or a setting is out of range.

    Example:
        >>> field = softmine.HashGridField(2, 3)
        >>> optimizer = softmine.optim.RowAdam(field.parameters(), lr=1e-2, batch_size=64)
        >>> field(torch.rand(64, 2)).square().mean().backward()
        >>> field.encoding.table.grad is None
        True
        >>> optimizer.step()
        >>> optimizer.zero_grad()
    """

    # So that a GradScaler calls ``step`` and lets it say what the scaler cannot see.
    _step_supports_amp_scaling = True
    _followed = False
    _waiting: list[tuple[Tensor, Any, bool]] | None = None
    """Tables to be taken when all groups of a new optimizer are known to be good."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
        *,
        batch_size: int | None = None,
        table_rate: float = TABLE_RATE,
        memory: int | None = MEMORY,
        row_gradients: bool = True,
    ) -> None:
        self._rows: dict[Tensor, Any] = {}
        self._gradients: dict[Tensor, RowGradient] = {}
        self._owned: dict[Tensor, Tensor] = {}
        self._recorded_steps = 0
        self._waiting = []
        defaults = {"lr": lr, "betas": betas, "eps": eps, "batch_size": batch_size, "table_rate": table_rate}
        # "fused" is of torch's Adam: where torch keeps the step of a loaded state.
        defaults |= {"memory": memory, "row_gradients": row_gradients, "fused": True}
        super().__init__(params, defaults)
        waiting, self._waiting = self._waiting, None
        for table, rows, own_gradient in waiting:
            self._take(table, rows, own_gradient)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Takes more parameters: a group for each table among them, and one for all others.

        Raises:
            SoftmineError: a table is no matrix of floating-point numbers, or a setting is out of range.
        """
        given = param_group["params"]
        if isinstance(given, set):  # which torch refuses, as it has no order
            super().add_param_group(param_group)
        items = [given] if isinstance(given, Tensor) else list(given)
        row_wise = param_group.get("row_wise")
        tables = [item for item in items if _is_table(_tensor(item), row_wise)]
        others = [item for item in items if not _is_table(_tensor(item), row_wise)]
        group = {**self.defaults, **param_group}
        betas = group["betas"]
        group["betas"] = tuple(betas) if isinstance(betas, Iterable) else (betas,)
        _check(group)
        taken = [(_tensor(table), rows_for(_tensor(table)), group["row_gradients"]) for table in tables]
        counts = [_momentum_rows(_tensor(table), group) for table in tables]
        owns = [
            {"params": [table], "row_wise": True, "momentum_rows": count}
            for table, count in zip(tables, counts, strict=True)
        ]
        if others or not tables:
            owns.append({"params": others, "row_wise": False, "momentum_rows": None})
        before = len(self.param_groups)
        try:
            for own in owns:
                super().add_param_group({"steps": 0, **group, **own})
        except Exception:
            del self.param_groups[before:]
            raise
        if self._waiting is not None:
            self._waiting += taken
            return
        for table, rows, own_gradient in taken:
            self._take(table, rows, own_gradient)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Updates the parameters and uses the gradient of tables up; returns what ``closure`` returned.

        Raises:
            SoftmineError: a CUDA graph would freeze the momentum, as nobody has it recorded anew, or another RowAdam took a table
                over.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if hasattr(self, "found_inf") and not self._unscale():
            return loss
        self._count_step()
        recording = self._recording
        for group in self.param_groups:
            if self._grows(group):
                self._grow_momentum(group, recording)
            # A recording does nothing yet: each replay of it is counted.
            group["steps"] += not recording
            if group["row_wise"]:
                self._step_rows(group)
            else:
                self._step_dense(group)
        self._recorded_steps += recording
        return loss

    def recording_key(self) -> tuple[object, ...]:
        """Numbers that a CUDA graph of the next step freezes: where they change, it must be recorded anew (``CapturedStep``)."""
        return tuple(
            (
                self._frozen_betas(group),
                *(group[name] for name in ("eps", "table_rate", "memory", "row_gradients")),
                len(group["params"]),
            )
            for group in self.param_groups
        )

    def start_recording(self) -> None:
        """A CUDA graph of a step is about to be recorded by who counts its replays and records it anew when ``recording_key`` changes."""
        self._recorded_steps, self._followed = 0, True

    def count_replay(self) -> None:
        """Notes on the host what a replay of the recorded step does."""
        for group in self.param_groups:
            group["steps"] += self._recorded_steps
            if self._grows(group):
                group["betas"] = self._betas(group, -1)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Discards the gradient of every parameter."""
        super().zero_grad(set_to_none)
        if self._owned:
            torch._foreach_zero_(list(self._owned.values()))  # pyright: ignore[reportPrivateImportUsage]
        for parameter, gradient in self._owned.items():
            parameter.grad = gradient
        for rows in self._rows.values():
            rows.clear()

    def own_gradients(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of ordinary parameters that stay where they are and are zero after each ``step``, for kernels that add to them.

        Raises:
            SoftmineError: not all of them are trained by this optimizer, on a GPU with Triton.
        """
        mine = [
            group for group in self.param_groups if not group["row_wise"] and self._counts_on_device(group)
        ]
        known = {parameter for group in mine for parameter in group["params"]}
        for parameter in parameters:
            if parameter not in known:
                raise SoftmineError(
                    "only gradients of parameters that this RowAdam trains with Triton can be its own"
                )
            if parameter not in self._owned:
                self._owned[parameter] = torch.zeros_like(parameter)
            parameter.grad = self._owned[parameter]
        return [self._owned[parameter] for parameter in parameters]

    def release_gradients(self) -> None:
        """Forgets those of ``own_gradients``: the next backward makes ordinary ones."""
        for parameter in self._owned:
            parameter.grad = None
        self._owned.clear()

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a ``state_dict``, exactly.

        Raises:
            SoftmineError: it belongs to tables of other shapes.
            ValueError: it has other parameter groups.
        """
        groups = state_dict["param_groups"]
        if len(groups) == len(self.param_groups):
            pairs = zip(self.param_groups, groups, strict=True)
            groups = [{**mine, **saved, **{key: mine[key] for key in FIXED}} for mine, saved in pairs]
        numbers = {
            number: table
            for mine, saved in zip(self.param_groups, groups, strict=False)
            if mine["row_wise"]
            for number, table in zip(saved["params"], mine["params"], strict=False)
        }
        rates = [group["lr"] if isinstance(group["lr"], Tensor) else None for group in self.param_groups]
        # Torch would turn the moments of a float16 table into float16 and drop the views.
        dense = {number: state for number, state in state_dict["state"].items() if number not in numbers}
        super().load_state_dict({**state_dict, "state": dense, "param_groups": groups})
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["betas"] = tuple(group["betas"])
            if rate is not None:
                # Where a recorded step looks.
                rate.fill_(float(group["lr"]))
                group["lr"] = rate
        for number, table in numbers.items():
            self._load_rows(table, number, state_dict["state"].get(number, {}))
        for gradient in self._owned.values():
            gradient.zero_()
        order = [p for group in self.param_groups for p in group["params"] if p in self.state]
        self.state = defaultdict(dict, {parameter: self.state[parameter] for parameter in order})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of ``copy.deepcopy`` and pickle: the copy takes the copied tables and starts from the copied state."""
        super().__setstate__(state)
        if "_rows" in self.__dict__:
            return
        self._rows, self._gradients, self._owned, self._recorded_steps = {}, {}, {}, 0
        for group in self.param_groups:
            for table in group["params"] if group["row_wise"] else ():
                saved = self.state.get(table, {})
                self._take(table, rows_for(table), group["row_gradients"])
                for name, value in saved.items():
                    self.state[table][name].copy_(value)

    def _take(self, table: Tensor, rows: Any, row_gradients: bool) -> None:
        self._rows[table] = rows
        self.state[table] = rows.state()
        gradient = None
        if older := getattr(table, "row_gradient", None):
            older.release()
        if rows.fused and row_gradients:
            gradient = self._gradients[table] = RowGradient(table, rows)
            weakref.finalize(self, gradient.release)
        table.row_gradient = gradient  # pyright: ignore[reportAttributeAccessIssue]

    def _step_rows(self, group: dict[str, Any]) -> None:
        for table in group["params"]:
            if getattr(table, "row_gradient", None) is not self._gradients.get(table):
                raise SoftmineError(
                    "a RowAdam that was made later for the same field took over its hash table, so this one would train it no "
                    "more: use the later one, or delete it and make a new one"
                )
            momentum_rows = len(table) if group["momentum_rows"] is None else group["momentum_rows"]
            rule = AdamRule(group["betas"], group["eps"], momentum_rows, group["table_rate"], group["memory"])
            self._rows[table].update(table, group["lr"], rule, table.grad)

    def _step_dense(self, group: dict[str, Any]) -> None:
        """A step of Adam on ordinary parameters: one launch on a GPU that has Triton, torch's fused one elsewhere."""
        params = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not params:
            return
        states = [self.state[parameter] or self._start(parameter) for parameter in params]
        gradients = [parameter.grad for parameter in params]
        means, squares, steps = (
            [state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step")
        )
        if self._counts_on_device(group):
            from softmine.kernels.triton.adam import Moments, update

            rule = AdamRule(group["betas"], group["eps"], 0, memory=group["memory"] if self._rows else None)
            each = [Moments(*item) for item in zip(params, gradients, means, squares, steps, strict=True)]
            owned = [item.parameter in self._owned for item in each]
            for clear in (True, False):
                some = [item for item, mine in zip(each, owned, strict=True) if mine == clear]
                if some:
                    update(some, group["lr"], rule, clear)
            return
        beta1, beta2 = group["betas"]
        fixed = {"fused": True, "amsgrad": False, "weight_decay": 0.0, "maximize": False}
        rates = {"beta1": beta1, "beta2": beta2, "lr": group["lr"], "eps": group["eps"]}
        adam(params, gradients, means, squares, [], steps, **rates, **fixed)

    def _count_step(self) -> None:
        """Counts this step of all that kernels step, in one launch for each type of count."""
        counts: list[Tensor] = []
        for group in self.param_groups:
            if group["row_wise"]:
                rows = [self._rows[table] for table in group["params"]]
                counts += [each.time for each in rows if each.counts_on_device and each.pending]
            elif group["params"] and self._counts_on_device(group):
                some = [parameter for parameter in group["params"] if parameter.grad is not None]
                counts += [(self.state[parameter] or self._start(parameter))["step"] for parameter in some]
        for kind in {count.dtype for count in counts}:
            # Torch adds to tensors of different types one by one.
            some = [count for count in counts if count.dtype == kind]
            torch._foreach_add_(some, 1)  # pyright: ignore[reportPrivateImportUsage]

    def _counts_on_device(self, group: dict[str, Any]) -> bool:
        """Whether Triton's kernels step the parameters of a group: they read steps and rate where these are."""
        params = group["params"]
        if group["row_wise"] or not params:
            return all(self._rows[table].counts_on_device for table in params)
        return backend_for(params[0], params[0]) == "triton" and all(
            parameter.dtype == torch.float32 and parameter.is_contiguous() for parameter in params
        )

    @property
    def _recording(self) -> bool:
        first = next((parameter for group in self.param_groups for parameter in group["params"]), None)
        return first is not None and first.is_cuda and torch.cuda.is_current_stream_capturing()

    def _grows(self, group: dict[str, Any]) -> bool:
        """Whether the first beta of a group grows with the steps."""
        return bool(self._rows) and group["memory"] is not None

    def _betas(self, group: dict[str, Any], ahead: int) -> tuple[float, float]:
        """Betas of a group's step that comes after so many others."""
        memory = min(max((group["steps"] + ahead) // GROWTH, 1), group["memory"])
        return 1.0 - 1.0 / memory, group["betas"][1]

    def _frozen_betas(self, group: dict[str, Any]) -> object:
        """Betas that a recording of a group's next steps freezes."""
        if not self._grows(group):
            return group["betas"]
        if self._counts_on_device(group):
            return group["betas"][1]
        return [self._betas(group, ahead) for ahead in range(max(1, self._recorded_steps))]

    def _grow_momentum(self, group: dict[str, Any], recording: bool) -> None:
        """Sets the first beta of a group's next step; a device that counts steps does so by itself, in recorded ones too."""
        if recording and not self._followed and not self._counts_on_device(group):
            raise SoftmineError(
                "a CUDA graph would freeze the momentum that grows: record the step with CapturedStep(step, [field, sampler, "
                "optimizer]), or make RowAdam with memory=None, which keeps betas"
            )
        group["betas"] = self._betas(group, self._recorded_steps if recording else 0)

    def _start(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter before its first step."""
        state = self.state[parameter]
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state

    def _unscale(self) -> bool:
        """Divides gradients by the scale of the ``GradScaler`` that calls; whether all are finite, so that the step counts."""
        if any(rows.pending for rows in self._rows.values()):
            # It has looked for overflows by now, and has not seen these.
            self._use_ordinary_gradients()
            warnings.warn(
                "a GradScaler must see the whole gradient of a hash table, so this step was skipped and tables have an ordinary "
                "grad from now on: make RowAdam with row_gradients=False to have it so from the start",
                SoftmineWarning,
                stacklevel=5,
            )
            return False
        scale, found_inf = self.__dict__.get("grad_scale"), self.__dict__["found_inf"]
        if bool(found_inf):
            return False
        if scale is not None:  # None: the scaler has unscaled them
            gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
            for gradient in gradients:
                gradient.div_(scale.to(gradient.device))
        return True

    def _use_ordinary_gradients(self) -> None:
        """From the next backward on; what the rows have by now is discarded."""
        for group in self.param_groups:
            group["row_gradients"] = False
        for table, gradient in self._gradients.items():
            self._rows[table].clear()
            gradient.release()
            # Unless a later optimizer holds the table, which the step will complain of.
            if getattr(table, "row_gradient", None) is gradient:
                table.row_gradient = None  # pyright: ignore[reportAttributeAccessIssue]
        self._gradients.clear()

    def _load_rows(self, table: Tensor, number: int, saved: dict[str, Any]) -> None:
        """Copies the saved state of a table into its rows; without one they start anew."""
        rows = self._rows[table]
        rows.clear()
        self.state[table] = rows.state()
        for name, view in self.state[table].items():
            value = saved.get(name)
            if value is None:
                view.zero_()
            elif value.shape != view.shape:
                raise SoftmineError(
                    f"the state '{name}' of table {number} has shape {tuple(value.shape)}, "
                    f"but the table needs {tuple(view.shape)}"
                )
            else:
                view.copy_(value)


def _tensor(item: Any) -> Any:
    """The parameter of a named parameter, or the parameter itself."""
    return item[1] if isinstance(item, tuple) else item


def _is_table(parameter: Any, row_wise: bool | None) -> bool:
    return levels_of(parameter) is not None if row_wise is None else row_wise


def _momentum_rows(table: Tensor, group: dict[str, Any]) -> int | None:
    """Rows of a table that have a first moment; None is all."""
    levels, batch_size = levels_of(table), group["batch_size"]
    if "momentum_rows" in group or levels is None or batch_size is None:
        return group.get("momentum_rows")
    return levels.coarse_rows(batch_size, VISITS)


def _check(group: dict[str, Any]) -> None:
    """Raises SoftmineError if a setting of a parameter group is out of range."""
    lr, betas = group["lr"], group["betas"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise SoftmineError(
            f"lr is a tensor of shape {tuple(lr.shape)}: give one number, or a tensor () of it"
        )
    check_not_negative("lr", float(lr) if isinstance(lr, Tensor) else lr)
    check_positive("eps", group["eps"])
    check_not_negative("table_rate", group["table_rate"])
    if not (len(betas) == 2 and all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas)):
        raise SoftmineError(f"betas is {betas}: give two numbers from 0 to below 1")
    for name, least in (("momentum_rows", 0), ("batch_size", 1), ("memory", 1)):
        number = group.get(name)
        if number is not None and (type(number) is not int or number < least):
            raise SoftmineError(f"{name} is {number}: give a whole number, {least} or more, or None")
