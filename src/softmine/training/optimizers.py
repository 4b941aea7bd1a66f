"""The optimizers of a field."""

from __future__ import annotations

import torch
from torch import nn

from softmine.fields import HashGrid, HashGridField
from softmine.kernels import RowAdam

# eps as in arXiv 2201.05989, section 4.
BETAS = (0.9, 0.99)
EPS = 1e-15
# A row of a fine level is touched once in many steps, and momentum from so long ago points nowhere. Without it, at twice
# the rate, uniform sampling ended 0 to 0.6 dB higher and soft mining 0.2 to 0.4 (Pluto after 1,500 steps, a Kodak photo
# after 2,000, one seed each).
TABLE_RATE = 2.0
# Coarse levels of a volume are touched at every step, and where samples lie at the centres of its cells their gradients are so
# steady that without momentum they swing together: Adam is stable up to a curvature that grows as
# (1 + beta1) / (1 - beta1) (Cohen et al., arXiv 2207.14484). With it, dips of 5 to 8 dB go, and runs end 0.5 to 1.3 dB higher.
# Pictures end the same and begin slower; with uniform sampling shapes, whose samples lie anywhere, end lower
# (docs/evidence.md, research log, 36).
MOMENTUM_AXES = 3
VISITS = 2.0
"""Samples of a uniform batch in the cells around a vertex, on average, from which on its level counts as coarse."""
# The perceptron reads every level at once, and at the full rate PSNR dips now and then. With auto at a batch of 8,192, one
# seed: 400 steps of a Kodak photo, worst dip 1.8 dB, at half the rate none, the end 0.5 dB lower; 1,000 steps of another,
# worst dips 6.4 and 4.3 dB, the end the same.
NETWORK_RATE = 0.5


def make_optimizers(field: nn.Module, learning_rate: float, centred: int = 0) -> list[torch.optim.Optimizer]:
    """Row-wise Adam for the tables of hash grids, Adam for all other parameters.

    A batch touches a sliver of a table, so that Adam over the whole of it would be most of a step's cost. Every
    parameter group holds its ``initial_lr``, which schedules multiply.

    Args:
        field: whose parameters to train.
        learning_rate: Adam's, at the start.
        centred: samples a step, where they lie at the centres of cells: decides which levels of a ``HashGridField`` have
            momentum. 0: none has. Neither have the grids of a radiance field, which is asked between samples.
    """
    grids = [module for module in field.modules() if isinstance(module, HashGrid)]
    found = {id(grid.table) for grid in grids}
    asked = [module.encoding for module in field.modules() if isinstance(module, HashGridField)]
    others = [parameter for parameter in field.parameters() if id(parameter) not in found]
    optimizers: list[torch.optim.Optimizer] = []
    if grids:
        rows = [_momentum_rows(grid, centred) if grid in asked else 0 for grid in grids]
        groups = [
            {"params": [grid.table], "momentum_rows": count} for grid, count in zip(grids, rows, strict=True)
        ]
        optimizers.append(RowAdam(groups, lr=TABLE_RATE * learning_rate, betas=BETAS, eps=EPS))
    if others:
        rate = NETWORK_RATE if grids else 1.0
        optimizers.append(torch.optim.Adam(others, lr=rate * learning_rate, betas=BETAS, eps=EPS, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _momentum_rows(grid: HashGrid, centred: int) -> int:
    return grid.coarse_rows(centred, VISITS) if grid.dim >= MOMENTUM_AXES else 0
