"""What softmine's Triton kernels do, in plain torch: for a fake GPU, on which Triton's interpreter would take too long.

Arguments have the names that the kernels give them. That a kernel does the same is tested in ``kernels/test_triton.py`` and
``test_fused_step.py``.
"""

from __future__ import annotations

import torch

from gpu import fused_twins
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
    grad, coords, resolutions, offsets, sums, flags, touched, points, levels, table_size, dense_levels,
    MARK, LIST, STRIDE, FIRST, WIDTH, **_,
):  # fmt: skip
    rows, weights = _rows_and_weights(coords, Grid(resolutions, offsets, table_size, dense_levels))
    slope = grad.reshape(points, levels, 1, WIDTH) * weights.unsqueeze(-1)
    sums.view(-1, STRIDE)[:, FIRST : FIRST + WIDTH].index_add_(0, rows.flatten(), slope.reshape(-1, WIDTH))
    if MARK:
        flags.view(-1, STRIDE)[rows.flatten(), FIRST + WIDTH + 1] = 1
    if LIST:
        touched.copy_(rows.permute(1, 2, 0).reshape(-1))


def nothing():
    pass


def update_rows(
    table, records, flags, touched, count, time, rate, factor, beta1, beta2, epsilon, memory, growth, momentum_rows,
    ADAM, LISTED, HALF, WIDTH, **_,
):  # fmt: skip
    rows = touched[:count].long().unique() if LISTED else torch.arange(count)
    rows = rows[flags[rows, 3 * WIDTH + 1] == 1]
    flags[rows, 3 * WIDTH + 1] = 0
    if ADAM:
        now = time.double()
        gap = ((time - records[rows, 3 * WIDTH].long()) % STAMPS).double().unsqueeze(1)
        records[rows, 3 * WIDTH] = (time % STAMPS).float()
        first = _first_beta(beta1, now - 1, memory, growth)
        ratio = first / beta2**0.5 if beta2 else 1.0
        drift = (1 - ratio**gap) / (1 - ratio) if ratio < 1 else 1.0
        momentum = (rows < momentum_rows).unsqueeze(1)
        size = rate * factor * torch.where(momentum, drift / (1 - first**now), 1.0)
        gradient = records[rows, 2 * WIDTH : 3 * WIDTH]
        mean = torch.where(momentum, first**gap * records[rows, :WIDTH] + (1 - first) * gradient, gradient)
        square = beta2**gap * records[rows, WIDTH : 2 * WIDTH] + (1 - beta2) * gradient**2
        records[rows, :WIDTH] = torch.where(momentum, mean, records[rows, :WIDTH]).float()
        records[rows, WIDTH : 2 * WIDTH] = square.float()
        change = (size * mean / ((square / (1 - beta2**now)).sqrt() + epsilon)).float()
        if HALF:
            place = slice(3 * WIDTH + 2, 4 * WIDTH + 2)
            master = records[rows, place]
            master = torch.where(master.half() == table[rows], master, table[rows].float()) - change
            records[rows, place] = master
            table[rows] = master.half()
        else:
            table[rows] -= change
    records[rows, 2 * WIDTH : 3 * WIDTH] = 0


def adam(rate, factor, beta1, beta2, epsilon, memory, growth, CLEAR, **given):
    for index in range(8):
        if not given[f"n{index}"]:
            continue
        parameter, gradient, mean, square, step = (given[f"{name}{index}"] for name in "pgmst")
        first = _first_beta(beta1, step - 1, memory, growth)
        mean.copy_(first * mean + (1 - first) * gradient)
        square.copy_(beta2 * square + (1 - beta2) * gradient * gradient)
        size = rate * factor / (1 - first**step)
        parameter.sub_(size * mean / ((square / (1 - beta2**step)).sqrt() + epsilon))
        if CLEAR:
            gradient.zero_()


def _first_beta(beta1, steps, memory, growth):
    return 1 - 1 / (steps / growth).floor().clamp(1, memory) if memory else beta1


def _rows_and_weights(coords, grid):
    """Rows (N, L, C) and weights of the corners of each point's cells."""
    corners = reference._corners(coords.shape[1], coords.device)
    position = coords.clamp(0.0, 1.0).unsqueeze(1) * grid.resolutions
    cell = torch.minimum(position.nan_to_num(0.0).long(), grid.resolutions - 1)
    fraction = (position - cell).unsqueeze(2)
    weights = torch.where(corners == 1, fraction, 1 - fraction).prod(-1)
    return reference.rows_of(cell.unsqueeze(2) + corners, grid), weights


REFERENCES = {
    function.__name__: function
    for function in (nothing, encode, gradient_of_coords, scatter, update_rows, adam)
} | fused_twins.TWINS
"""By the name of the kernel."""
RADIANCE = {name: getattr(gpu_twins, name) for name in gpu_twins.KERNELS}
"""Those of a radiance field, which the library has itself."""
