"""Multi-resolution hash grid (Mueller et al., SIGGRAPH 2022, arXiv 2201.05989)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmine.domain import Coords, SoftmineError, Values
from softmine.fields.mlp import evaluate, mlp
from softmine.kernels import hash_encode
from softmine.kernels.grid import Grid, TableLevels, mark_table
from softmine.kernels.touched_rows import rows_of_handle

MOST_CELLS = 2**30
"""Along an axis of a level: coordinates have fewer digits, and indices on every device 32 bits."""


class HashGrid(nn.Module):
    """Encodes coordinates by linear interpolation in grids of growing resolution.

    A level whose (resolution + 1)^D vertices fit into ``2 ** log2_table_size`` rows stores them densely; a finer
    level shares that many rows through a spatial hash. All levels lie in one table, one after the other.

    Args:
        dim: axes of the coordinates, 1 to 4.
        levels: number of grids L.
        features: features a vertex F.
        log2_table_size: base-2 logarithm of the rows of a hashed level.
        base_resolution: cells along each axis of the coarsest level; one number, or one an axis.
        finest_resolution: cells along each axis of the finest level; one number, or one an axis.

    Example:
        >>> grid = HashGrid(dim=2, levels=4, finest_resolution=64)
        >>> grid(torch.rand(5, 2)).shape
        torch.Size([5, 8])
    """

    resolutions: Tensor
    offsets: Tensor

    def __init__(
        self,
        dim: int,
        *,
        levels: int = 16,
        features: int = 2,
        log2_table_size: int = 19,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] = 2048,
    ) -> None:
        super().__init__()
        if not 1 <= dim <= 4:
            raise SoftmineError(f"a hash grid has 1 to 4 dimensions, not {dim}")
        if levels < 1 or features < 1 or not 1 <= log2_table_size <= 28:
            raise SoftmineError(
                f"a hash grid needs at least one level and feature and a table of 2^1 to 2^28 rows, not "
                f"{levels} levels, {features} features, 2^{log2_table_size} rows"
            )
        self.dim, self.levels, self.features = dim, levels, features
        self.table_size = 1 << log2_table_size
        resolutions = _resolutions(dim, levels, base_resolution, finest_resolution)
        sizes = [math.prod(n + 1 for n in level) for level in resolutions]
        self.dense_levels = sum(size <= self.table_size for size in sizes)
        rows = [min(size, self.table_size) for size in sizes]
        self.register_buffer("resolutions", torch.tensor(resolutions), persistent=False)
        offsets = torch.tensor(rows).cumsum(0) - torch.tensor(rows)
        self.register_buffer("offsets", offsets, persistent=False)
        self._table_levels = TableLevels(dim, tuple(rows))
        self.table = nn.Parameter(torch.empty(sum(rows), features).uniform_(-1e-4, 1e-4))

    @property
    def outputs(self) -> int:
        """Width of the encoding, L * F."""
        return self.levels * self.features

    @property
    def grid(self) -> Grid:
        """The levels, as the kernels take them."""
        return Grid(self.resolutions, self.offsets, self.table_size, self.dense_levels)

    def forward(self, coords: Coords) -> Float[Tensor, "n f"]:
        """Features (N, L * F) at coordinates (N, D) in [0, 1]; differentiable in the table and the coordinates."""
        return hash_encode(coords, self.table, self.grid)

    def add_gradient(self, of_features: Tensor, coords: Coords) -> None:
        """Gives the table's gradient that follows from that of the features (N, L * F) to the ``RowAdam`` that holds it."""
        rows_of_handle(self.table.row_gradient.handle).add(of_features, coords, self.grid)  # pyright: ignore[reportAttributeAccessIssue]

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As of any module; marks the table as one."""
        super().register_parameter(name, param)
        self._mark_table()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of ``copy.deepcopy`` and pickle."""
        super().__setstate__(state)
        self._mark_table()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HashGrid:
        super()._apply(fn, recurse)
        self._mark_table()
        return self

    def _mark_table(self) -> None:
        """Torch makes a new parameter in copies, when states are assigned and on some moves."""
        table = self._parameters.get("table")
        if table is not None:
            mark_table(table, self._table_levels)

    def extra_repr(self) -> str:
        """Shape of the grids, for ``print``."""
        finest = " x ".join(str(n) for n in self.resolutions[-1].tolist())
        return (
            f"{self.levels} levels x {self.features} features, {len(self.table)} rows, "
            f"{self.dense_levels} dense, finest {finest}"
        )


class HashGridField(nn.Module):
    """A hash grid and a small MLP: coordinates (N, D) in, values (N, C) out.

    Args:
        dim: axes of the coordinates, 1 to 4.
        channels: values a coordinate, C.
        hidden: width of the MLP's layers.
        layers: its number of hidden layers.
        **grid: arguments of ``HashGrid``.
    """

    def __init__(self, dim: int, channels: int, *, hidden: int = 64, layers: int = 2, **grid) -> None:
        super().__init__()
        self.encoding = HashGrid(dim, **grid)
        self.network = mlp(self.encoding.outputs, channels, hidden=hidden, layers=layers)

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at coordinates (N, D) in [0, 1]."""
        return evaluate(self.network, self.encoding(coords))


def _resolutions(
    dim: int, levels: int, base: int | Sequence[int], finest: int | Sequence[int]
) -> list[list[int]]:
    """Cells along each axis of each level: a geometric series from base to finest."""
    lows = [base] * dim if isinstance(base, int) else list(base)
    highs = [finest] * dim if isinstance(finest, int) else list(finest)
    if len(lows) != dim or len(highs) != dim or min(lows + highs) < 1 or max(lows + highs) > MOST_CELLS:
        raise SoftmineError(
            f"resolutions {base} and {finest} do not fit {dim} dimensions: give one number, or one an axis, from 1 to "
            f"{MOST_CELLS:,}"
        )
    series = []
    for level in range(levels):
        share = level / (levels - 1) if levels > 1 else 1.0
        series.append(
            [
                round(min(low, high) * (high / min(low, high)) ** share)
                for low, high in zip(lows, highs, strict=True)
            ]
        )
    return series
