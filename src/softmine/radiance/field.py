"""A radiance field: density and color from a hash grid, rendered along rays (arXiv 2003.08934, 2201.05989)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmine.domain import SoftmineError
from softmine.fields import HashGrid
from softmine.fields.mlp import evaluate, mlp
from softmine.radiance import gpu
from softmine.radiance.activation import truncated_exponential
from softmine.radiance.bounded_rays import BoundedRays
from softmine.radiance.compositing import Rendered
from softmine.radiance.ray_types import Counts, PerPoint
from softmine.radiance.scenes.scene import Bounds
from softmine.radiance.unbounded_rays import UnboundedRays

GEOMETRY = 16
"""Outputs of the density's MLP; the first is the logarithm of the density."""
HARMONICS = 16
"""Functions of the first four bands of spherical harmonics."""
GRID = {"levels": 12, "features": 2, "log2_table_size": 18, "finest_resolution": 512}
"""What a scene of some hundred pixels a side needs; finer grids cost time where there is nothing finer to learn."""


class RadianceField(nn.Module):
    """Density and direction-dependent color in a box, or in all of space.

    A hash grid and a MLP of one hidden layer give density and 15 numbers more; with these and the spherical
    harmonics of the direction, a second MLP gives the color (as instant-ngp). Densities are per side of the box.

    Where points on the rays lie:

    - in a box: at equal steps in the cells of an occupancy grid; see ``softmine.radiance.bounded_rays``;
    - ``unbounded``: where a proposal density says, in a stretch from ``near`` to ``far``, all of space drawn into a ball
      (mip-NeRF 360); see ``softmine.radiance.unbounded_rays``. With a ``box`` too, as for normalized device coordinates,
      space is that box, and ``near`` and ``far`` count in lengths of the directions.

    Args:
        box: lower and upper corner; a cube with the longest side is used. None, for all of space, needs ``unbounded``.
        unbounded: draw points by proposal instead of by occupancy.
        near: distance before which there is nothing, in the world's units, at least 0.
        far: where an unbounded ray ends.
        hidden: width of the MLPs' layers.
        layers: hidden layers of the color's MLP.
        steps: points along the diagonal of the box at the finest step; what a pixel sees of it tells how many.
        seed: of the shifts of points in training; None takes one from torch.
        **grid: arguments of ``HashGrid``, over those in ``GRID``.

    Attributes:
        opaque: every unbounded ray ends in matter, as in a photo without holes: the light that is left ends in its last
            interval. A ``Renderer`` sets it where images have no opacity. Without it, what a photo shows would be
            learned as thin matter before the mid-gray that lies behind.

    Raises:
        SoftmineError: corners or distances are the wrong way round, or there is no box and not ``unbounded``.

    Example:
        >>> field = RadianceField(((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)), log2_table_size=10)
        >>> rendered = field(torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
        >>> rendered.color.shape, rendered.opacity.shape
        (torch.Size([1, 3]), torch.Size([1]))
    """

    center: Tensor

    def __init__(
        self,
        box: Sequence[Sequence[float]] | None = None,
        *,
        unbounded: bool = False,
        near: float = 0.05,
        far: float = 1000.0,
        hidden: int = 64,
        layers: int = 2,
        steps: int = 256,
        seed: int | None = None,
        **grid: Any,
    ) -> None:
        super().__init__()
        if box is None and not unbounded:
            raise SoftmineError("a radiance field needs a box, unless it is unbounded")
        # All of space is drawn into a ball of radius 2.
        low, high = torch.tensor(box or ((-2.0,) * 3, (2.0,) * 3), dtype=torch.float32)
        if not bool((low < high).all()) or not 0 <= near < far:
            raise SoftmineError(
                f"a box has its lower corner first and rays their nearer end, not {low.tolist()} to {high.tolist()} "
                f"and {near} to {far}"
            )
        self.side = float((high - low).max())
        self.contracts = box is None
        self.opaque = False
        self.register_buffer("center", (low + high) / 2, persistent=False)
        self.encoding = HashGrid(3, **{**GRID, **grid})
        self.density_network = mlp(self.encoding.outputs, GEOMETRY, hidden=hidden, layers=1)
        self.color_network = mlp(GEOMETRY + HARMONICS, 3, hidden=hidden, layers=layers)
        self.rays: BoundedRays | UnboundedRays
        if unbounded:
            self.rays = UnboundedRays(near, far, inverse=self.contracts, seed=seed)
        else:
            self.rays = BoundedRays(near / self.side, steps, seed=seed)

    def forward(self, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Rendered:
        """What rays see.

        Args:
            origins: (N, 3), in the world.
            directions: (N, 3), of any length but 0.

        Returns:
            ``Rendered``; depths in lengths of the directions. Differentiable in origins and directions through the points'
            positions and the colors' directions; the distances of the points from the origins count as constant.
        """
        return self.rays(self, origins, directions)

    def to_unit(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """World points (P, 3) in the unit cube that the grid covers."""
        if self.contracts:
            points = contract(points)
        return (points - self.center) / self.side + 0.5

    def density(self, points: Float[Tensor, "p 3"]) -> PerPoint:
        """Density (P,) per side of the cube, at points (P, 3) of the unit cube."""
        return self.geometry(points)[0]

    def geometry(self, points: Float[Tensor, "p 3"]) -> tuple[PerPoint, Float[Tensor, "p 16"]]:
        """Density (P,), and what the color needs to know of points (P, 3) of the unit cube, (P, 16)."""
        geometry = self.raw_geometry(points)
        return truncated_exponential(geometry[:, 0]), geometry

    def raw_geometry(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 16"]:
        """The logarithm of the density, and 15 numbers more for the color, at points (P, 3) of the unit cube."""
        return evaluate(self.density_network, self.encoding(points))

    def colors(
        self, geometry: Float[Tensor, "p 16"], directions: Float[Tensor, "n 3"], rays: Tensor
    ) -> Float[Tensor, "p 3"]:
        """Colors (P, 3) in [0, 1] of points on ``rays``, int64 (P,), with directions (N, 3) of length 1."""
        return self.color_logits(geometry, directions, rays).sigmoid()

    def color_logits(
        self, geometry: Float[Tensor, "p 16"], directions: Float[Tensor, "n 3"], rays: Tensor
    ) -> Float[Tensor, "p 3"]:
        """What the sigmoid makes colors of; arguments as of ``colors``."""
        # Harmonics of rays, not of their points, which are many.
        harmonics = spherical_harmonics(directions).index_select(0, rays)
        return evaluate(self.color_network, torch.cat((geometry, harmonics), 1))

    def render(self, points: gpu.Points, positions: Float[Tensor, "p 3"], along: Tensor | None) -> Rendered:
        """What rays see by the kernels for a GPU.

        Args:
            points: on the rays.
            positions: of the points in the unit cube, (C, 3).
            along: directions of length 1, (N, 3), where they want a gradient, else None.
        """
        geometry = self.raw_geometry(positions)
        if along is None:
            inputs, logarithms = gpu.color_inputs(geometry, points)
            logits = evaluate(self.color_network, inputs)
        else:
            logarithms = geometry[:, 0]
            logits = self.color_logits(geometry, along, points.rays)
        return Rendered(*gpu.composite(logarithms, logits, points))

    def regularization(self) -> Tensor | None:
        """A loss () that the last forward with gradient adds to that of its colors, or None."""
        return self.rays.regularization()

    def after_step(self, step: int) -> None:
        """To be called after training step ``step`` (the first is 1): the occupancy grid learns what has changed."""
        self.rays.after_step(self, step)

    @property
    def costs(self) -> Counts:
        """Points of each ray of the last forward with gradient that have a color, int64 (N,)."""
        return self.rays.costs


def field_for(bounds: Bounds, **settings: Any) -> RadianceField:
    """The radiance field for what a scene says of where its matter lies; ``settings`` are more of its arguments.

    Example:
        >>> field_for(Bounds("box", near=0.0, far=6.0), log2_table_size=10).contracts
        False
    """
    if bounds.kind == "unbounded":
        return RadianceField(unbounded=True, near=bounds.near, far=bounds.far, **settings)
    if bounds.kind == "ndc":
        return RadianceField(
            (bounds.low, bounds.high), unbounded=True, near=bounds.near, far=bounds.far, **settings
        )
    return RadianceField((bounds.low, bounds.high), near=bounds.near, **settings)


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
