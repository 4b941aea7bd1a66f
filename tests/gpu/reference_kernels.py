"""What softmine's Triton kernels do, in plain torch: for a fake GPU, on which Triton's interpreter would take too long.

Arguments have the names that the kernels give them. That a kernel does the same is tested in ``kernels/test_triton.py``.
"""

from __future__ import annotations

import torch

from softmine.kernels import reference
from softmine.kernels.grid import Grid
from softmine.kernels.touched_rows import STAMPS
from softmine.radiance import gpu_twins


def encode(coords, table, resolutions, offsets, out, table_size, dense_levels, **_):
    grid = Grid(resolutions, offsets, table_size, dense_levels)
    out.copy_(reference.encode(coords, table, grid))


def gradient_of_coords(grad, coords, table, resolutions, offsets, out, table_size, dense_levels, **_):
    grid = Grid(resolutions, offsets, table_size, dense_levels)
    with torch.enable_grad():
        free = coords.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(reference.encode(free, table.detach(), grid), free, grad)
    out.copy_(found)


def scatter(
    grad, coords, resolutions, offsets, sums, flags, touched, points, levels, table_size, dense_levels, stride,
    first, flag, TOUCH, WIDTH, **_,
):  # fmt: skip
    rows, weights = _rows_and_weights(coords, Grid(resolutions, offsets, table_size, dense_levels))
    slope = grad.reshape(points, levels, 1, WIDTH) * weights.unsqueeze(-1)
    sums.view(-1, stride)[:, first : first + WIDTH].index_add_(0, rows.flatten(), slope.reshape(-1, WIDTH))
    if TOUCH:
        flags.view(-1, stride)[rows.flatten(), flag] = 1
        touched.copy_(rows.permute(1, 2, 0).reshape(-1))


def nothing():
    pass


def update_rows(
    table, records, flags, touched, count, time, rate, decays, longest, beta1, beta2, epsilon, momentum_rows,
    ADAM, HALF, WIDTH, **_,
):  # fmt: skip
    rows = touched[:count].long().unique()
    rows = rows[flags[rows, 3 * WIDTH + 1] == 1]
    flags[rows, 3 * WIDTH + 1] = 0
    if ADAM:
        gap = ((time - records[rows, 3 * WIDTH].long()) % STAMPS).clamp(max=longest)
        records[rows, 3 * WIDTH] = (time % STAMPS).float()
        age = time.clamp(max=longest)
        momentum = (rows < momentum_rows).unsqueeze(1)
        size = rate * torch.where(momentum, (decays[0][age] * decays[4][gap]).unsqueeze(1), 1.0)
        gradient = records[rows, 2 * WIDTH : 3 * WIDTH]
        mean = decays[2][gap].unsqueeze(1) * records[rows, :WIDTH] + (1 - beta1) * gradient
        mean = torch.where(momentum, mean, gradient)
        square = decays[3][gap].unsqueeze(1) * records[rows, WIDTH : 2 * WIDTH] + (1 - beta2) * gradient**2
        records[rows, :WIDTH] = torch.where(momentum, mean, records[rows, :WIDTH])
        records[rows, WIDTH : 2 * WIDTH] = square
        change = size * mean / (square.sqrt() * decays[1][age] + epsilon)
        if HALF:
            place = slice(3 * WIDTH + 2, 4 * WIDTH + 2)
            master = records[rows, place]
            master = torch.where(master.half() == table[rows], master, table[rows].float()) - change
            records[rows, place] = master
            table[rows] = master.half()
        else:
            table[rows] -= change
    records[rows, 2 * WIDTH : 3 * WIDTH] = 0


def _rows_and_weights(coords, grid):
    """Rows (N, L, C) and weights of the corners of each point's cells."""
    corners = reference._corners(coords.shape[1], coords.device)
    position = coords.clamp(0.0, 1.0).unsqueeze(1) * grid.resolutions
    cell = torch.minimum(position.nan_to_num(0.0).long(), grid.resolutions - 1)
    fraction = (position - cell).unsqueeze(2)
    weights = torch.where(corners == 1, fraction, 1 - fraction).prod(-1)
    return reference.rows_of(cell.unsqueeze(2) + corners, grid), weights


REFERENCES = {
    function.__name__: function for function in (nothing, encode, gradient_of_coords, scatter, update_rows)
}
"""By the name of the kernel."""
RADIANCE = {name: getattr(gpu_twins, name) for name in gpu_twins.KERNELS}
"""Those of a radiance field, which the library has itself."""
