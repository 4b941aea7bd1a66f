"""Compiling before the clock starts."""

from __future__ import annotations

import torch

from softmine.kernels.encoding import hash_encode
from softmine.kernels.grid import Grid
from softmine.kernels.mlp import fits_fused_mlp, fused_mlp
from softmine.kernels.touched_rows import AdamRule, RowGradient, rows_for


def warm_up(
    dim: int, features: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> None:
    """Compiles, or loads from disk, all that training a hash grid on ``device`` will call.

    Otherwise the first step does: seconds once on a machine, and a tenth of that in each later process.

    Args:
        dim: axes of the coordinates, 1 to 4.
        features: features a row.
        device: of the table.
        dtype: of the table.
    """
    table_size = 1 << dim
    resolutions = torch.ones(2, dim, dtype=torch.int64, device=device)
    grid = Grid(resolutions, torch.tensor([0, table_size], device=device), table_size, dense_levels=1)
    table = torch.zeros(2 * table_size, features, dtype=dtype, device=device, requires_grad=True)
    kind = torch.float32 if dtype == torch.float16 else dtype
    coords = torch.full((2, dim), 0.5, dtype=kind, device=device, requires_grad=True)
    rows = rows_for(table)
    for held in (False, True) if rows.fused else (False,):
        table.row_gradient = RowGradient(rows) if held else None  # pyright: ignore[reportAttributeAccessIssue]
        hash_encode(coords, table, grid).sum().backward()
    with torch.no_grad():
        rows.update(table, 0.0, AdamRule((0.9, 0.99), 1e-15, len(table)))
    inputs = torch.zeros(1, 1, dtype=kind, device=device, requires_grad=True)
    layers = [torch.zeros(1, 1, dtype=kind, device=device), torch.zeros(1, dtype=kind, device=device)]
    if fits_fused_mlp(inputs, layers):
        fused_mlp(inputs, layers).sum().backward()
