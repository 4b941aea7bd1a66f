"""Rays without bounds: a small density proposes where points are worth the field's time, and they are drawn by its weights.

Intervals are kept in a normalized distance from 0 to 1, in which they begin with equal lengths. Two losses keep a ray's
points where the matter is (mip-NeRF 360, CVPR 2022, arXiv 2111.12077).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from softmine.checks import check_count
from softmine.fields import HashGrid
from softmine.fields.mlp import evaluate, mlp
from softmine.radiance import gpu
from softmine.radiance.activation import truncated_exponential
from softmine.radiance.compositing import Rendered, composite
from softmine.radiance.ray_types import PerRay
from softmine.sampling.random import RandomStream

if TYPE_CHECKING:
    from softmine.radiance.field import RadianceField

PROPOSED = 32
"""Intervals of a ray at which the proposal is evaluated,"""
KEPT = 16
"""and the field."""
ENDLESS = 1e10
"""Width of the last interval of an opaque field's rays, where the light that is left ends (as in NeRF)."""
DISTORTION = 0.002
"""What the distortion loss counts (nerfacto's; the paper's 0.01 goes with longer training)."""
EDGE_LEAST = 1e-2
"""Weight that every interval is given before points are drawn, so that none is never looked at."""


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
        if total and gpu.takes(origins):
            return self._forward_fixed(field, origins, directions)
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
        edges = equal_edges(PROPOSED, origins, first)
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

    def _forward_fixed(self, field: RadianceField, origins: Tensor, directions: Tensor) -> Rendered:
        """As ``forward``, in few kernels."""
        beyond = ENDLESS if field.opaque else None
        ends = float(self.spacing.first), float(self.spacing.last)
        stretch = gpu.Stretch(field.center, field.side, *ends, self.inverse, beyond, PROPOSED, KEPT)
        proposal = gpu.propose(origins, directions, stretch, self.random, training=self.training)
        logarithms = self.proposal.logarithm(proposal.points)
        points, proposed, finer = gpu.resample(logarithms, proposal, origins, directions, stretch, EDGE_LEAST)
        positions, along = points.points, None
        learning = torch.is_grad_enabled()
        if learning and (origins.requires_grad or directions.requires_grad):
            along = functional.normalize(directions, dim=-1)
            unit = along if self.inverse else directions
            positions = self._points(field, origins, unit, points.distances.view(-1, KEPT))
        rendered = field.render(points, positions, along)
        if learning:
            self.costs = points.counts
            self._loss = gpu.ray_losses(
                rendered.weights, logarithms, proposed, finer, proposal, directions, stretch, DISTORTION
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


class ProposalDensity(nn.Module):
    """A density that costs little: a hash grid of few levels and a narrow MLP; see ``HashGrid`` for the arguments."""

    def __init__(self, *, levels: int = 5, log2_table_size: int = 17, finest_resolution: int = 128) -> None:
        super().__init__()
        self.encoding = HashGrid(
            3, levels=levels, log2_table_size=log2_table_size, finest_resolution=finest_resolution
        )
        self.network = mlp(self.encoding.outputs, 1, hidden=16, layers=1)

    def forward(self, points: Float[Tensor, "n 3"]) -> PerRay:
        """Density (N,) at points (N, 3) of the unit cube."""
        return truncated_exponential(self.logarithm(points))

    def logarithm(self, points: Float[Tensor, "n 3"]) -> PerRay:
        """The density's logarithm (N,) at points (N, 3) of the unit cube."""
        return evaluate(self.network, self.encoding(points)).squeeze(1)


class Spacing:
    """The normalized distance of rays: s = 0 at the nearest distance, 1 at the farthest.

    Linear, or for rays that go far (``inverse``) linear in t up to t = 1 and in 1 / t beyond: as much of s for all that
    lies behind 1 as for what lies before it (as in nerfacto, whose cameras too stand in the unit ball).

    Args:
        near: nearest distance, at least 0.
        far: farthest, above it.
        inverse: whether far distances are drawn together.
    """

    def __init__(self, near: float, far: float, *, inverse: bool) -> None:
        self.inverse = inverse
        self.first, self.last = self._spread(near), self._spread(far)

    def distances(self, normalized: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
        """Distances along the rays, in their units."""
        spread = self.first + normalized * (self.last - self.first)
        if not self.inverse:
            return spread
        return torch.where(spread < 0.5, 2 * spread, 0.5 / (1 - spread.clamp(min=0.5)))

    def _spread(self, distance: float) -> float:
        if not self.inverse:
            return distance
        return distance / 2 if distance < 1 else 1 - 0.5 / distance


def equal_edges(
    intervals: int, like: Float[Tensor, "n _"], jitter: Float[Tensor, "n 1"] | None = None
) -> Float[Tensor, "n edges"]:
    """Edges (N, S + 1) of intervals of equal length over [0, 1], for N rays, of the kind and place of ``like``.

    With ``jitter`` in [0, 1), the inner edges of a ray move together by up to half an interval either way.
    """
    edges = torch.linspace(0, 1, intervals + 1, dtype=like.dtype).to(like.device).expand(len(like), -1)
    if jitter is None:
        return edges
    moved = edges[:, 1:-1] + (jitter - 0.5) / intervals
    return torch.cat([edges[:, :1], moved, edges[:, -1:]], -1)


def resample(
    edges: Float[Tensor, "n edges"],
    weights: Float[Tensor, "n s"],
    count: int,
    *,
    jitter: Float[Tensor, "n 1"] | None = None,
    least: float = EDGE_LEAST,
) -> Float[Tensor, "n new_edges"]:
    """Edges of ``count`` new intervals, of equal weight each: the inverse of the distribution, evenly spread.

    Within an interval the weight is spread evenly. With ``jitter`` uniform in [0, 1), an edge drawn at random is
    distributed as the weights are; without, the edges are those of the middle.

    Args:
        edges: ascending, (N, S + 1).
        weights: at least 0, (N, S); they get no gradient.
        count: new intervals, at least 1.
        jitter: one number a ray, (N, 1).
        least: added to every weight.

    Returns:
        Ascending edges (N, count + 1), between the first and last old edge.

    Raises:
        SoftmineError: ``count`` is below 1.
    """
    check_count("count", count)
    weights = weights.detach() + least
    cumulative = torch.cat([torch.zeros_like(weights[:, :1]), weights.cumsum(-1)], -1)
    cumulative = cumulative / cumulative[:, -1:].clamp(min=torch.finfo(weights.dtype).tiny)
    share = (torch.arange(count + 1, device=edges.device) + (0.5 if jitter is None else jitter)) / (count + 1)
    share = share.to(edges.dtype).expand(len(edges), -1).contiguous()
    above = torch.searchsorted(cumulative, share, right=True).clamp(1, weights.shape[1])
    low, high = cumulative.gather(-1, above - 1), cumulative.gather(-1, above)
    within = ((share - low) / (high - low).clamp(min=torch.finfo(edges.dtype).tiny)).clamp(0, 1)
    return torch.lerp(edges.gather(-1, above - 1), edges.gather(-1, above), within)


def distortion_loss(weights: Float[Tensor, "n s"], edges: Float[Tensor, "n edges"]) -> PerRay:
    """How far apart the weights of a ray lie: the mean distance between two of its points, drawn by weight.

    sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 d_i / 3, with m the middles and d the lengths of the intervals (equation 15).
    It draws a ray's matter together and puts out what floats before it.

    Args:
        weights: of the intervals, (N, S).
        edges: of the intervals, ascending, in the normalized distance from 0 to 1, (N, S + 1).

    Returns:
        Loss of each ray, (N,), differentiable in the weights.

    Example:
        >>> distortion_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([0.3333])
    """
    middles, lengths = (edges[:, 1:] + edges[:, :-1]) / 2, edges.diff(dim=-1)
    # The middles ascend, so that running sums stand for the double sum.
    before = weights.cumsum(-1) - weights
    moment = (weights * middles).cumsum(-1) - weights * middles
    apart = (weights * (middles * before - moment)).sum(-1)
    return 2 * apart + (weights.square() * lengths).sum(-1) / 3


def proposal_loss(
    weights: Float[Tensor, "n s"],
    edges: Float[Tensor, "n edges"],
    proposed: Float[Tensor, "n p"],
    proposed_edges: Float[Tensor, "n proposed_edges"],
) -> PerRay:
    """How much matter a proposal missed.

    An interval's weight should not be above the sum of the proposed weights of all intervals that it meets:
    sum_i max(0, w_i - bound_i)^2 / w_i (equation 13). Where the proposal promises more than there is, it costs nothing.

    Args:
        weights: of the field's intervals, (N, S); they get no gradient.
        edges: of those, ascending, (N, S + 1).
        proposed: weights of the proposal's intervals, (N, P).
        proposed_edges: of those, ascending, (N, P + 1), over the same stretch.

    Returns:
        Loss of each ray, (N,), differentiable in the proposed weights.
    """
    weights, edges, proposed_edges = weights.detach(), edges.contiguous(), proposed_edges.contiguous()
    total = torch.cat([torch.zeros_like(proposed[:, :1]), proposed.cumsum(-1)], -1)
    last = proposed.shape[1]
    first = torch.searchsorted(proposed_edges, edges[:, :-1].contiguous(), right=True) - 1
    behind = torch.searchsorted(proposed_edges, edges[:, 1:].contiguous())
    bound = total.gather(-1, behind.clamp(0, last)) - total.gather(-1, first.clamp(0, last))
    excess = (weights - bound).clamp(min=0)
    return (excess.square() / (weights + torch.finfo(weights.dtype).eps)).sum(-1)
