"""Fields at the centers of grids' cells, and which cells of many to show."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from softmine.domain import Coords, Values
from softmine.runs.task import Array
from softmine.training.evaluation import values_at


def predict(field: nn.Module, coords: Coords, device: torch.device) -> Values:
    """Values (N, C) of a field on the CPU, clipped to [0, 1], as all that is shown and written of it."""
    return values_at(field, coords, device).clamp_(0.0, 1.0)


def centers(length: int, start: int = 0, stop: int | None = None) -> Tensor:
    """Unit coordinates of the centers of cells [start, stop) of an axis with ``length`` cells, float64.

    Example:
        >>> centers(4, 1, 3)
        tensor([0.3750, 0.6250], dtype=torch.float64)
    """
    return (torch.arange(start, length if stop is None else stop, dtype=torch.float64) + 0.5) / length


def grid_coords(*axes: Tensor) -> Coords:
    """Coordinates (N, D) of all points of a grid, row-major, from the coordinates along each of its D axes."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, len(axes)).float()


def rows_of(
    field: nn.Module, rows: range, shape: tuple[int, int], device: torch.device, cells: int
) -> Iterator[tuple[int, int, Array]]:
    """Values (h, W, C) of a field on the rows from one up to another, about ``cells`` cells at a time.

    Args:
        field: over the two axes of an image.
        rows: which rows of the grid.
        shape: rows and columns of the whole grid.
        device: where the field is.
        cells: at a time; a row at least.
    """
    height, width = shape
    step = max(1, cells // width)
    for start in rows[::step]:
        stop = min(start + step, rows.stop)
        values = predict(field, grid_coords(centers(height, start, stop), centers(width)), device)
        yield start, stop, values.numpy().reshape(stop - start, width, -1)


def spread(size: int, count: int) -> list[int]:
    """At most ``count`` of ``size`` positions, in the middles of as many equal parts.

    Example:
        >>> spread(10, 3), spread(2, 3)
        ([1, 5, 8], [0, 1])
    """
    count = min(size, count)
    return [(2 * part + 1) * size // (2 * count) for part in range(count)]
