"""Where along a ray without bounds to look: a small density proposes, and points are drawn by its weights.

Intervals are kept in a normalized distance from 0 to 1, in which they begin with equal lengths.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmine.domain import SoftmineError
from softmine.fields import HashGrid
from softmine.fields.mlp import evaluate, mlp
from softmine.radiance.activation import truncated_exponential
from softmine.radiance.ray_types import PerRay

EDGE_LEAST = 1e-2
"""Weight that every interval is given before points are drawn, so that none is never looked at."""


class ProposalDensity(nn.Module):
    """A density that costs little: a hash grid of few levels and a narrow MLP.

    Args:
        levels: of the grid.
        log2_table_size: of its table.
        finest_resolution: of its finest level.
        hidden: units of the MLP's one hidden layer.
    """

    def __init__(
        self, *, levels: int = 5, log2_table_size: int = 17, finest_resolution: int = 128, hidden: int = 16
    ) -> None:
        super().__init__()
        self.encoding = HashGrid(
            3, levels=levels, log2_table_size=log2_table_size, finest_resolution=finest_resolution
        )
        self.network = mlp(self.encoding.outputs, 1, hidden=hidden, layers=1)

    def forward(self, points: Float[Tensor, "n 3"]) -> PerRay:
        """Density (N,) at points (N, 3) of the unit cube."""
        return truncated_exponential(evaluate(self.network, self.encoding(points))[:, 0])


class Spacing:
    """The normalized distance of rays: s = 0 at the nearest distance, 1 at the farthest.

    Linear, or for rays that go far (``inverse``) linear in t up to t = 1 and in 1 / t beyond: as much of s for all that
    lies behind 1 as for what lies before it (as in nerfacto, whose cameras too stand in the unit ball).

    Args:
        near: nearest distance, at least 0: one number, or one a ray, (N, 1).
        far: farthest, above it.
        inverse: whether far distances are drawn together.
    """

    def __init__(self, near: float | Tensor, far: float | Tensor, *, inverse: bool) -> None:
        self.inverse = inverse
        self.first = self._spread(torch.as_tensor(near))
        self.last = self._spread(torch.as_tensor(far))

    def distances(self, normalized: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
        """Distances along the rays, in their units."""
        spread = self.first + normalized * (self.last - self.first)
        if not self.inverse:
            return spread
        return torch.where(spread < 0.5, 2 * spread, 0.5 / (1 - spread.clamp(min=0.5)))

    def _spread(self, distance: Tensor) -> Tensor:
        if not self.inverse:
            return distance
        return torch.where(distance < 1, distance / 2, 1 - 0.5 / distance.clamp(min=1))


def equal_edges(
    rays: int, intervals: int, jitter: Float[Tensor, "n 1"] | None = None, like: Tensor | None = None
) -> Float[Tensor, "n edges"]:
    """Edges of intervals of equal length over [0, 1], (N, S + 1).

    With ``jitter`` in [0, 1), the inner edges of a ray move together by up to half an interval either way.
    """
    edges = torch.linspace(0, 1, intervals + 1, dtype=like.dtype if like is not None else None)
    edges = edges.to(like.device if like is not None else "cpu").expand(rays, -1)
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
    if count < 1:
        raise SoftmineError(f"rays are cut into at least one interval, not {count}")
    weights = weights.detach() + least
    cumulative = torch.cat([torch.zeros_like(weights[:, :1]), weights.cumsum(-1)], -1)
    cumulative = cumulative / cumulative[:, -1:].clamp(min=torch.finfo(weights.dtype).tiny)
    share = (torch.arange(count + 1, device=edges.device) + (0.5 if jitter is None else jitter)) / (count + 1)
    share = share.to(edges.dtype).expand(len(edges), -1).contiguous()
    above = torch.searchsorted(cumulative, share, right=True).clamp(1, weights.shape[1])
    low, high = cumulative.gather(-1, above - 1), cumulative.gather(-1, above)
    within = ((share - low) / (high - low).clamp(min=torch.finfo(edges.dtype).tiny)).clamp(0, 1)
    return torch.lerp(edges.gather(-1, above - 1), edges.gather(-1, above), within)
