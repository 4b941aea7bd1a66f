"""Bilinear look-up with its gradient in closed form.

Langevin sampling needs the gradient of an image at every sample of every step. Through autograd that takes twenty small
operations backward; from the four corners, which the values need anyway, it takes three. Of cells in a CPU's memory a
compiled loop does all of it in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.domain import Cells, Coords, Values
from softmine.kernels import thread_pool
from softmine.signals.grid import corners, runs_eagerly

Gather = Callable[[Cells], Values]
"""Raw values (M, C), of the type to work in, at flat cells (M,)."""

_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_STORED = frozenset((*_INTEGERS, torch.float32, torch.float64))
"""Types of cells that compiled loops read. Processors have no arithmetic for shorter floats, nor does numba know them."""


def look_up(coords: Coords, size: Int[Tensor, "2"], gather: Gather, work: torch.dtype) -> Values:
    """Values (N, C) of type ``work`` at unit coordinates (N, 2), linear between the centers of cells.

    Constant beyond the outermost centers; NaN coordinates give NaN.

    Args:
        coords: (row, column), (N, 2).
        size: rows and columns.
        gather: looks up cells.
        work: type to work in.
    """
    return _LookUp.apply(coords, size, gather, work)  # pyright: ignore[reportReturnType]


def fits_loop(coords: Tensor, cells: Tensor) -> bool:
    """Whether ``look_up_in_memory`` takes these coordinates from these cells."""
    on_cpu = coords.device.type == "cpu" and cells.device.type == "cpu"
    return on_cpu and type(coords) is Tensor and cells.dtype in _STORED and runs_eagerly(coords)


def look_up_in_memory(
    coords: Coords, size: tuple[int, int], cells: Tensor, zero: float, span: float, work: torch.dtype
) -> Values:
    """``(look_up(...) - zero) / span``, (N, C), from cells (H * W, C) in a CPU's memory, as ``fits_loop`` says.

    Args:
        coords: (row, column), (N, 2).
        size: H and W.
        cells: raw values: integers, bool, float32 or float64.
        zero: raw value that becomes 0.
        span: by how much that of 1 is larger.
        work: type to work in, float32 or float64.
    """
    follow = coords.requires_grad and torch.is_grad_enabled()
    return _Loop.apply(coords, size, cells, zero, span, work, follow)  # pyright: ignore[reportReturnType]


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coords: Tensor,
        size: tuple[int, int],
        cells: Tensor,
        zero: float,
        span: float,
        work: torch.dtype,
        follow: bool,
    ) -> Tensor:
        from softmine.signals.image import bilinear_kernels as loops

        raw = cells.view(torch.uint8) if cells.dtype == torch.bool else cells
        # numpy's calls, because torch's cost more, and a small batch is little work.
        columns = np.ascontiguousarray(coords.to(work).numpy(force=True).T)
        values = np.empty((len(coords), cells.shape[1]), columns.dtype)
        slopes = np.empty((len(coords), 2 if follow else 0, cells.shape[1]), columns.dtype)
        channels = (0,) * cells.shape[1]  # as many as the compiled code is to know
        arguments = (columns, raw.numpy(), size, channels, zero, span, values, slopes)
        thread_pool.run(loops.look_up, *arguments, parts=-(-len(coords) // loops.POINTS))
        if follow:
            ctx.slopes = slopes
        return torch.from_numpy(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        from softmine.kernels.cpu.backend import ALONE_SLOPES
        from softmine.signals.image import bilinear_kernels as loops

        gradient = np.ascontiguousarray(grads[0].numpy(force=True))
        along = np.empty(ctx.slopes.shape[:2], gradient.dtype)
        parts = -(-len(along) // loops.POINTS) if ctx.slopes.size > ALONE_SLOPES else 1
        thread_pool.run(loops.along_slopes, gradient, ctx.slopes, along, parts=parts)
        return torch.from_numpy(along), None, None, None, None, None, None


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coords: Tensor, size: Tensor, gather: Gather, work: torch.dtype) -> Tensor:
        free = coords.to(work) * size - 0.5
        position = free.clamp(min=0).minimum(size - 1)
        cells, fraction = corners(position, size)
        values = gather(cells.reshape(-1)).unflatten(0, cells.shape)
        across = values[:, 1] - values[:, 0]
        sides = torch.addcmul(values[:, 0], across, fraction[:, 1])
        down = sides[1] - sides[0]
        # Beyond the outermost centers the image is constant.
        ctx.steep = torch.where(free == position, size, 0)
        ctx.slopes = down, torch.lerp(across[0], across[1], fraction[:, 0])
        return torch.addcmul(sides[0], down, fraction[:, 0])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None, None]:
        down, across = ctx.slopes
        along = torch.stack(((gradient * down).sum(-1), (gradient * across).sum(-1)), -1)
        return along.mul_(ctx.steep), None, None, None
