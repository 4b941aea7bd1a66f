"""Sine-activated networks (Sitzmann et al., NeurIPS 2020, arXiv 2006.09661)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from softmine.domain import Coords, Values


class Siren(nn.Module):
    """An MLP with sine activations: coordinates (N, D) in, values (N, C) out.

    Inside, coordinates run over [-1, 1] and the last layer's output of -1 to 1 stands for values of 0 to 1, as in
    the paper; outside, both are [0, 1] like everywhere in this package.

    Args:
        dim: axes of the coordinates.
        channels: values a coordinate, C.
        hidden: width of the layers.
        layers: number of hidden layers after the first.
        first_omega: frequency factor of the first layer.
        omega: frequency factor of the other layers.
    """

    def __init__(
        self,
        dim: int,
        channels: int,
        *,
        hidden: int = 256,
        layers: int = 3,
        first_omega: float = 30.0,
        omega: float = 30.0,
    ) -> None:
        super().__init__()
        widths = [dim] + [hidden] * (layers + 1)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.last = nn.Linear(hidden, channels)
        self.omegas = [first_omega] + [omega] * layers
        bound = math.sqrt(6 / hidden) / omega
        with torch.no_grad():
            self.last.weight.uniform_(-bound, bound)
            for index, linear in enumerate(self.linears):
                spread = 1 / dim if index == 0 else bound
                nn.init.uniform_(linear.get_parameter("weight"), -spread, spread)

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at coordinates (N, D) in [0, 1]."""
        hidden = 2 * coords - 1
        for omega, linear in zip(self.omegas, self.linears, strict=True):
            hidden = torch.sin(omega * linear(hidden))
        return 0.5 * (self.last(hidden) + 1)
