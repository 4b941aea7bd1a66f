"""The optimizers of a field, and what of them changes as it learns."""

from __future__ import annotations

import torch
from torch import nn

from softmine.fields import HashGrid
from softmine.kernels import RowAdam

# beta2 and eps as in arXiv 2201.05989, section 4. beta1 is that of fields without tables; see ``set_rates``.
BETAS = (0.9, 0.99)
EPS = 1e-15
# A row of a fine level is touched once in many steps, and momentum from so long ago points nowhere. Without it, at twice
# the rate, uniform sampling ended 0 to 0.6 dB higher and soft mining 0.2 to 0.4 (Pluto after 1,500 steps, a Kodak photo
# after 2,000, one seed each).
TABLE_RATE = 2.0
VISITS = 2.0
"""Samples of a uniform batch in the cells around a vertex, on average, from which on its level counts as coarse."""
# Coarse levels and perceptron are touched at every step. Without momentum they come to swing together, by decibels: Adam is
# stable up to a curvature that grows as (1 + beta1) / (1 - beta1) (Cohen et al., arXiv 2207.14484). With momentum that
# remembers more steps than there have been, beginnings are slow (docs/evidence.md, research log, 36 to 40).
GROWTH = 5
"""Steps for each step of memory."""
MEMORY = 100
"""Steps that first moments remember at most."""


def make_optimizers(field: nn.Module, learning_rate: float, batch_size: int) -> list[torch.optim.Optimizer]:
    """Row-wise Adam for the tables of hash grids, with momentum for their coarse levels, and Adam for all other parameters.

    A batch touches a sliver of a table, so that Adam over the whole of it would be most of a step's cost. Every
    parameter group holds its ``initial_lr``, which schedules multiply, and, where its momentum grows with the run, the
    steps that its first moment remembers at most, ``memory``. Call ``set_rates`` before every step.

    Args:
        field: whose parameters to train.
        learning_rate: Adam's, at the start.
        batch_size: samples a step; decides which levels are coarse. Of a radiance field these are rays, each of several
            points: few of its levels count as coarse, and at 1,024 rays none.
    """
    grids = [module for module in field.modules() if isinstance(module, HashGrid)]
    found = {id(grid.table) for grid in grids}
    others = [parameter for parameter in field.parameters() if id(parameter) not in found]
    optimizers: list[torch.optim.Optimizer] = []
    if grids:
        groups = [
            {"params": [grid.table], "momentum_rows": grid.coarse_rows(batch_size, VISITS), "memory": MEMORY}
            for grid in grids
        ]
        optimizers.append(RowAdam(groups, lr=TABLE_RATE * learning_rate, betas=BETAS, eps=EPS))
    if others:
        group = {"params": others, "memory": MEMORY} if grids else {"params": others}
        optimizers.append(torch.optim.Adam([group], lr=learning_rate, betas=BETAS, eps=EPS, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    set_rates(optimizers, 0, 1.0)
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], step: int, decay: float) -> None:
    """Learning rates and momentum of the next step.

    First moments remember a fifth of the steps so far, in whole steps from one, which is no momentum, up to the ``memory`` of
    their group. As they start without, bias corrections stay right to 1% while it grows.

    Args:
        optimizers: of ``make_optimizers``.
        step: how many there have been.
        decay: multiplies the learning rates.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * decay
            if "memory" in group:
                memory = min(max(step // GROWTH, 1), group["memory"])
                group["betas"] = (1.0 - 1.0 / memory, group["betas"][1])
