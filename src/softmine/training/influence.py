"""How far a gradient step on the whole signal would move a field in each cell: the neural tangent kernel at work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from softmine.baselines.full_pass import over_cells, valid_centres
from softmine.domain import Box, Coords, PerSample, Values

CHUNK = 2**14
"""Cells whose activations are kept at a time."""
RELATIVE_STEP = 1e-4
"""Length of the step to either side in units of the parameters' own, where rounding and curvature both matter little."""


def influence(field: nn.Module, signal: Callable[[Coords], Values], domain: Box) -> PerSample:
    """``|K r|`` at the centre of every valid cell, (valid,), with r = field - signal and ``K = J J^T``.

    ``v = J^T r`` is a backward pass over all of them, chunk by chunk. ``J v`` is the difference of the field to either
    side along v, because an encoding in compiled loops has no forward derivative; it is off by less than a hundredth.

    All of it happens on copies: neither the parameters' ``grad`` nor what an optimizer keeps is touched.

    Args:
        field: coordinates (N, D) to values (N, C).
        signal: what it learns.
        domain: whose cells to visit.

    Source: NINT (arXiv 2511.15487), which has an exact forward derivative and squares the norm.
    """
    # A copied table belongs to no optimizer, so that its gradient is found where autograd leaves it.
    along = copy.deepcopy(field)
    along.zero_grad(set_to_none=True)
    parameters = [parameter for parameter in along.parameters() if parameter.requires_grad]
    device = next(along.parameters()).device
    with torch.enable_grad():
        for start in range(0, domain.valid, CHUNK):
            numbers = torch.arange(start, min(start + CHUNK, domain.valid), device=device)
            coords = valid_centres(domain, numbers)
            values = along(coords)
            residual = values.detach() - signal(coords).detach()
            (values * residual).sum().backward()
    directions = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters
    ]
    step = RELATIVE_STEP * _length(parameters) / _length(directions).clamp_min(1e-30)
    behind = copy.deepcopy(along)
    with torch.no_grad():
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.add_(step * direction)
        others = (parameter for parameter in behind.parameters() if parameter.requires_grad)
        for parameter, direction in zip(others, directions, strict=True):
            parameter.sub_(step * direction)
    return over_cells(
        domain, lambda coords: (along(coords) - behind(coords)).norm(dim=-1) / (2 * step), device
    )


def _length(tensors: Sequence[Tensor]) -> Tensor:
    """Length of all of them as one vector, a scalar tensor."""
    return torch.stack([tensor.detach().norm() for tensor in tensors]).norm()
