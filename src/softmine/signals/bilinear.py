"""Bilinear look-up with its gradient in closed form.

Langevin sampling asks a picture for the gradient at every sample of every step. Through autograd that takes twenty small
operations backward; from the four corners, which the values need anyway, it takes three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.domain import Cells, Coords, Values
from softmine.signals.grid import corners

Gather = Callable[[Cells], Values]
"""Raw values (M, C), of the type to work in, at flat cells (M,)."""


def look_up(coords: Coords, size: Int[Tensor, "2"], gather: Gather, work: torch.dtype) -> Values:
    """Values (N, C) of type ``work`` at unit coordinates (N, 2), linear between the centres of cells.

    Constant beyond the outermost centres; NaN coordinates give NaN.

    Args:
        coords: (row, column), (N, 2).
        size: rows and columns.
        gather: looks up cells.
        work: type to work in.
    """
    follow = coords.requires_grad and torch.is_grad_enabled()
    return _LookUp.apply(coords, size, gather, work, follow)  # pyright: ignore[reportReturnType]


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, coords: Tensor, size: Tensor, gather: Gather, work: torch.dtype, follow: bool
    ) -> Tensor:
        free = coords.to(work) * size - 0.5
        position = free.clamp(min=0).minimum(size - 1)
        cells, fraction = corners(position, size)
        values = gather(cells.reshape(-1)).unflatten(0, cells.shape)
        across = values[:, 1] - values[:, 0]
        sides = torch.addcmul(values[:, 0], across, fraction[:, 1])
        down = sides[1] - sides[0]
        if follow:
            # Beyond the outermost centres the picture is constant.
            ctx.steep = torch.where(free == position, size, 0)
            ctx.slopes = down, torch.lerp(across[0], across[1], fraction[:, 0])
        return torch.addcmul(sides[0], down, fraction[:, 0])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        down, across = ctx.slopes
        along = torch.stack(((gradient * down).sum(-1), (gradient * across).sum(-1)), -1)
        return along.mul_(ctx.steep), None, None, None, None
