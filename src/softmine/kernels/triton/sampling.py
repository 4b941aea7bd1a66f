"""What samplers do at every step, in one launch each where torch takes several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softmine.kernels.triton.launch import aligned, launch

BLOCK = 256


def random_words(key: Tensor, counter: Tensor, count: int) -> Tensor:
    """The next ``count`` words of a random stream, int64 (count,), which it does not leave behind."""
    return _random(key, counter, torch.empty(count, dtype=torch.int64, device=key.device), False)


def uniform_numbers(key: Tensor, counter: Tensor, count: int) -> Tensor:
    """The numbers in [0, 1) of as many words, float32 (count,)."""
    return _random(key, counter, torch.empty(count, device=key.device), True)


def _random(key: Tensor, counter: Tensor, out: Tensor, uniform: bool) -> Tensor:
    from softmine.kernels.triton import sampling_kernels

    if len(out):
        launch(
            sampling_kernels.random_numbers,
            _blocks(out),
            key,
            counter,
            out,
            len(out),
            UNIFORM=uniform,
            BLOCK=BLOCK,
        )
    return out


def take_batch(
    coords: Tensor, density: Tensor, limit: Tensor | None, first: Tensor, number: int | Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Coordinates (N, D), density (N,) and limit (N,) of one of P batches, and a copy of the step.

    Args:
        coords: of all, (P, N, D).
        density: of all, (P, N).
        limit: of all, (P, N); None is none.
        first: which batch number zero is, int64 (1,).
        number: of the batch.
        step: int64 ().
    """
    from softmine.kernels.triton import sampling_kernels

    period, points, dim = coords.shape
    taken, its_density, now = coords.new_empty(points, dim), density.new_empty(points), torch.empty_like(step)
    its_limit = None if limit is None else limit.new_empty(points)
    launch(
        sampling_kernels.take_batch, _blocks(its_density),
        coords, density, density if limit is None else limit, first, number, step,
        taken, its_density, its_density if its_limit is None else its_limit, now, period, points,
        LIMIT=limit is not None, ON_DEVICE=isinstance(number, Tensor), DIM=dim, BLOCK=BLOCK,
    )  # fmt: skip
    return taken, its_density, its_limit, now


def note_errors(errors: Tensor, seen: Tensor, first: Tensor, number: int | Tensor, drawn: Tensor) -> None:
    """Writes errors (N,) of a batch to its place among those seen (P, N); what is no number, or infinite, as zero.

    Args:
        errors: float32.
        seen: by all batches that were drawn at once.
        first: which batch number zero is, int64 (1,).
        number: of the batch; one on the device may be too old, and is then left out.
        drawn: batches drawn so far, int64 ().
    """
    from softmine.kernels.triton import sampling_kernels

    launch(
        sampling_kernels.note_errors, _blocks(errors),
        aligned(errors), seen, first, number, drawn, *seen.shape, ON_DEVICE=isinstance(number, Tensor), BLOCK=BLOCK,
    )  # fmt: skip


def count_cells(coords: Tensor, shape: Sequence[int], coarse: Sequence[int], counts: Tensor) -> None:
    """Adds one to the count (V,) of the cell of a coarse grid in which the center of each coordinate's cell (N, D) lies.

    Args:
        coords: (N, D).
        shape: cells along each axis of the grid that the coordinates lie in.
        coarse: cells along each axis of the grid that is counted in.
        counts: of all cells of that grid, float32.
    """
    from softmine.kernels.triton import sampling_kernels

    unused = [1] * (4 - len(shape))
    launch(
        sampling_kernels.count_cells, _blocks(coords),
        aligned(coords), counts, len(coords), *shape, *unused, *coarse, *unused, DIM=len(shape), BLOCK=BLOCK,
    )  # fmt: skip


def _blocks(items: Tensor) -> tuple[int]:
    return (-(-len(items) // BLOCK),)
