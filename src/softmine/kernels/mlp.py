"""A small MLP as one operation, in compiled loops on the CPU."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.errors import SoftmineError
from softmine.kernels import thread_pool
from softmine.kernels.backends import backend_for

WIDEST = 128
"""Units of a layer up to which the compiled loops are faster than torch's matrix products."""
SHARE = 128
"""Points of a part of the backward, which sums its gradient by itself,"""
PARTS = 32
"""and how many parts there are at most."""


def fused_mlp(inputs: Tensor, layers: Sequence[Tensor]) -> Tensor:
    """An MLP with ReLU between its layers: what ``nn.Sequential`` of ``nn.Linear`` and ``nn.ReLU`` computes.

    One node of autograd in place of ten and more, each of which costs as much as a small batch's products. It can be
    differentiated once. See ``fits_fused_mlp``.

    Args:
        inputs: (N, I).
        layers: weight (O, I) and bias (O,) of each layer in turn.

    Returns:
        Values (N, C), differentiable in the inputs and all layers.

    Raises:
        SoftmineError: the shapes do not follow one from the other.
    """
    plan = _plan(inputs.shape[1:], *(layer.shape for layer in layers))
    keep = torch.is_grad_enabled() and (inputs.requires_grad or any(layer.requires_grad for layer in layers))
    return _FusedMlp.apply(inputs, plan, keep, *layers)  # pyright: ignore[reportReturnType]


def fits_fused_mlp(inputs: Tensor, layers: Sequence[Tensor]) -> bool:
    """Whether ``fused_mlp`` can compute this here: all of one type on a CPU, not traced, not under autocast, narrow."""
    return (
        type(inputs) is Tensor
        and not torch.compiler.is_compiling()
        and inputs.ndim == 2
        and inputs.device.type == "cpu"
        and all(layer.is_contiguous() and layer.dtype == inputs.dtype for layer in layers)
        and all(max(layer.shape) <= WIDEST for layer in layers)
        and layers[0].device.type == "cpu"
        and backend_for(inputs, layers[0]) == "numba"
        and not torch.is_autocast_enabled("cpu")
    )


class _Plan(NamedTuple):
    """Widths of an MLP without and with padding, and how many numbers it takes to store."""

    sizes: np.ndarray
    widths: np.ndarray
    packed: int
    sums: int
    hidden: int
    lengths: tuple[int, ...]
    shapes: tuple[torch.Size, ...]


@functools.lru_cache(maxsize=64)
def _plan(inputs: torch.Size, *shapes: torch.Size) -> _Plan:
    from softmine.kernels.cpu.matmul import UNIT

    sizes = [*inputs]
    for weight, bias in zip(shapes[::2], shapes[1::2], strict=True):
        if len(weight) != 2 or weight[1] != sizes[-1] or tuple(bias) != (weight[0],):
            raise SoftmineError(
                f"a layer of an MLP with weight {tuple(weight)} and bias {tuple(bias)} does not take "
                f"{sizes[-1]} inputs"
            )
        sizes.append(weight[0])
    widths = [-(-size // UNIT) * UNIT for size in sizes]
    pairs = list(itertools.pairwise(widths))
    return _Plan(
        np.array(sizes),
        np.array(widths),
        sum((2 * wide_in + 1) * wide_out for wide_in, wide_out in pairs),
        sum((wide_in + 1) * wide_out for wide_in, wide_out in pairs),
        sum(widths[1:-1]),
        tuple(shape.numel() for shape in shapes),
        shapes,
    )


class _FusedMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, plan: _Plan, keep: bool, *layers: Tensor) -> Tensor:
        from softmine.kernels.cpu import mlp_loops as loops

        rows = inputs.contiguous()
        source = rows.numpy()
        points = len(source)
        packed = np.empty(plan.packed, source.dtype)
        addresses = np.array([layer.data_ptr() for layer in layers])
        loops.pack(addresses, plan.sizes, plan.widths, packed)
        kept = np.empty(-(-points // loops.UNIT) * loops.UNIT * plan.hidden if keep else 0, source.dtype)
        out = rows.new_empty(points, int(plan.sizes[-1]))
        arrays = (source, packed, plan.widths, kept, keep, out.numpy())
        thread_pool.run(loops.forward, *arrays, parts=-(-points // loops.BLOCK))
        if keep:
            ctx.save_for_backward(rows)
            # The layers as they were: a step of the optimizer before the backward does no harm.
            ctx.plan, ctx.packed, ctx.kept = plan, packed, kept
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        from softmine.kernels.cpu import mlp_loops as loops

        (rows,) = ctx.saved_tensors
        plan = ctx.plan
        source = rows.numpy()
        points = len(source)
        share = max(SHARE, -(-points // (PARTS * loops.BLOCK)) * loops.BLOCK)
        parts = -(-points // share)
        sums = np.zeros((max(parts, 1), plan.sums), source.dtype)
        wanted = ctx.needs_input_grad[0]
        of_inputs = rows.new_empty(rows.shape if wanted else (0, 0))
        kept = (source, ctx.packed, plan.widths, ctx.kept)
        results = (share, sums, wanted, of_inputs.numpy())
        thread_pool.run(loops.backward, grads[0].contiguous().numpy(), *kept, *results, parts=parts)
        flat = rows.new_empty(sum(plan.lengths))
        loops.add_parts(sums, plan.sizes, plan.widths, flat.numpy())
        of_layers = [
            piece.view(shape) if len(shape) > 1 else piece
            for piece, shape in zip(flat.split(plan.lengths), plan.shapes, strict=True)
        ]
        return (of_inputs if wanted else None, None, None, *of_layers)
