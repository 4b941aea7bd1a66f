"""Lens distortion: the radial-tangential model of Brown, rational or not, and its inverse."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import PerSample

Points = Float[Tensor, "n 2"]
"""Points (x, y) on the plane at depth 1 before the camera, x to the right and y down."""
Coefficients = Float[Tensor, "n c"]
"""k1, k2, k3, k4, p1, p2 of each point's camera, and for a rational model d1, d2, d3."""

ITERATIONS = 10


def distort(points: Points, coefficients: Coefficients) -> Points:
    """Where the lens moves points (N, 2).

    With r2 = x^2 + y^2 and g = (1 + k1 r2 + k2 r2^2 + k3 r2^3 + k4 r2^4) / (1 + d1 r2 + d2 r2^2 + d3 r2^3):
    x' = g x + 2 p1 x y + p2 (r2 + 2 x^2), y' = g y + 2 p2 x y + p1 (r2 + 2 y^2).

    Source: Brown 1966, with the names of OpenCV for k1, k2, p1, p2 and k3; k4 continues the polynomial, as in
    nerfstudio. OpenCV's k4, k5 and k6 (COLMAP's FULL_OPENCV) are d1, d2 and d3 here.
    """
    x, y = points.unbind(-1)
    p1, p2 = coefficients[:, 4], coefficients[:, 5]
    r2 = x * x + y * y
    radial, _ = _radial(r2, coefficients)
    return torch.stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
        ),
        -1,
    )


def undistort(points: Points, coefficients: Coefficients) -> Points:
    """The points (N, 2) that the lens moves to ``points``; differentiable in both arguments, once.

    Ten steps of Newton's method from the distorted point, which converge wherever the lens does not fold the plane
    over (see ``folds``). The gradient is that of the implicit function: the last step alone is recorded, so that its
    cost and memory do not depend on how many there were.
    """
    with torch.no_grad():
        found = points
        for _ in range(ITERATIONS):
            found = found - _solve(jacobian(found, coefficients), distort(found, coefficients) - points)
        slope = jacobian(found, coefficients)
    return found - _solve(slope, distort(found, coefficients) - points)


def jacobian(points: Points, coefficients: Coefficients) -> Float[Tensor, "n 2 2"]:
    """Derivatives of ``distort`` at points (N, 2): [n, i, j] is that of output i by input j."""
    x, y = points.unbind(-1)
    p1, p2 = coefficients[:, 4], coefficients[:, 5]
    radial, slope = _radial(x * x + y * y, coefficients)
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
    xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
    yy = radial + slope * y * y + 2 * p2 * x + 6 * p1 * y
    return torch.stack((torch.stack((xx, xy), -1), torch.stack((xy, yy), -1)), -2)


def folds(points: Points, coefficients: Coefficients) -> bool:
    """Whether ``undistort`` has no unique answer at some of the points (N, 2), or between them and the center."""
    found = undistort(points, coefficients)
    missed = (distort(found, coefficients) - points).abs().amax(-1)
    good = missed < 1e-5 * (1 + points.abs().amax(-1))
    for share in torch.linspace(0, 1, 21).tolist():
        slope = jacobian(found * share, coefficients)
        good &= (_determinant(slope) > 0) & (slope[:, 0, 0] + slope[:, 1, 1] > 0)
    return not bool(good.all())


def _radial(r2: PerSample, coefficients: Coefficients) -> tuple[PerSample, PerSample]:
    """The factor g of ``distort``, and twice its derivative by r2."""
    k1, k2, k3, k4 = coefficients[:, :4].unbind(-1)
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * (3 * k3 + r2 * 4 * k4)))
    if coefficients.shape[-1] == 6:
        return radial, slope
    d1, d2, d3 = coefficients[:, 6:].unbind(-1)
    below = 1 + r2 * (d1 + r2 * (d2 + r2 * d3))
    radial = radial / below
    return radial, (slope - radial * 2 * (d1 + r2 * (2 * d2 + r2 * 3 * d3))) / below


def _determinant(matrix: Float[Tensor, "n 2 2"]) -> PerSample:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def _solve(matrix: Float[Tensor, "n 2 2"], right: Points) -> Points:
    determinant = _determinant(matrix)
    x = matrix[:, 1, 1] * right[:, 0] - matrix[:, 0, 1] * right[:, 1]
    y = matrix[:, 0, 0] * right[:, 1] - matrix[:, 1, 0] * right[:, 0]
    return torch.stack((x, y), -1) / determinant[:, None]
