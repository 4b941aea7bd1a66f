"""Real spherical harmonics: the encoding of a direction."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

HARMONICS = 16
"""Functions of the first four bands."""


def spherical_harmonics(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 16"]:
    """The real spherical harmonics of bands 0 to 3, orthonormal over the sphere.

    In the order of their band l and, within it, of m from -l to l; without the sign (-1)^m that some texts give them.

    Args:
        directions: of length 1, (N, 3).

    Returns:
        Values (N, 16), differentiable.

    Example:
        >>> spherical_harmonics(torch.tensor([[0.0, 0.0, 1.0]]))[:, :4]
        tensor([[0.2821, 0.0000, 0.4886, 0.0000]])
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [
        (1 / 4, torch.ones_like(x)),
        (3 / 4, y),
        (3 / 4, z),
        (3 / 4, x),
        (15 / 4, x * y),
        (15 / 4, y * z),
        (5 / 16, 3 * zz - 1),
        (15 / 4, x * z),
        (15 / 16, xx - yy),
        (35 / 32, y * (3 * xx - yy)),
        (105 / 4, x * y * z),
        (21 / 32, y * (5 * zz - 1)),
        (7 / 16, z * (5 * zz - 3)),
        (21 / 32, x * (5 * zz - 1)),
        (105 / 16, z * (xx - yy)),
        (35 / 32, x * (xx - 3 * yy)),
    ]
    return torch.stack([math.sqrt(square / math.pi) * value for square, value in values], -1)
