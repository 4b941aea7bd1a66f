"""Fisheye lenses: the equidistant model of Kannala and Brandt with four coefficients, and its inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import PerSample
from softmine.errors import SoftmineError

Points = Float[Tensor, "n 2"]
"""Points (x, y) of the image in focal lengths from its principal point, x to the right and y down."""
Coefficients = Float[Tensor, "n 4"]
"""k1, k2, k3, k4 of each point's camera."""
Directions = Float[Tensor, "n 3"]
"""In the camera's axes: x to the right, y down, z ahead."""

ITERATIONS = 12
LARGEST = 1e6
"""Magnitude that no coefficient has."""
_TINY = 1e-24


def bend(angle: PerSample, coefficients: Coefficients) -> PerSample:
    """How far from the principal point, in focal lengths, a lens shows what lies at an angle (N,) off its axis.

    t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), with t the angle in radians.

    Source: Kannala and Brandt 2006, with the names of OpenCV's ``fisheye`` module and of COLMAP's OPENCV_FISHEYE.
    """
    k1, k2, k3, k4 = coefficients.unbind(-1)
    square = angle * angle
    return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))


def slope(angle: PerSample, coefficients: Coefficients) -> PerSample:
    """The derivative (N,) of ``bend`` by the angle."""
    k1, k2, k3, k4 = coefficients.unbind(-1)
    square = angle * angle
    return 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))


def straighten(radius: PerSample, coefficients: Coefficients, reach: PerSample) -> PerSample:
    """The angle (N,), from 0 to ``reach``, that the lens shows at a radius (N,); differentiable in the radius, once.

    Newton's method, kept between bounds that close in. As in ``undistort`` the last step alone is recorded, so that the
    gradient is that of the implicit function. A radius beyond what the lens shows gives ``reach``.
    """
    with torch.no_grad():
        low, high = torch.zeros_like(radius), reach.clone()
        angle = radius.minimum(reach)
        for _ in range(ITERATIONS):
            excess = bend(angle, coefficients) - radius
            low, high = torch.where(excess < 0, angle, low), torch.where(excess > 0, angle, high)
            angle = angle - excess / slope(angle, coefficients)
            angle = torch.where((angle >= low) & (angle <= high), angle, (low + high) / 2)
        steep = slope(angle, coefficients).clamp(min=1e-6)
    return (angle - (bend(angle, coefficients) - radius) / steep).minimum(reach)


def unproject(points: Points, coefficients: Coefficients, reach: PerSample) -> Directions:
    """Directions (N, 3) of length 1 of what is seen at points (N, 2) of the image."""
    radius = (points.square().sum(-1) + _TINY).sqrt()
    angle = straighten(radius, coefficients, reach)
    return torch.cat((points * (angle.sin() / radius)[:, None], angle.cos()[:, None]), -1)


def project(local: Directions, coefficients: Coefficients, reach: PerSample) -> tuple[Points, PerSample]:
    """Points (N, 2) of the image where what lies at ``local`` (N, 3) is seen, and its angles (N,) off the axis.

    What lies at an angle beyond ``reach`` is not seen, and is given the edge of what is.
    """
    across = local[:, :2].norm(dim=-1)
    angle = torch.atan2(across, local[:, 2])
    radius = bend(angle.minimum(reach), coefficients)
    return local[:, :2] * (radius / across.clamp(min=1e-12))[:, None], angle


def reach_of(coefficients: Sequence[float]) -> float:
    """The largest angle, at most pi, up to which a lens shows larger angles farther out.

    Raises:
        SoftmineError: a coefficient is larger than that of any lens.
    """
    k1, k2, k3, k4 = coefficients
    if not max(map(abs, coefficients)) < LARGEST:
        raise SoftmineError(
            f"a fisheye's coefficients k1 to k4 are {k1:g}, {k2:g}, {k3:g} and {k4:g}, which no lens has; estimate them again"
        )
    roots = np.roots([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0])
    turning = [root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 0]
    return min(math.pi, math.sqrt(min(turning))) if turning else math.pi


def radius_of(coefficients: Sequence[float]) -> float:
    """The radius, in focal lengths, of the circle that a lens shows: that of ``reach_of``."""
    angle = torch.tensor([reach_of(coefficients)], dtype=torch.float64)
    return float(bend(angle, angle.new_tensor([list(coefficients)])))
