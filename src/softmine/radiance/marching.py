"""Where along a ray to look: points at equal steps, only in cells that may hold matter (arXiv 2201.05989, appendix E)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from softmine.domain import SoftmineError
from softmine.kernels import backend_for, thread_pool
from softmine.radiance.ray_types import Counts, PerPoint, PerRay, Places, RayOfPoint, Starts


class Packed(NamedTuple):
    """Points on rays, one ray after the other, front to back.

    Attributes:
        starts: points ``starts[n]`` up to ``starts[n + 1]`` belong to ray n, int64 (N + 1,).
        rays: ray of each point, int64 (P,).
        distances: of the points from the origins, (P,).
        points: positions, (P, 3), without gradient.
    """

    starts: Starts
    rays: RayOfPoint
    distances: PerPoint
    points: Float[Tensor, "p 3"]


def march(
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    occupied: Bool[Tensor, "side side side"],
    *,
    step: float,
    near: float = 0.0,
    jitter: PerRay | None = None,
) -> Packed:
    """Points along rays through the unit cube, in its occupied cells.

    From where a ray enters the cube (or ``near``, where that is farther) its way is cut into intervals of length
    ``step``; each has one point, at the same share of it along the whole ray. The same rays and jitter give the same
    points, in any number of threads.

    Args:
        origins: (N, 3), in units in which the cube is [0, 1]^3.
        directions: (N, 3), of length 1.
        occupied: cells that may hold matter, along x, y and z.
        step: length of an interval, positive.
        near: distance before which there are no points.
        jitter: where in its intervals each ray's points lie, in [0, 1), (N,); the middle by default.

    Returns:
        ``Packed``.

    Raises:
        SoftmineError: the step is not positive.

    Example:
        >>> cells = torch.ones(4, 4, 4, dtype=torch.bool)
        >>> march(torch.tensor([[-1.0, 0.5, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]]), cells, step=0.5).distances
        tensor([1.2500, 1.7500])
    """
    if not step > 0:
        raise SoftmineError(f"a step along a ray must be positive, not {step}")
    origins, directions = origins.detach().contiguous(), directions.detach().contiguous()
    jitter = torch.full_like(origins[:, 0], 0.5) if jitter is None else jitter.contiguous()
    if torch.compiler.is_compiling() or backend_for(origins, origins) != "numba":
        return march_twin(origins, directions, occupied, step, near, jitter)
    from softmine.radiance import cpu_kernels

    starts = torch.zeros(len(origins) + 1, dtype=torch.int64)
    rays = (origins.numpy(), directions.numpy(), occupied.numpy(), step, near, jitter.numpy(), starts.numpy())
    parts = -(-len(origins) // cpu_kernels.RAYS)
    nothing = _room(0, origins)
    thread_pool.run(cpu_kernels.march, *rays, False, *(tensor.numpy() for tensor in nothing), parts=parts)
    torch.cumsum(starts, 0, out=starts)
    distances, points, indices = _room(int(starts[-1]), origins)
    thread_pool.run(
        cpu_kernels.march, *rays, True, distances.numpy(), points.numpy(), indices.numpy(), parts=parts
    )
    return Packed(starts, indices, distances, points)


def march_twin(
    origins: Tensor, directions: Tensor, occupied: Tensor, step: float, near: float, jitter: Tensor
) -> Packed:
    """``march`` in plain torch: all intervals of all rays are made, and those outside are dropped."""
    one, other = (0 - origins) / directions, (1 - origins) / directions
    # A ray along a face: 0 / 0 says nothing about where it enters.
    low, high = torch.minimum(one, other).nan_to_num(nan=-torch.inf), torch.maximum(one, other)
    enter = low.amax(1).clamp(min=near)
    leave = high.nan_to_num(nan=torch.inf, posinf=torch.inf).amin(1)
    # The cube's diagonal is the longest way through it.
    count = int(3**0.5 / step) + 2
    distances = enter[:, None] + (torch.arange(count, device=origins.device) + jitter[:, None]) * step
    inside = (distances < leave[:, None]) & (leave > enter)[:, None]
    distances = torch.where(inside, distances, 0)
    points = origins[:, None] + distances[..., None] * directions[:, None]
    side = occupied.shape[0]
    cells = (points * side).long().clamp(0, side - 1)
    inside &= occupied[cells[..., 0], cells[..., 1], cells[..., 2]]
    starts = torch.cat([torch.zeros_like(inside[:1, 0], dtype=torch.int64), inside.sum(1).cumsum(0)])
    rays = inside.nonzero()[:, 0]
    return Packed(starts, rays, distances[inside], points[inside])


def shorten(packed: Packed, counts: Counts) -> tuple[Packed, Places]:
    """The first ``counts[n]`` points of each ray, and which of the points those are, int64 (Q,)."""
    place = torch.arange(len(packed.rays), device=packed.rays.device) - packed.starts[packed.rays]
    kept = (place < counts[packed.rays]).nonzero()[:, 0]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Packed(starts, packed.rays[kept], packed.distances[kept], packed.points[kept]), kept


def _room(points: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return like.new_empty(points), like.new_empty(points, 3), like.new_empty(points, dtype=torch.int64)
