"""Rays through a box: points at equal steps in occupied cells, and none behind what hides them.

A coarse map of where there may be matter lets empty space cost nothing (arXiv 2201.05989, appendix E).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from softmine.domain import Cells
from softmine.errors import SoftmineError
from softmine.kernels import backend_for, thread_pool
from softmine.radiance import gpu
from softmine.radiance.compositing import Rendered, composite, visible
from softmine.radiance.ray_types import Counts, PerPoint, PerRay, RayOfPoint, Starts
from softmine.sampling.random import RandomStream

if TYPE_CHECKING:
    from softmine.radiance.field import RadianceField

LEAST_ALPHA = 0.01
"""Opacity over the finest step below which a cell is taken to be empty (instant-ngp's)."""
FIRST_LOOK = 64
"""Step at which the whole grid is looked into for the first time; before it nothing is left out."""
EVERY = 16
"""Steps between two looks into a part of it,"""
CELLS = 1 << 16
"""which has this many cells: a few milliseconds a step."""
POINTS = 16
"""Points a ray that a step of training should not exceed: while the grid is full, its steps are longer instead."""
LONGEST = 8
"""Times the finest step."""
HIDDEN = 1e-4
"""Transmittance below which points have no say."""


HEADROOM = 1.25
"""Times the points that were needed: room for them on a GPU."""
Density = Callable[[Tensor], Tensor]
"""Density (M,) at positions (M, 3) in the unit cube."""


class BoundedRays(nn.Module):
    """Chooses points in a box by an occupancy grid, and renders them.

    A density pass without gradient comes first; the points behind what is opaque are dropped before all else.

    Args:
        near: distance before which there is nothing, in sides of the cube.
        steps: points along the diagonal at the finest step.
        seed: of the points' shifts in training.
    """

    stride: Tensor

    def __init__(self, near: float, steps: int, *, seed: int | None = None) -> None:
        super().__init__()
        self.near = near
        self.step = math.sqrt(3) / steps
        self.occupancy = OccupancyGrid(threshold=-math.log1p(-LEAST_ALPHA) / self.step)
        self.random = RandomStream(seed)
        # Of the finest step, in training.
        self.register_buffer("stride", torch.tensor(LONGEST))
        self.costs = torch.zeros(0, dtype=torch.int64)
        self._marched = 0.0
        self.room: Room | None = None

    def forward(
        self, field: RadianceField, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> Rendered:
        """See ``RadianceField.forward``."""
        if gpu.takes(origins):
            return self._forward_fixed(field, origins, directions)
        lengths = directions.detach().norm(dim=-1)
        directions = functional.normalize(directions, dim=-1)
        origins = field.to_unit(origins)
        step, jitter = self.step, None
        if self.training:
            step *= int(self.stride)
            jitter = self.random.uniform(len(origins), 1, origins.dtype)[:, 0]
        packed = march(origins, directions, self.occupancy.occupied, step=step, near=self.near, jitter=jitter)
        with torch.no_grad():
            widths = torch.full_like(packed.distances, step)
            counts = visible(field.density(packed.points), widths, packed.starts, HIDDEN)
        if torch.is_grad_enabled():
            self._marched, self.costs = len(packed.rays) / max(1, len(origins)), counts
        packed = shorten(packed, counts)
        points = packed.points
        if origins.requires_grad or directions.requires_grad:
            points = torch.addcmul(
                origins.index_select(0, packed.rays),
                packed.distances[:, None],
                directions.index_select(0, packed.rays),
            )
        density, geometry = field.geometry(points)
        colors = field.colors(geometry, directions, packed.rays)
        distances = packed.distances * (field.side / lengths)[packed.rays]
        return composite(density, colors, widths[: len(density)], distances, packed.starts)

    def _forward_fixed(self, field: RadianceField, origins: Tensor, directions: Tensor) -> Rendered:
        """As ``forward``, with room for so many points in training, so that nothing waits for the device."""
        rays = len(origins)
        if not rays:
            return Rendered(*(origins.new_zeros(shape) for shape in ((0, 3), (0,), (0,), (0,))))
        learning = torch.is_grad_enabled()
        # Whoever learns nothing wants all rays: an evaluation, or a sampler's pass over the signal. It waits for their number.
        room = self._room(origins.device) if self.training and learning else None
        with torch.no_grad():
            marched = gpu.march(
                origins, directions, field.center, field.side, self.occupancy.occupied, self.random, self.stride,
                step=self.step, near=self.near, training=self.training,
                capacity=room and room.marched_by(rays),
            )  # fmt: skip
            points = gpu.shorten(
                marched, field.raw_geometry(marched.points), self.stride, room and room.usage,
                step=self.step, hidden=HIDDEN, training=self.training,
                capacity=room and room.seen_by(rays),
            )  # fmt: skip
        if learning:
            self.costs = points.counts
        if not (learning and (origins.requires_grad or directions.requires_grad)):
            return field.render(points, points.points, None)
        along = functional.normalize(directions, dim=-1)
        positions = torch.addcmul(
            field.to_unit(origins).index_select(0, points.rays),
            points.distances[:, None],
            along.index_select(0, points.rays),
        )
        return field.render(points, positions, along)

    def _room(self, device: torch.device) -> Room:
        if self.room is None:
            self.room = Room(device, self.step, int(self.stride))
        return self.room

    @property
    def capacity(self) -> tuple[int, int] | None:
        """Room for points in training on a GPU, before and after what is hidden is dropped, for the batch of the last forward.

        None where there is no such thing. It changes only in ``after_step``: a CUDA graph of a step is then to be
        recorded anew, as ``softmine.optim.CapturedStep`` does.
        """
        return self.room and self.room.capacity

    def recording_key(self) -> tuple[object, ...]:
        """What a CUDA graph of a step freezes."""
        return (self.capacity,)

    @property
    def dropped(self) -> int:
        """Rays that were left out of training because there was no room for their points, as far as is known already."""
        return self.room.dropped if self.room else 0

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # It began with another stride.
        self.room = None

    def regularization(self) -> None:
        """Nothing: an occupancy grid has no loss."""

    def after_step(self, field: RadianceField, step: int) -> None:
        """Looks into the grid when it is time, and shortens the steps as it empties."""
        if step == FIRST_LOOK:
            self.occupancy.sweep(field.density)
        elif step > FIRST_LOOK and step % EVERY == 0:
            self.occupancy.refresh(field.density, CELLS)
        if step % EVERY == 0 and self.room:
            self.room.follow(self.stride)
        elif step % EVERY == 0:
            self.stride.fill_(stride_for(self._marched * int(self.stride)))


def stride_for(fine: float) -> int:
    """Length of a training step in finest steps, if a ray has ``fine`` points at those."""
    return min(LONGEST, max(1, math.ceil(fine / POINTS)))


class Room:
    """Room for the points of training rays on a GPU, which follows what is needed without waiting for the device.

    At first there is room for every point of every ray. What was needed is sent to the host at the end of each period, and is
    there at the end of the next; with it stride and room change. A ray without room is left out: it renders as nothing,
    and teaches nothing.

    Args:
        device: where it is.
        step: the finest, in sides of the cube.
        stride: of a step in training.

    Attributes:
        usage: what ``gpu_kernels.repeat`` notes, and the stride, int32 (5,).
        dropped: rays that were left out, as far as is known.
    """

    def __init__(self, device: torch.device, step: float, stride: int) -> None:
        self.usage = torch.zeros(5, dtype=torch.int32, device=device)
        self.dropped = 0
        self._most = math.sqrt(3) / step
        # Points a ray, before and after what is hidden is dropped.
        self._marched = self._seen = self._bound(stride)
        self._rays = 0
        self._report = gpu.Report()

    @property
    def capacity(self) -> tuple[int, int]:
        """Points there is room for."""
        return gpu.room_for(self._rays * self._marched), gpu.room_for(self._rays * self._seen)

    def marched_by(self, rays: int) -> int:
        """Room for the points in occupied cells of so many rays."""
        self._rays = rays
        return self.capacity[0]

    def seen_by(self, rays: int) -> int:
        """Room for those that light reaches."""
        self._rays = rays
        return self.capacity[1]

    def follow(self, stride: Tensor) -> None:
        """To be called at the end of a period: sets the stride () of the next, and the room, by what was needed before this one."""
        arrived = self._report.read()
        self.usage[4].copy_(stride)
        self._report.send(self.usage)
        self.usage[:2].zero_()
        if arrived is None or not self._rays:
            return
        marched, seen, dropped, last, before = arrived
        self.dropped = int(dropped)
        after = stride_for(last * before / self._rays)
        stride.fill_(after)
        # Longer steps have fewer points, if not quite in proportion.
        share = before / after / self._rays
        self._marched = self._fit(self._marched, marched * share, after)
        self._seen = self._fit(self._seen, seen * share, after)

    def _fit(self, room: float, needed: float, stride: int) -> float:
        """Room in points a ray. It changes seldom, as each change has a graph recorded anew."""
        wanted = min(HEADROOM * needed + 1, self._bound(stride))
        return wanted if wanted > room or wanted < 0.75 * room else room

    def _bound(self, stride: int) -> float:
        """Points of a ray along the diagonal of the cube."""
        return self._most / stride + 2


class OccupancyGrid(nn.Module):
    """A running density of the cells of the unit cube, and which of them may hold matter.

    All are occupied at first. ``sweep`` looks into every cell; ``refresh`` into some: a cell's density is then the larger
    of what was found, at a random place in it, and the decayed density it had. Occupied is what lies above the
    threshold, or above the mean if that is lower.

    Args:
        side: cells along each axis.
        threshold: density, per unit of the cube's side, above which a cell is occupied; positive.
        decay: of a cell's density when it is looked at, in [0, 1).
        seed: of where it looks; None takes one from torch.

    Raises:
        SoftmineError: a setting is out of range.

    Example:
        >>> grid = OccupancyGrid(8, threshold=1.0)
        >>> grid.sweep(lambda points: 10.0 * (points[:, 0] < 0.5))
        >>> grid.share
        0.5
    """

    density: Tensor
    occupied: Tensor

    def __init__(
        self, side: int = 128, *, threshold: float, decay: float = 0.7, seed: int | None = None
    ) -> None:
        super().__init__()
        if side < 1 or not threshold > 0 or not 0 <= decay < 1:
            raise SoftmineError(
                f"an occupancy grid needs a side of at least 1, a positive threshold and a decay in [0, 1), not "
                f"{side}, {threshold}, {decay}"
            )
        self.side, self.threshold, self.decay = side, threshold, decay
        self.random = RandomStream(seed)
        self.register_buffer("density", torch.zeros(side**3))
        self.register_buffer("occupied", torch.ones(side, side, side, dtype=torch.bool))

    @property
    def share(self) -> float:
        """Share of the cells that are occupied, 0 to 1."""
        return self.occupied.float().mean().item()

    @torch.no_grad()
    def sweep(self, density: Density, chunk: int = 1 << 17) -> None:
        """Looks into every cell, once, and forgets what it knew."""
        cells = torch.arange(self.side**3, device=self.density.device)
        for part in cells.split(chunk):
            self.density[part] = density(self._inside(part)).float()
        self._decide()

    @torch.no_grad()
    def refresh(self, density: Density, cells: int) -> None:
        """Looks into about ``cells`` cells: half of them occupied ones, half anywhere."""
        if cells < 2:
            raise SoftmineError(f"a refresh looks into at least two cells, not {cells}")
        anywhere = self._choose(self.side**3, cells // 2)
        full = self._full_fixed(cells // 2) if gpu.takes(self.density) else self._full(cells // 2)
        chosen = torch.cat([anywhere, full])
        found = density(self._inside(chosen)).float()
        # A cell may be chosen twice: a maximum does not ask in which order.
        self.density[chosen] = self.density[chosen] * self.decay
        self.density.scatter_reduce_(0, chosen, found, "amax")
        self._decide()

    def _full(self, most: int) -> Cells:
        """All occupied cells, or ``most`` of them at random."""
        full = self.occupied.view(-1).nonzero()[:, 0]
        return full[self._choose(len(full), most)] if len(full) > most else full

    def _full_fixed(self, count: int) -> Cells:
        """``count`` of the occupied cells without waiting for the device: at random, or where they are fewer all, again and again."""
        before = self.occupied.view(-1).cumsum(0)
        full = before[-1].clamp(min=1)
        drawn = (self.random.uniform(count, 1)[:, 0] * full).long().minimum(full - 1)
        rank = torch.where(full > count, drawn, torch.arange(count, device=full.device) % full)
        return torch.searchsorted(before, rank + 1).clamp_(max=len(before) - 1)

    def _decide(self) -> None:
        # Never above the mean: a field that is thin all over would lose its last cells, and with them all gradient.
        bound = self.density.mean().clamp(max=self.threshold)
        self.occupied.copy_((self.density > bound).view_as(self.occupied))

    def _inside(self, cells: Cells) -> Float[Tensor, "m 3"]:
        """A random place in each cell."""
        index = torch.stack([cells // self.side**2, cells // self.side % self.side, cells % self.side], -1)
        return (index + self.random.uniform(len(cells), 3)) / self.side

    def _choose(self, total: int, count: int) -> Cells:
        """``count`` random numbers below ``total``, int64."""
        return (self.random.uniform(count, 1)[:, 0] * total).long().clamp_(max=total - 1)


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


def shorten(packed: Packed, counts: Counts) -> Packed:
    """The first ``counts[n]`` points of each ray n."""
    place = torch.arange(len(packed.rays), device=packed.rays.device) - packed.starts[packed.rays]
    kept = (place < counts[packed.rays]).nonzero()[:, 0]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Packed(starts, packed.rays[kept], packed.distances[kept], packed.points[kept])


def _room(points: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return like.new_empty(points), like.new_empty(points, 3), like.new_empty(points, dtype=torch.int64)
