"""The density's activation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.radiance.ray_types import PerRay

STEEPEST = 15.0
"""Where the gradient stops growing."""
LARGEST = 80.0
"""Where the value does, before float32 would overflow."""


def truncated_exponential(logarithm: PerRay) -> PerRay:
    """exp(x), whose gradient is that of exp(min(x, 15)): a density far too high does not blow the next step up.

    Source: instant-ngp (arXiv 2201.05989, section 5.4) says why the exponential; the bound is torch-ngp's.

    Example:
        >>> truncated_exponential(torch.tensor([0.0]))
        tensor([1.])
    """
    return _Exponential.apply(logarithm)  # pyright: ignore[reportReturnType]


class _Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logarithm: Tensor) -> Tensor:
        value = logarithm.clamp(max=LARGEST).exp()
        ctx.save_for_backward(value)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (value,) = ctx.saved_tensors
        return grads[0] * value.clamp(max=torch.tensor(STEEPEST).exp().item())
