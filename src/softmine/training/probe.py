"""What a sampler may ask of the field without training it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Box, Coords, PerSample, Values
from softmine.signals import Signal
from softmine.training.evaluation import at_rest
from softmine.training.influence import influence


class FieldProbe:
    """Answers ``sampler.draw(probe)``: the field's error, residual or influence at coordinates (N, D), no gradient.

    Args:
        field: coordinates (N, D) to values (N, C).
        signal: what it learns.
        snap: the domain to whose cell centres coordinates are moved, or None.

    Example:
        >>> probe = FieldProbe(field, image)
        >>> coords = sampler.draw(probe)
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
        """How far a gradient step on all cells would move the field in each valid one, (valid,); see ``training/influence.py``."""
        return influence(self.field, self.signal, domain)

    def _at(self, coords: Coords) -> Tensor:
        return coords if self.snap is None else self.snap.snap(coords)
