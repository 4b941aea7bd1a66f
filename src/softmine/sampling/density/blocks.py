"""Blocks of whole cells of a grid, some of which are a cell larger than others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, PerSample
from softmine.masks import block_of, block_start


class Blocks(nn.Module):
    """A grid cut into blocks, numbered in row-major order, so that none of its cells is cut.

    A cell belongs to the block that its center lies in if all are equally large, as in ``MaskedGrid``. Along an axis, the
    blocks then differ by at most one cell.

    Args:
        fine: cells of the grid along each axis.
        shape: blocks along each axis, at most as many.

    Example:
        >>> blocks = Blocks((5,), (2,))
        >>> blocks.find(torch.tensor([[0.1], [0.3], [0.5], [0.7], [0.9]])).tolist()
        [0, 0, 1, 1, 1]
        >>> blocks.volume()
        tensor([0.8000, 1.2000])
    """

    borders: Tensor

    def __init__(self, fine: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        self.fine, self.grid = tuple(fine), Box(shape)
        # Of all axes one after the other: a look-up takes less time than divisions of whole numbers.
        borders = [start.double() / size for start, size in zip(self._starts(), self.fine, strict=True)]
        self.register_buffer("borders", torch.cat(borders).float(), persistent=False)

    def volume(self) -> PerSample:
        """The size of every block, (count,), float32, in units of the mean size."""
        volume = torch.ones(1, dtype=torch.float32)
        for start, size in zip(self._starts(), self.fine, strict=True):
            widths = start.diff().float() * ((len(start) - 1) / size)
            volume = (volume.unsqueeze(-1) * widths).flatten()
        return volume

    def inside(self, cells: Cells, offsets: Sequence[Tensor]) -> Coords:
        """Coordinates (N, D), float32, in blocks (N,), at offsets in [0, 1) along each axis, each (N,) or (1,)."""
        coords = torch.empty(len(cells), self.grid.dim, dtype=torch.float32, device=cells.device)
        borders = self.borders.split([many + 1 for many in self.grid.shape])
        for axis, index in enumerate(self.grid.indices(cells)):
            size, many = self.fine[axis], self.grid.shape[axis]
            low, high = (border.index_select(0, index) for border in (borders[axis][:-1], borders[axis][1:]))
            # Not quite to the block's borders, which float32 could round across.
            margin = min(size * 2.0**-23 / (size // many), 0.5)
            coords[:, axis] = low.lerp_(high, offsets[axis].float().clamp(margin, 1 - margin))
        return coords.clamp_(max=1.0 - 2.0**-24)

    def find(self, coords: Coords) -> Cells:
        """The blocks (N,) of coordinates (N, D)."""
        flat = torch.zeros(len(coords), dtype=torch.int64, device=coords.device)
        for axis, (size, many) in enumerate(zip(self.fine, self.grid.shape, strict=True)):
            index = (coords[:, axis] * size).long().clamp_(0, size - 1)
            flat = flat * many + block_of(index, size, many)
        return flat

    def _starts(self) -> list[Tensor]:
        """The first cell of every block along each axis, and after the last one the axis' size."""
        axes = zip(self.fine, self.grid.shape, strict=True)
        return [block_start(torch.arange(many + 1), size, many) for size, many in axes]
