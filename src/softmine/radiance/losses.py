"""What keeps the points of a ray where the matter is: the two losses of mip-NeRF 360 (CVPR 2022, arXiv 2111.12077)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from softmine.radiance.ray_types import PerRay


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
