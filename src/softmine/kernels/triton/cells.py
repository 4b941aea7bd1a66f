"""Values of a grid at the cells that hold coordinates, in one launch: what snapped training looks up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softmine.kernels.triton.launch import aligned, launch

BLOCK = 128
STORED = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.float16, torch.float32)
"""Types of values that can be gathered."""


def gather_cells(
    coords: Tensor, shape: Sequence[int], stored: Tensor, known: Tensor | None, zero: float, span: float
) -> tuple[Tensor, Tensor]:
    """Centers (N, D) of the cells that hold coordinates, and the values there, (N, C), float32.

    Args:
        coords: (N, D) in [0, 1), float32.
        shape: cells along each axis.
        stored: values of all cells, (V, C), of a type in ``STORED``.
        known: which cells hold data, (V,); the value of others is 0. None is all.
        zero: stored value that becomes 0.
        span: by how much that of 1 is larger.
    """
    from softmine.kernels.triton import field_kernels

    points, channels = len(coords), stored.shape[1]
    centers, values = torch.empty_like(coords), coords.new_empty(points, channels)
    bytes_of = stored.view(torch.uint8) if stored.dtype == torch.bool else stored
    if points:
        launch(
            field_kernels.take_cells, (-(-points // BLOCK),),
            aligned(coords), bytes_of, bytes_of if known is None else known.view(torch.uint8), centers, values,
            points, *shape, *[1] * (4 - len(shape)), float(zero), float(span),
            KNOWN=known is not None, DIM=len(shape), CHANNELS=channels,
            WIDTH=1 << (channels - 1).bit_length(), BLOCK=BLOCK,
        )  # fmt: skip
    return centers, values
