"""All of space in a ball, for scenes that go on for ever."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def contract(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Draws all of space into the ball of radius 2: (2 - 1 / |x|) x / |x| outside the unit ball, x inside.

    Args:
        points: (N, 3), scaled so that what matters most lies in the unit ball.

    Returns:
        Points (N, 3) of length below 2, once continuously differentiable.

    Source: Barron et al., mip-NeRF 360, CVPR 2022 (arXiv 2111.12077), equation 10.

    Example:
        >>> contract(torch.tensor([[0.5, 0.0, 0.0], [4.0, 0.0, 0.0]]))
        tensor([[0.5000, 0.0000, 0.0000],
                [1.7500, 0.0000, 0.0000]])
    """
    # Not below 1, so that neither branch divides by zero, of which the gradient would know.
    squared = points.square().sum(-1, keepdim=True)
    inverse = squared.clamp(min=1).rsqrt()
    return torch.where(squared > 1, (2 - inverse) * inverse * points, points)
