"""Random Fourier features (Tancik et al., NeurIPS 2020, arXiv 2006.10739)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from softmine.domain import Coords, Values
from softmine.fields.mlp import mlp


class FourierField(nn.Module):
    """Sines and cosines of random projections, then an MLP: coordinates (N, D) in, values (N, C) out.

    Args:
        dim: axes of the coordinates.
        channels: values a coordinate, C.
        frequencies: number of random projections.
        bandwidth: standard deviation of the projections, in cycles over the domain; higher fits finer detail and
            generalizes worse between samples.
        hidden: width of the MLP's layers.
        layers: its number of hidden layers.
    """

    projection: Tensor

    def __init__(
        self,
        dim: int,
        channels: int,
        *,
        frequencies: int = 256,
        bandwidth: float = 10.0,
        hidden: int = 256,
        layers: int = 3,
    ) -> None:
        super().__init__()
        projection = torch.randn(dim, frequencies) * (bandwidth * 2 * math.pi)
        self.register_buffer("projection", projection)
        self.network = mlp(2 * frequencies, channels, hidden=hidden, layers=layers)

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at coordinates (N, D) in [0, 1]."""
        phase = coords @ self.projection
        return self.network(torch.cat((phase.sin(), phase.cos()), -1))
