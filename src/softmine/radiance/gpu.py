"""A radiance field's step on a GPU: fixed shapes, few launches, and nothing that waits for the device, so that a CUDA graph can
record it. The kernels are in ``gpu_kernels.py`` (Triton), and in ``gpu_twins.py`` in plain torch for a GPU without Triton.

Points are packed into buffers with room for so many; ``Points.starts`` and ``counts`` say which are a ray's. The buffers'
ends hold points of no ray.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.errors import SoftmineError
from softmine.kernels import backend_for
from softmine.radiance.activation import LARGEST, STEEPEST
from softmine.radiance.compositing import OPAQUE
from softmine.radiance.lens_distortion import ITERATIONS
from softmine.sampling.random import RandomStream

if TYPE_CHECKING:
    from softmine.radiance.cameras import Cameras
    from softmine.radiance.scenes.scene import Ndc

BLOCK = 128
"""Points a program, where rays do not matter."""
MARCHED = {"RAYS": 4, "STEPS": 32}
"""Rays a program, and points of each at a time, where points are told from empty space,"""
PACKED = {"RAYS": 8, "STEPS": 16}
"""and where they are packed."""
FEW = 2
"""Rays a program that look at all pairs of their intervals."""
HARMONICS = 16


class Points(NamedTuple):
    """Points in a buffer, with those of a ray one after the other, front to back.

    Attributes:
        starts: first slot of each ray, int32 (N,).
        counts: points of each ray, int32 (N,).
        rays: ray of each slot, int32 (C,).
        distances: of the points from the origins, in units of the rendering, (C,).
        widths: of the points' intervals, (C,).
        points: positions in the unit cube, (C, 3).
        along: directions with length 1, (N, 3).
        scale: what turns distances into lengths of the given directions, (N,).
        cursor: int32 (6,), see ``gpu_kernels.py``; None if every slot is some ray's.
    """

    starts: Tensor
    counts: Tensor
    rays: Tensor
    distances: Tensor
    widths: Tensor
    points: Tensor
    along: Tensor
    scale: Tensor
    cursor: Tensor | None


def takes(tensor: Tensor) -> bool:
    """Whether what is computed with ``tensor`` has fixed shapes: on a GPU, or where its kernels are forced in Triton's interpreter."""
    if torch.compiler.is_compiling():
        return False
    return tensor.device.type == "cuda" or backend_for(tensor, tensor) == "triton"


def _launch(name: str, programs: int, like: Tensor, *arguments: Any, **constants: Any) -> None:
    """Runs a kernel, or its twin, on the device of ``like``."""
    if backend_for(like, like) != "triton":
        from softmine.radiance import gpu_twins

        with torch.no_grad():
            getattr(gpu_twins, name)(*arguments, **constants)
        return
    from softmine.kernels.triton.launch import launch
    from softmine.radiance import gpu_kernels

    launch(getattr(gpu_kernels, name), (programs,), *arguments, **constants)


def _full(tensor: Tensor) -> Tensor:
    """At least float32, which is what the kernels read: under autocast MLPs give less."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32)).contiguous()


def _blocks(items: int, block: int = BLOCK) -> int:
    return -(-items // block)


def room_for(points: int | float) -> int:
    """Slots for at least so many points, in whole blocks."""
    return max(1, math.ceil(points / BLOCK)) * BLOCK


def march(
    origins: Tensor,
    directions: Tensor,
    center: Tensor,
    side: float,
    occupied: Tensor,
    random: RandomStream,
    stride: Tensor,
    *,
    step: float,
    near: float,
    training: bool,
    capacity: int | None,
) -> Points:
    """Points of rays in the occupied cells of a cube, all of them; see ``bounded_rays.march``. No widths and no rays of slots.

    Args:
        origins: (N, 3) in the world.
        directions: (N, 3), of any length but 0.
        center: of the cube, (3,).
        side: of the cube.
        occupied: cells that may hold matter, (S, S, S).
        random: of the points' shifts in training.
        stride: () length of a step in training, in those of ``step``.
        step: in sides of the cube.
        near: distance before which there are no points, in sides of the cube.
        training: shift points, and take longer steps.
        capacity: room for points; None for what is needed, which waits for the device.
    """
    rays = len(origins)
    if rays * (math.sqrt(3) / step + 2) >= 1 << 31:
        raise SoftmineError(f"{rays} rays at once have too many points to be counted: render fewer at a time")
    if capacity is None:
        counted = march(
            origins, directions, center, side, occupied, random, stride,
            step=step, near=near, training=training, capacity=0,
        ).cursor  # fmt: skip
        assert counted is not None
        capacity = room_for(int(counted[0]))
    new = origins.new_empty
    starts, counts = new(rays, dtype=torch.int32), new(rays, dtype=torch.int32)
    along, scale, distances = new(rays, 3), new(rays), new(capacity)
    # What no ray has must be positions too, and where points are counted must be zero: one launch for both.
    zeros = origins.new_zeros(3 * capacity + 6, dtype=torch.float32)
    cursor, points = (
        zeros[3 * capacity :].view(torch.int32),
        zeros[: 3 * capacity].view(-1, 3).to(origins.dtype),
    )
    _launch(
        "march", _blocks(rays, MARCHED["RAYS"]), origins,
        origins.detach().contiguous(), directions.detach().contiguous(), center, occupied.view(torch.uint8),
        random.key, random.counter, stride, starts, counts, along, scale, distances, points, cursor,
        rays, capacity, side, occupied.shape[0], step, near, TRAIN=training, **MARCHED,
    )  # fmt: skip
    if training and capacity:
        random.skip(rays)
    nothing = distances.new_empty(0)
    return Points(starts, counts, nothing.int(), distances, nothing, points, along, scale, cursor)


def shorten(
    marched: Points,
    geometry: Tensor,
    stride: Tensor,
    usage: Tensor | None,
    *,
    step: float,
    hidden: float,
    training: bool,
    capacity: int | None,
) -> Points:
    """The points that light reaches: with a transmittance of at least ``hidden`` before them.

    Args:
        marched: what ``march`` gives.
        geometry: of its points, the density's logarithm in the first column, (C, G).
        stride: () as of ``march``.
        usage: int32 (5,), in which ``gpu_kernels.repeat`` notes how much room was needed.
        step: as of ``march``.
        hidden: in (0, 1).
        training: as of ``march``.
        capacity: as of ``march``.
    """
    if capacity is None:
        counted = shorten(
            marched, geometry, stride, None, step=step, hidden=hidden, training=training, capacity=0
        ).cursor
        assert counted is not None
        capacity = room_for(int(counted[3]))
        counted[3:].zero_()
    rays, cursor = len(marched.starts), marched.cursor
    assert cursor is not None
    new = marched.points.new_empty
    starts, counts = torch.empty_like(marched.starts), torch.empty_like(marched.counts)
    rays_of, distances = new(capacity, dtype=torch.int32), new(capacity)
    widths, points = new(capacity), new(capacity, 3)
    _launch(
        "shorten", _blocks(rays, PACKED["RAYS"]), points,
        _full(geometry), marched.starts, marched.counts,
        marched.distances, marched.points, stride, starts, counts, rays_of, distances, widths, points, cursor,
        rays, capacity, step, -math.log(hidden),
        TRAIN=training, WIDTH=geometry.shape[1], LARGEST=LARGEST, OPAQUE=OPAQUE, **PACKED,
    )  # fmt: skip
    if capacity:
        _launch(
            "repeat", _blocks(capacity), points, cursor, cursor if usage is None else usage,
            rays_of, distances, points, capacity, FOLD=usage is not None, BLOCK=BLOCK,
        )  # fmt: skip
    return Points(starts, counts, rays_of, distances, widths, points, marched.along, marched.scale, cursor)


def color_inputs(geometry: Tensor, points: Points) -> tuple[Tensor, Tensor]:
    """What the color's MLP takes, (C, G + 16), and the density's logarithm (C,), of the points' geometry (C, G).

    Differentiable in the geometry.
    """
    return _ColorInputs.apply(geometry, points)  # pyright: ignore[reportReturnType]


class _ColorInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: Tensor, points: Points) -> tuple[Tensor, Tensor]:
        ctx.dtype = geometry.dtype
        geometry = _full(geometry)
        count, width = geometry.shape
        ctx.shape = geometry.shape
        out, logarithms = geometry.new_empty(count, width + HARMONICS), geometry.new_empty(count)
        if count:
            _launch(
                "color_inputs", _blocks(count), geometry, geometry, points.along, points.rays, out, logarithms,
                count, WIDTH=width, BLOCK=BLOCK,
            )  # fmt: skip
        return out, logarithms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        of_out, of_logarithms = (_full(grad) for grad in grads)
        count, width = ctx.shape
        of_geometry = of_out.new_empty(count, width)
        if count:
            _launch(
                "color_inputs_backward", _blocks(count), of_out, of_out, of_logarithms, of_geometry, count,
                WIDTH=width, BLOCK=BLOCK,
            )  # fmt: skip
        return of_geometry.to(ctx.dtype), None


def composite(logarithms: Tensor, logits: Tensor, points: Points) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Color (N, 3), opacity and depth (N,) of rays, and the weights of their points (C,); see ``compositing.composite``.

    Args:
        logarithms: of the density, in units of 1 / width, (C,).
        logits: of the colors, (C, 3).
        points: where they are.

    Returns:
        Four tensors, differentiable in the first two arguments; slots of no ray have the weight 0, and no gradient.
    """
    return _Composite.apply(logarithms, logits, points)  # pyright: ignore[reportReturnType]


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logarithms: Tensor, logits: Tensor, points: Points) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtypes = logarithms.dtype, logits.dtype
        logarithms, logits = _full(logarithms), _full(logits)
        rays, new = len(points.starts), logarithms.new_empty
        color, opacity, depth = new(rays, 3), new(rays), new(rays)
        weights, before = torch.empty_like(logarithms), torch.empty_like(logarithms)
        _launch(
            "composite", *_programs(points, logarithms), logits, points.widths, points.distances, points.scale,
            points.starts, points.counts, _cursor(points), color, opacity, depth, weights, before,
            *_sizes(points), LARGEST=LARGEST, OPAQUE=OPAQUE, TAIL=points.cursor is not None, BLOCK=BLOCK, **PACKED,
        )  # fmt: skip
        ctx.save_for_backward(logarithms, logits, weights, before)
        ctx.points = points
        return color, opacity, depth, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        logarithms, logits, weights, before = ctx.saved_tensors
        points = ctx.points
        given = [weights if grad is None else _full(grad) for grad in grads]
        named = zip(("COLOR", "OPACITY", "DEPTH", "WEIGHTS"), grads, strict=True)
        of_logarithms, of_logits = torch.empty_like(logarithms), torch.empty_like(logits)
        _launch(
            "composite_backward", *_programs(points, logarithms), logits, points.widths, points.distances,
            points.scale, points.starts, points.counts, _cursor(points), weights, before, *given,
            of_logarithms, of_logits, *_sizes(points), **{name: grad is not None for name, grad in named},
            LARGEST=LARGEST, OPAQUE=OPAQUE, STEEPEST=math.exp(STEEPEST), TAIL=points.cursor is not None,
            BLOCK=BLOCK, **PACKED,
        )  # fmt: skip
        return of_logarithms.to(ctx.dtypes[0]), of_logits.to(ctx.dtypes[1]), None


def _programs(points: Points, logarithms: Tensor) -> tuple[int, Tensor, Tensor]:
    """Programs for the rays and, where there is one, the buffer's end."""
    tail = 0 if points.cursor is None else _blocks(len(points.rays))
    return _blocks(len(points.starts), PACKED["RAYS"]) + tail, logarithms, logarithms


def _sizes(points: Points) -> tuple[int, int, int]:
    return len(points.starts), len(points.rays), _blocks(len(points.starts), PACKED["RAYS"])


def _cursor(points: Points) -> Tensor:
    return points.starts if points.cursor is None else points.cursor


def mid_gray(color: Tensor, opacity: Tensor, channels: int) -> Tensor:
    """What ``Renderer.channels_of`` gives, (N, 3 or 4), differentiable in color (N, 3) and opacity (N,)."""
    return _MidGray.apply(color, opacity, channels)  # pyright: ignore[reportReturnType]


class _MidGray(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, color: Tensor, opacity: Tensor, channels: int) -> Tensor:
        ctx.channels = channels
        rays = len(color)
        out = color.new_empty(rays, channels)
        if rays:
            _launch(
                "mid_gray", _blocks(rays), color, color.contiguous(), opacity.contiguous(), out, rays,
                ALPHA=channels - 3, BLOCK=BLOCK,
            )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        rays = len(grads[0])
        of_color, of_opacity = grads[0].new_empty(rays, 3), grads[0].new_empty(rays)
        if rays:
            _launch(
                "mid_gray_backward", _blocks(rays), of_color, grads[0].contiguous(), of_color, of_opacity, rays,
                ALPHA=ctx.channels - 3, BLOCK=BLOCK,
            )  # fmt: skip
        return of_color, of_opacity, None


class Stretch(NamedTuple):
    """A ray's way through space, for the kernels: see ``unbounded_rays.Spacing``.

    Attributes:
        center: of the cube, (3,).
        side: of the cube.
        first: spread of the nearest distance.
        last: spread of the farthest.
        inverse: far distances are drawn together, and space into a ball.
        beyond: width of the last interval; None for its own.
        intervals: of the proposal, a power of two.
        kept: of the field, a power of two.
    """

    center: Tensor
    side: float
    first: float
    last: float
    inverse: bool
    beyond: float | None
    intervals: int
    kept: int

    @property
    def constants(self) -> dict[str, Any]:
        """What the kernels are compiled for."""
        return {
            "INVERSE": self.inverse, "BEYOND": self.beyond is not None, "ENDLESS": self.beyond or 0.0,
            "LARGEST": LARGEST, "OPAQUE": OPAQUE, "COUNT": self.intervals, "KEPT": self.kept, "RAYS": FEW,
        }  # fmt: skip


class Proposal(NamedTuple):
    """Where a proposal is evaluated.

    Attributes:
        edges: of its intervals, in the normalized distance, (N, S + 1).
        jitter: of the points that are drawn by it, in [0, 1), (N,).
        points: middles of the intervals in the unit cube, (N * S, 3).
    """

    edges: Tensor
    jitter: Tensor
    points: Tensor


def propose(
    origins: Tensor, directions: Tensor, stretch: Stretch, random: RandomStream, *, training: bool
) -> Proposal:
    """The proposal's intervals on rays with origins and directions (N, 3); shifted in training."""
    rays, count = len(origins), stretch.intervals
    new = origins.new_empty
    proposal = Proposal(new(rays, count + 1), new(rays), new(rays * count, 3))
    _launch(
        "propose", _blocks(rays, PACKED["RAYS"]), origins,
        origins.detach().contiguous(), directions.detach().contiguous(), stretch.center, random.key, random.counter,
        *proposal, rays, stretch.side, stretch.first, stretch.last,
        TRAIN=training, INVERSE=stretch.inverse, COUNT=count, RAYS=PACKED["RAYS"],
    )  # fmt: skip
    if training:
        random.skip(2 * rays)
    return proposal


def resample(
    logarithms: Tensor,
    proposal: Proposal,
    origins: Tensor,
    directions: Tensor,
    stretch: Stretch,
    least: float,
) -> tuple[Points, Tensor, Tensor]:
    """Points drawn by the proposal's density; see ``unbounded_rays.resample``.

    Args:
        logarithms: of the density, (N * S,).
        proposal: where it was evaluated.
        origins: (N, 3).
        directions: (N, 3).
        stretch: as of ``propose``.
        least: added to every weight.

    Returns:
        The points, the proposal's weights (N, S) and edges of the new intervals (N, K + 1); no gradient.
    """
    rays, kept = len(origins), stretch.kept
    new = origins.new_empty
    proposed, finer = new(rays, stretch.intervals), new(rays, kept + 1)
    starts, counts = new(rays, dtype=torch.int32), new(rays, dtype=torch.int32)
    rays_of, distances, widths = new(rays * kept, dtype=torch.int32), new(rays * kept), new(rays * kept)
    points = Points(
        starts, counts, rays_of, distances, widths, new(rays * kept, 3), new(rays, 3), new(rays), None
    )
    _launch(
        "resample", _blocks(rays, FEW), origins,
        _full(logarithms), origins.detach().contiguous(), directions.detach().contiguous(), stretch.center,
        proposal.edges, proposal.jitter, proposed, finer, points.along, points.scale, starts, counts, rays_of,
        distances, widths, points.points, rays, stretch.side, stretch.first, stretch.last, least,
        **stretch.constants,
    )  # fmt: skip
    return points, proposed, finer


def ray_losses(
    weights: Tensor,
    logarithms: Tensor,
    proposed: Tensor,
    finer: Tensor,
    proposal: Proposal,
    directions: Tensor,
    stretch: Stretch,
    distortion: float,
) -> Tensor:
    """The proposal's loss and ``distortion`` times the distortion loss, mean over rays, ().

    Args:
        weights: of the field's points, (N * K,), for the distortion loss.
        logarithms: of the proposal's density, (N * S,), for the proposal's loss.
        proposed: as of ``resample``.
        finer: as of ``resample``.
        proposal: as of ``propose``.
        directions: (N, 3).
        stretch: as of ``propose``.
        distortion: factor.

    Returns:
        Loss (), differentiable in the first two arguments.
    """
    return _RayLosses.apply(weights, logarithms, proposed, finer, proposal, directions, stretch, distortion)  # pyright: ignore[reportReturnType]


class _RayLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights, logarithms, proposed, finer, proposal, directions, stretch, distortion
    ) -> Tensor:
        rays = len(finer)
        ctx.dtype = logarithms.dtype
        ctx.save_for_backward(
            _full(weights), _full(logarithms), proposed, finer, proposal.edges, _full(directions)
        )
        ctx.stretch, ctx.distortion = stretch, distortion
        loss = finer.new_empty(rays)
        _launch(
            "ray_losses", _blocks(rays, FEW), finer, _full(weights), finer, proposed,
            proposal.edges, loss, rays, distortion, EPSILON=torch.finfo(finer.dtype).eps,
            COUNT=stretch.intervals, KEPT=stretch.kept, RAYS=FEW,
        )  # fmt: skip
        return loss.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        weights, logarithms, proposed, finer, edges, directions = ctx.saved_tensors
        stretch = ctx.stretch
        of_weights, of_logarithms = torch.empty_like(weights), torch.empty_like(logarithms)
        rays = len(finer)
        _launch(
            "ray_losses_backward", _blocks(rays, FEW), finer, weights, finer, proposed, edges, logarithms, directions,
            _full(grads[0]), of_weights, of_logarithms, rays, stretch.side, stretch.first, stretch.last, ctx.distortion,
            EPSILON=torch.finfo(finer.dtype).eps, STEEPEST=math.exp(STEEPEST), **stretch.constants,
        )  # fmt: skip
        return of_weights, of_logarithms.to(ctx.dtype), None, None, None, None, None, None


def photo_pixels(
    coords: Tensor, pixels: Tensor, starts: Tensor, sizes: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """What ``Photos`` gives at coordinates (N, 3), (N, C), without gradient.

    Args:
        coords: (view, row, column) in [0, 1].
        pixels: of all views, uint8 (P, C).
        starts: first pixel of each view, int64 (V,).
        sizes: rows and columns of each view, int64 (V, 2).
        shape: of the domain, (V, H, W).
    """
    out = coords.new_empty(len(coords), pixels.shape[1])
    if len(coords):
        _launch(
            "photo_pixels", _blocks(len(coords)), coords, coords.contiguous(), pixels, starts, sizes, out, len(coords),
            shape[0], float(shape[1]), float(shape[2]), CHANNELS=pixels.shape[1], BLOCK=BLOCK,
        )  # fmt: skip
    return out


def photo_rays(
    coords: Tensor, cameras: Cameras, shape: tuple[int, ...], ndc: Ndc | None
) -> tuple[Tensor, Tensor]:
    """What ``Photos.rays`` gives at coordinates (N, 3) of perspective cameras, without gradient: two tensors (N, 3)."""
    origins, directions = torch.empty_like(coords), torch.empty_like(coords)
    coefficients = cameras.coefficients.shape[1] if cameras.distorted else 0
    near, across, down = (ndc.near, *ndc.scale) if ndc else (0.0, 0.0, 0.0)
    if len(coords):
        _launch(
            "photo_rays", _blocks(len(coords)), coords, coords.contiguous(), cameras.focal, cameras.center,
            cameras.poses, cameras.coefficients, origins, directions, len(coords), shape[0],
            float(shape[1]), float(shape[2]), near, across, down,
            COEFFICIENTS=coefficients, ITERATIONS=ITERATIONS + 1, NDC=ndc is not None, BLOCK=BLOCK,
        )  # fmt: skip
    return origins, directions


class Report:
    """Whole numbers on their way from the device, which nobody waits for.

    ``send`` starts a copy; ``read`` gives it once it has arrived, and then None until the next is sent.
    """

    def __init__(self) -> None:
        self._host: Tensor | None = None
        self._event: Any = None

    def send(self, numbers: Tensor) -> None:
        """Sends numbers (M,); what was sent before and not read is lost."""
        if numbers.device.type != "cuda":
            self._host = numbers.clone()
            return
        self._host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        self._host.copy_(numbers, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def read(self) -> list[int] | None:
        """The numbers last sent, or None."""
        if self._host is None or (self._event is not None and not self._event.query()):
            return None
        numbers, self._host = self._host.tolist(), None
        return numbers
