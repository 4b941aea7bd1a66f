"""The hash encoding as custom operators, so that ``torch.compile`` and autograd see through it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from softmine.kernels import reference
from softmine.kernels.backends import backend_for
from softmine.kernels.grid import Grid
from softmine.kernels.touched_rows import accumulates, rows_of_handle, will_execute


def hash_encode(coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Multi-resolution hash encoding with linear interpolation (arXiv 2201.05989).

    Args:
        coords: (N, D), D from 1 to 4; clamped to [0, 1]. A NaN makes its features NaN.
        table: rows of all levels, one level after the other, (R, F).
        grid: the levels.

    Returns:
        Features (N, L * F), differentiable in ``coords`` and ``table``. If a ``RowAdam`` holds the table, a
        backward that would add to ``table.grad`` gives the gradient to it instead, row by row; ``table.grad`` stays None.
        Not so in a process group of several processes, where others add the gradients of all up and must see them.

    Raises:
        SoftmineError: the environment variable ``SOFTMINE_KERNELS`` names what is impossible here.
    """
    if backend_for(coords, table, table.shape[1]) == "torch":
        return reference.encode(coords, table, grid)
    gradient = getattr(table, "row_gradient", None)
    sink = (None, -1)
    if gradient is not None and gradient.active and not _several_processes():
        sink = (gradient.backwards, gradient.handle)
    if torch.compiler.is_compiling() or type(coords) not in (Tensor, nn.Parameter):
        return _encode(coords, table, *grid, *sink)
    # An operator is for tracers to see: called directly, its machinery costs more than a small batch.
    follow = coords.requires_grad and torch.is_grad_enabled()
    return _Encode.apply(coords, table, *grid, *sink, follow)  # pyright: ignore[reportReturnType]


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


# Operators know no tuples with names: ``*grid`` goes in, and ``Grid`` is made anew on the other side.
_GRID = "Tensor resolutions, Tensor offsets, int table_size, int dense_levels"


@torch.library.custom_op(
    "softmine::hash_encode",
    mutates_args=(),
    schema=f"(Tensor coords, Tensor table, {_GRID}, Tensor? backwards, int handle) -> Tensor",
)
def _encode(coords, table, *grid_and_sink):
    return _backend(coords, table).encode(coords, table, Grid(*grid_and_sink[:4]))


@_encode.register_fake
def _(coords, table, *grid_and_sink):
    return coords.new_empty(coords.shape[0], grid_and_sink[1].shape[0] * table.shape[1])


def _gradient_operator(of: str, like: int) -> Any:
    """The operator of the gradient of one input, which has the shape of the argument ``like``."""

    def gradient(grad, coords, table, *grid):
        return getattr(_backend(coords, table), f"gradient_of_{of}")(grad, coords, table, Grid(*grid))

    schema = f"(Tensor grad, Tensor coords, Tensor table, {_GRID}) -> Tensor"
    name = f"softmine::hash_encode_gradient_of_{of}"
    operator = torch.library.custom_op(name, gradient, mutates_args=(), schema=schema)
    operator.register_fake(lambda *arguments: arguments[like].new_empty(arguments[like].shape))
    return operator


_gradient_of_coords, _gradient_of_table = _gradient_operator("coords", 1), _gradient_operator("table", 2)


@torch.library.custom_op(
    "softmine::hash_encode_touch_rows",
    mutates_args=("backwards",),
    schema=f"(Tensor grad, Tensor coords, {_GRID}, Tensor(a!) backwards, int handle) -> ()",
)
def _touch_rows(grad, coords, *grid_and_sink):
    """Adds a batch's gradient to the rows behind ``handle``, where this backward is one that adds to the table's gradient.

    Only the operator itself can tell: the compiler traces one backward for all that may be asked of it. Counting in
    ``backwards`` keeps it from dropping an operator that returns nothing.
    """
    *grid, backwards, handle = grid_and_sink
    rows = rows_of_handle(handle)
    if accumulates(handle):
        rows.add(grad, coords, Grid(*grid))
    backwards += 1


@_touch_rows.register_fake
def _(grad, coords, *grid_and_sink):
    return None


class _Operators:
    """The backward as tracers see it; the modules of backends have the same functions."""

    @staticmethod
    def gradient_of_coords(grad: Tensor, coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
        return _gradient_of_coords(grad, coords, table, *grid)

    @staticmethod
    def gradient_of_table(grad: Tensor, coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
        return _gradient_of_table(grad, coords, table, *grid)


def _keep(ctx: Any, inputs: tuple, output: Tensor) -> None:
    coords, table, resolutions, offsets, *ctx.sizes, ctx.backwards, ctx.handle = inputs
    ctx.save_for_backward(coords, table, resolutions, offsets)
    ctx.slopes = None


def _backward(ctx: Any, grad: Tensor, traced: bool = True) -> tuple:
    coords, table, resolutions, offsets = ctx.saved_tensors
    grid = Grid(resolutions, offsets, *ctx.sizes)
    backend: Any = _Operators if traced else _backend(coords, table)
    of_coords = of_table = None
    if ctx.needs_input_grad[0] and ctx.slopes is not None:
        of_coords = backend.along_slopes(grad, ctx.slopes)
    elif ctx.needs_input_grad[0]:
        of_coords = backend.gradient_of_coords(grad, coords, table, grid)
    if ctx.needs_input_grad[1]:
        if traced and ctx.backwards is not None:
            _touch_rows(grad, coords, *grid, ctx.backwards, ctx.handle)
        elif traced:
            of_table = backend.gradient_of_table(grad, coords, table, grid)
        else:
            of_table = _of_table(ctx, backend, grad, coords, table, grid)
    return of_coords, of_table, None, None, None, None, None, None


def _of_table(
    ctx: Any, backend: Any, grad: Tensor, coords: Tensor, table: Tensor, grid: Grid
) -> Tensor | None:
    """The table's gradient (R, F); None where nobody asks, as in ``autograd.grad(loss, coords)``, or the rows have it."""
    wanted = will_execute(ctx.next_functions[1][0])
    if wanted is False:
        return None
    if ctx.backwards is None or wanted is None:
        return backend.gradient_of_table(grad, coords, table, grid)
    rows_of_handle(ctx.handle).add(grad, coords, grid)
    return None


_encode.register_autograd(_backward, setup_context=_keep)


class _Encode(torch.autograd.Function):
    """``_encode`` without its machinery; a last input says whether coordinates want a gradient."""

    @staticmethod
    def forward(ctx, *inputs):
        coords, table, *grid = inputs[:-3]
        backend, slopes = _backend(coords, table), None
        if inputs[-1] and hasattr(backend, "encode_with_slopes"):
            features, slopes = backend.encode_with_slopes(coords, table, Grid(*grid))
        else:
            features = backend.encode(coords, table, Grid(*grid))
        _keep(ctx, inputs[:-1], features)
        ctx.slopes = slopes
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_backward(ctx, grads[0], traced=False), None


def _backend(coords: Tensor, table: Tensor) -> Any:
    if backend_for(coords, table) == "triton":
        from softmine.kernels.triton import backend
    else:
        from softmine.kernels.cpu import backend
    return backend
