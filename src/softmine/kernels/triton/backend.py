"""The GPU backend: launches the Triton kernels; never waits for the device, so a step fits into a CUDA graph."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from softmine.errors import SoftmineError
from softmine.kernels.grid import Grid
from softmine.kernels.touched_rows import GROWTH, AdamRule, Records
from softmine.kernels.triton.launch import aligned, launch

BLOCK = 128


def encode(coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Features (N, L * F), float32."""
    from softmine.kernels.triton import kernels

    points, dim = coords.shape
    levels, width = len(grid.offsets), table.shape[1]
    features = coords.new_empty(points, levels * width)
    if points:
        launch(
            kernels.encode, (_blocks(points), levels),
            aligned(coords), table.contiguous(), grid.resolutions, grid.offsets, features,
            points, levels, grid.table_size, grid.dense_levels, DIM=dim, WIDTH=width, BLOCK=BLOCK,
        )  # fmt: skip
    return features


def gradient_of_coords(grad: Tensor, coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Gradient (N, D) of the coordinates from that of the features (N, L * F)."""
    from softmine.kernels.triton import kernels

    points, dim = coords.shape
    levels, width = len(grid.offsets), table.shape[1]
    result = torch.empty_like(coords, memory_format=torch.contiguous_format)
    if points:
        launch(
            kernels.gradient_of_coords, (_blocks(points),),
            grad.contiguous(), aligned(coords), table.contiguous(), grid.resolutions, grid.offsets, result,
            points, levels, grid.table_size, grid.dense_levels,
            DIM=dim, AXES=1 << (dim - 1).bit_length(), WIDTH=width, BLOCK=BLOCK,
        )  # fmt: skip
    return result


def gradient_of_table(grad: Tensor, coords: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Gradient (R, F) of the table from that of the features (N, L * F), summed in float32."""
    sums = torch.zeros(table.shape, dtype=torch.float32, device=table.device)
    _scatter(grad, coords, grid, sums, table.shape[1])
    return sums.to(table.dtype)


class Rows(Records):
    """Adam's state of a table (R, F), and the gradient of the rows that were touched, on a GPU.

    Records are float32; the mark that a row is touched is an integer's bits. That of a float16 table has the row itself
    in float32 too.
    """

    counts_on_device = True

    def __init__(self, table: Tensor) -> None:
        width, self.half = table.shape[1], table.dtype == torch.float16
        if len(table) >= 1 << 31 or width & (width - 1):
            raise SoftmineError(
                f"on a GPU, RowAdam takes tables of up to 2^31 rows and 1, 2, 4, 8, ... features, "
                f"not {len(table)} x {width}"
            )
        stride = 1 << ((4 if self.half else 3) * width + 1).bit_length()
        super().__init__(width, torch.zeros(len(table), stride, device=table.device))
        self.flags = self.records.view(torch.int32)
        self._lists: list[Tensor] = []
        self._spare: list[Tensor] = []
        self._marked = False

    def state(self) -> dict[str, Tensor]:
        """As of all records; ``master`` (R, F) is a float16 table's rows in float32."""
        width = self.features
        master = {"master": self.records[:, 3 * width + 2 : 4 * width + 2]} if self.half else {}
        return super().state() | master

    @property
    def pending(self) -> bool:
        """Whether there is a gradient that no step has used."""
        return bool(self._lists) or self._marked

    def clear(self) -> None:
        """Forgets the gradient."""
        if self.pending:
            self._update(None, 0.0, AdamRule((0.0, 0.0), 0.0, 0))

    def add(self, grad: Tensor, coords: Tensor, grid: Grid) -> None:
        """Adds the gradient of the table that follows from that of the features (N, L * F)."""
        entries = (len(coords) << coords.shape[1]) * len(grid.offsets)
        if not entries:
            return
        touched = None
        if entries < len(self.records):
            touched = self._list(entries)
        else:
            self._marked = True
        _scatter(grad, coords, grid, self.records, self.features, 2 * self.features, self.flags, touched)

    def update(
        self, table: Tensor, rate: float | Tensor, rule: AdamRule, dense: Tensor | None = None
    ) -> None:
        """One step of Adam on the touched rows of the table (R, F), in place; forgets the gradient.

        ``dense`` is an ordinary gradient (R, F) to be added; where it is zero it touches no row. Where a gradient is pending,
        ``time`` counts this step already. A recorded graph sees the
        steps and the rate change, where that is a tensor () on the device.
        """
        if dense is not None:
            width = self.features
            touched = (dense != 0).any(1)
            self.records[:, 2 * width : 3 * width] += dense
            self.flags[:, 3 * width + 1] |= touched
            if not self.pending:
                self.time += touched.any()
            self._marked = True
        if self.pending:
            self._update(table, rate, rule)

    def _update(self, table: Tensor | None, rate: float | Tensor, rule: AdamRule) -> None:
        """A step on the rows listed, one after the other where few are, on all that are marked where many are."""
        lists = [self.records] if self._marked else self._lists
        for touched in lists:
            self._update_some(touched, table, rate, rule)
        self._spare, self._lists, self._marked = [] if self._recording else self._lists, [], False

    def _update_some(
        self, touched: Tensor, table: Tensor | None, rate: float | Tensor, rule: AdamRule
    ) -> None:
        from softmine.kernels.triton import kernels

        rate, factor = rate_of(rate, rule.factor, self.records)
        listed = touched is not self.records
        launch(
            kernels.update_rows, (_blocks(len(touched)),),
            self.records if table is None else table, self.records, self.flags, touched if listed else self.flags,
            len(touched), self.time, rate, factor, *map(float, rule.betas), float(rule.epsilon), rule.memory or 0,
            float(GROWTH), rule.momentum_rows,
            ADAM=table is not None, LISTED=listed, HALF=self.half, WIDTH=self.features,
            STRIDE=self.records.shape[1], BLOCK=BLOCK,
        )  # fmt: skip

    @property
    def _recording(self) -> bool:
        return self.records.is_cuda and torch.cuda.is_current_stream_capturing()

    def _list(self, length: int) -> Tensor:
        """Room for rows; what the last step used is used again, but by a recorded step, whose room is its own."""
        for index, spare in enumerate(self._spare):
            if len(spare) == length and not self._recording:
                self._lists.append(self._spare.pop(index))
                break
        else:
            self._lists.append(torch.empty(length, dtype=torch.int32, device=self.records.device))
        return self._lists[-1]


def _scatter(
    grad: Tensor,
    coords: Tensor,
    grid: Grid,
    sums: Tensor,
    width: int,
    first: int = 0,
    flags: Tensor | None = None,
    touched: Tensor | None = None,
) -> None:
    """Adds the table's gradient, F wide, to ``sums`` (R, W) from column ``first``; marks and lists the rows, if asked."""
    from softmine.kernels.triton import kernels

    resolutions, offsets, table_size, dense_levels = grid
    points, dim = coords.shape
    if points:
        launch(
            kernels.scatter, (_blocks(points), len(offsets)),
            aligned(grad), aligned(coords), resolutions, offsets, sums,
            sums if flags is None else flags, sums if touched is None else touched,
            points, len(offsets), table_size, dense_levels,
            MARK=flags is not None, LIST=touched is not None, STRIDE=sums.shape[1], FIRST=first,
            DIM=dim, WIDTH=width, BLOCK=BLOCK,
        )  # fmt: skip


def rate_of(rate: float | Tensor, factor: float, like: Tensor) -> tuple[Tensor, float]:
    """A rate as kernels take it, without a launch: a float32 tensor () and a number, whose product it is."""
    if isinstance(rate, Tensor):
        return rate.to(like.device, torch.float32), float(factor)
    return _one(like.device), float(rate * factor)


@functools.cache
def _one(device: torch.device) -> Tensor:
    """Kept for good: a recorded step goes on using it."""
    return torch.ones((), device=device)


def _blocks(items: int) -> int:
    return -(-items // BLOCK)
