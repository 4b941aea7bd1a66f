"""What a sampler may know of the field without training it: its error, and how far a step would move it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from softmine.baselines.full_pass import over_cells, valid_centers
from softmine.domain import Box, Coords, PerSample, Values
from softmine.signals import Signal
from softmine.training.evaluation import at_rest

CHUNK = 2**14
"""Cells whose activations are kept at a time."""
RELATIVE_STEP = 1e-4
"""Length of the step to either side in units of the parameters' own, where rounding and curvature both matter little."""


class FieldProbe:
    """What ``sampler.draw(probe)`` looks at: the field's error, residual or influence at coordinates (N, D), no gradient.

    Args:
        field: coordinates (N, D) to values (N, C).
        signal: what it learns.
        snap: the domain to whose cell centers coordinates are moved, or None.

    Example:
        >>> image = softmine.Image(torch.rand(8, 8, 3))
        >>> probe = FieldProbe(softmine.Siren(2, 3), image)
        >>> sampler = softmine.baselines.EVOS(image.domain, batch_size=16, seed=0)
        >>> sampler.draw(probe).coords.shape
        torch.Size([16, 2])
    """

    def __init__(self, field: nn.Module, signal: Signal, snap: Box | None = None) -> None:
        self.field, self.signal, self.snap = field, signal, snap

    @torch.no_grad()
    def __call__(self, coords: Coords) -> PerSample:
        """Mean absolute error over the channels, (N,)."""
        return self.residual(coords).abs().mean(-1)

    @torch.no_grad()
    def residual(self, coords: Coords) -> Values:
        """Field minus signal, (N, C); the field as it is in evaluation mode, so that its random numbers stay untouched."""
        coords = self._at(coords)
        with at_rest(self.field):
            return self.field(coords) - self.signal(coords)

    def influence(self, domain: Box) -> PerSample:
        """How far a gradient step on all cells would move the field in each valid one, (valid,)."""
        return influence(self.field, self.signal, domain)

    def _at(self, coords: Coords) -> Tensor:
        return coords if self.snap is None else self.snap.snap(coords)


def influence(field: nn.Module, signal: Callable[[Coords], Values], domain: Box) -> PerSample:
    """``|K r|`` at the center of every valid cell, (valid,), with r = field - signal and ``K = J J^T``.

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
            coords = valid_centers(domain, numbers)
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
