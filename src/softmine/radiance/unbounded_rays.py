"""Rays without bounds: one proposal density says where points are worth the field's time (arXiv 2111.12077)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from softmine.radiance.compositing import Rendered, composite
from softmine.radiance.losses import distortion_loss, proposal_loss
from softmine.radiance.proposal import ProposalDensity, Spacing, equal_edges, resample
from softmine.sampling.random import RandomStream

if TYPE_CHECKING:
    from softmine.radiance.field import RadianceField

PROPOSED = 32
"""Intervals of a ray that the proposal is asked about,"""
KEPT = 16
"""and the field."""
ENDLESS = 1e10
"""Width of the last interval of an opaque field's rays, where the light that is left ends (as in NeRF)."""
DISTORTION = 0.002
"""What the distortion loss counts (nerfacto's; the paper's 0.01 goes with longer training)."""


class UnboundedRays(nn.Module):
    """Chooses points by a proposal, and renders them.

    Args:
        near: nearest distance, in the world's units; for ``inverse=False`` in lengths of the directions.
        far: farthest.
        inverse: space is drawn into a ball, and far distances together.
        seed: of the points' shifts in training.
    """

    def __init__(self, near: float, far: float, *, inverse: bool, seed: int | None = None) -> None:
        super().__init__()
        self.proposal = ProposalDensity()
        self.spacing = Spacing(near, far, inverse=inverse)
        self.inverse = inverse
        self.random = RandomStream(seed)
        self.costs = torch.zeros(0, dtype=torch.int64)
        self._loss: Tensor | None = None

    def forward(
        self, field: RadianceField, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> Rendered:
        """See ``RadianceField.forward``."""
        total = len(origins)
        first = second = None
        if self.training:
            first, second = self.random.uniform(total, 2, origins.dtype).split(1, -1)
        # Distances along unit directions, for contraction; along the given ones where t runs to infinity at 1.
        along = functional.normalize(directions, dim=-1)
        lengths = directions.detach().norm(dim=-1, keepdim=True)
        unit = along if self.inverse else directions
        with torch.no_grad():
            fixed = origins.detach(), unit.detach()
            scale = (torch.ones_like(lengths) if self.inverse else lengths) / field.side
        edges = equal_edges(total, PROPOSED, first, origins)
        middles, widths, starts = self._intervals(edges, scale, field.opaque)
        density = self.proposal(self._points(field, *fixed, middles))
        nothing = origins.new_zeros(len(density), 0)
        proposed = composite(density, nothing, widths, density.detach(), starts).weights.view(total, PROPOSED)
        finer = resample(edges, proposed, KEPT, jitter=second)
        middles, widths, starts = self._intervals(finer, scale, field.opaque)
        density, geometry = field.geometry(self._points(field, origins, unit, middles))
        rays = torch.arange(total, device=origins.device).repeat_interleave(KEPT)
        colors = field.colors(geometry, along, rays)
        depths = middles / lengths if self.inverse else middles
        rendered = composite(density, colors, widths, depths.reshape(-1), starts)
        if torch.is_grad_enabled():
            self.costs = torch.full_like(starts[1:], KEPT)
            weights = rendered.weights.view(total, KEPT)
            self._loss = (
                proposal_loss(weights, finer, proposed, edges).mean()
                + DISTORTION * distortion_loss(weights, finer).mean()
            )
        return rendered

    def regularization(self) -> Tensor | None:
        """The proposal's loss and the distortion loss of the last forward with gradient; mean over its rays."""
        return self._loss

    def after_step(self, field: RadianceField, step: int) -> None:
        """Lets the last forward's graph go."""
        self._loss = None

    def _intervals(self, edges: Tensor, scale: Tensor, opaque: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Middles (N, S), widths in sides of the cube (N * S,), and starts (N + 1,) of intervals with edges (N, S + 1)."""
        distances = self.spacing.distances(edges)
        middles = (distances[:, 1:] + distances[:, :-1]) / 2
        starts = torch.arange(len(edges) + 1, device=edges.device) * middles.shape[1]
        widths = distances.diff(dim=-1) * scale
        if opaque:
            widths = torch.cat([widths[:, :-1], torch.full_like(widths[:, :1], ENDLESS)], -1)
        return middles, widths.reshape(-1), starts

    def _points(
        self, field: RadianceField, origins: Tensor, directions: Tensor, distances: Tensor
    ) -> Float[Tensor, "p 3"]:
        points = origins[:, None] + distances[..., None] * directions[:, None]
        return field.to_unit(points.view(-1, 3))
