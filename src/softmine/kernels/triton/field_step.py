"""What a step does with a field of a hash grid and an MLP, in two launches: its error and loss, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from softmine.kernels.grid import Grid
from softmine.kernels.triton.launch import aligned, launch

HIDDEN_LAYERS = 2
WIDTHS = (16, 32, 64, 128)
"""Units of a hidden layer."""
MOST_INPUTS = 64
MOST_CHANNELS = 16


class Weighting(NamedTuple):
    """How losses are weighted: as ``given``, else by the density over uniform, else all alike.

    Attributes:
        given: weights (N,).
        density: q/u, (N,); weights are this to the power of minus alpha.
        limit: error (N,) above which a sample's weight is multiplied by ``kept``.
        step: steps so far, int64 (), over which alpha grows.
        alpha: its full size.
        warmup: steps until then.
        kept: see ``limit``.
    """

    step: Tensor
    given: Tensor | None = None
    density: Tensor | None = None
    limit: Tensor | None = None
    alpha: float = 0.0
    warmup: int = 0
    kept: float = 1.0


class Result(NamedTuple):
    """What a step knows of a batch.

    Attributes:
        error: mean absolute difference of the channels, (N,).
        loss: mean square of it, (N,).
        sums: of the weighted losses, in parts (P,).
        of_features: gradient of the mean weighted loss in the encoding, (N, L * F).
        of_values: that in the field's values, (N, C).
    """

    error: Tensor
    loss: Tensor
    sums: Tensor
    of_features: Tensor
    of_values: Tensor


def fits_field_step(table: Tensor, levels: int, layers: Sequence[Tensor]) -> str:
    """What keeps a field from ``field_step``, or nothing.

    Args:
        table: of its hash grid, (R, F).
        levels: L.
        layers: weight (O, I) and bias (O,) of each layer in turn.
    """
    if len(layers) != 2 * (HIDDEN_LAYERS + 1):
        return f"its MLP has not {HIDDEN_LAYERS} hidden layers"
    hidden = len(layers[1])
    if hidden not in WIDTHS or len(layers[3]) != hidden:
        return f"its hidden layers are not alike, or of no width among {', '.join(map(str, WIDTHS))}"
    if levels * table.shape[1] > MOST_INPUTS or len(layers[5]) > MOST_CHANNELS:
        return f"it has more than {MOST_INPUTS} features or {MOST_CHANNELS} channels"
    if any(layer.dtype != torch.float32 or not layer.is_contiguous() for layer in layers):
        return "its MLP is not of contiguous float32"
    return ""


def field_step(
    coords: Tensor,
    targets: Tensor,
    table: Tensor,
    grid: Grid,
    layers: Sequence[Tensor],
    *,
    weighting: Weighting,
    gradients: Sequence[Tensor] | None = None,
    product: str = "bf16",
) -> Result:
    """Error, loss and gradient of a field at a batch.

    Args:
        coords: (N, D), float32.
        targets: values to be, (N, C), float32.
        table: of the hash grid, (R, F), float32 or float16.
        grid: its levels.
        layers: see ``fits_field_step``.
        weighting: of the losses.
        gradients: of the layers, like them, to which theirs is added; None: only error and loss are made.
        product: precision of matrix products: ``bf16``, ``tf32`` or ``ieee``; all are summed in float32.
    """
    from softmine.kernels.triton import field_kernels

    points, dim = coords.shape
    levels, width, channels = len(grid.offsets), table.shape[1], len(layers[5])
    train, block, warps = gradients is not None, *_shape(coords)
    programs = -(-points // block)
    error, loss = coords.new_empty(points), coords.new_empty(points)
    sums = coords.new_empty(programs if train else 0)
    of_features = coords.new_empty(points if train else 0, levels * width)
    of_values = coords.new_empty(points if train else 0, channels)
    given, density, limit = weighting.given, weighting.density, weighting.limit
    if product == "bf16" and not coords.is_cuda:
        product = "rounded"
    mode = 1 if given is not None else 0 if density is None else 2
    if points:
        launch(
            field_kernels.field_step, (programs,),
            aligned(coords), aligned(targets), error if density is None else aligned(density),
            error if limit is None else aligned(limit), error if given is None else aligned(given),
            weighting.step, table, grid.resolutions, grid.offsets, *layers, *(gradients or layers),
            of_features, of_values, error, loss, sums, points, grid.table_size, grid.dense_levels,
            float(weighting.alpha), float(weighting.warmup), float(weighting.kept), 1.0 / points,
            TRAIN=train, WEIGHTS=mode, LIMIT=limit is not None, PRODUCT=product,
            DIM=dim, LEVELS=levels, WIDTH=width, INPUTS=max(16, 1 << (levels * width - 1).bit_length()),
            HIDDEN=len(layers[1]), CHANNELS=channels, OUTPUTS=16, BLOCK=block, num_warps=warps,
        )  # fmt: skip
    return Result(error, loss, sums, of_features, of_values)


def finish(sums: Tensor, points: int, step: Tensor, loss: Tensor, first_bad: Tensor) -> None:
    """Takes up the parts (P,) of a batch's loss.

    Args:
        sums: as of ``Result``.
        points: N.
        step: steps before this one, int64 ().
        loss: receives their mean, ().
        first_bad: number of the first step whose loss was not finite, int64 (); changed where this one's is.
    """
    from softmine.kernels.triton import field_kernels

    launch(field_kernels.finish, (1,), sums, loss, first_bad, step, len(sums), 1.0 / points, BLOCK=256)


def _shape(coords: Tensor) -> tuple[int, int]:
    """Points of a program and its warps: as many as need hardly more registers than there are (docs: tests/gpu)."""
    if coords.is_cuda and torch.cuda.get_device_capability(coords.device)[0] == 9:
        return 128, 8
    # Elsewhere operands of matrix products are in registers; where they need not be, on Blackwell, Triton 3.7 cannot compile it.
    return 32, 4
