"""Equirectangular panoramas: longitude across, latitude down, straight ahead in the middle."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Angles = Float[Tensor, "n 2"]
"""Longitude, from -pi at the left edge to pi, and latitude, from -pi/2 at the upper edge to pi/2."""


def unproject(angles: Angles) -> Float[Tensor, "n 3"]:
    """Directions (N, 3) of length 1, in a camera's axes (x right, y down, z ahead), of angles (N, 2)."""
    longitude, latitude = angles.unbind(-1)
    level = latitude.cos()
    return torch.stack((longitude.sin() * level, latitude.sin(), longitude.cos() * level), -1)


def project(local: Float[Tensor, "n 3"]) -> Angles:
    """The angles (N, 2) at which points (N, 3), in a camera's axes, are seen."""
    x, y, z = local.unbind(-1)
    return torch.stack((torch.atan2(x, z), torch.atan2(y, torch.hypot(x, z))), -1)
