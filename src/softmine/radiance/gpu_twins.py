# ruff: noqa: D103  (what they do stands at the kernels)
"""The kernels of ``gpu_kernels.py`` in plain torch, with the same names and arguments: what they must equal, and what runs on a GPU
without Triton. Nothing in it waits for the device either. Rays lie in their buffers in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.radiance import unbounded_rays as unbounded
from softmine.radiance.activation import truncated_exponential
from softmine.radiance.background import to_channels
from softmine.radiance.cameras import Rays, to_ndc
from softmine.radiance.compositing import OPAQUE
from softmine.radiance.field import contract, spherical_harmonics
from softmine.radiance.lens_distortion import undistort
from softmine.sampling.random import RandomStream


def march(
    origins, directions, center, occupied, key, counter, stride,
    starts, counts, along, scale, distances, positions, cursor,
    rays, capacity, side, cells, step, near, *, TRAIN, RAYS, STEPS,
):  # fmt: skip
    # All intervals of all rays are made; at the finest step, as a longer one is known to the device alone.
    k = torch.arange(int(3**0.5 / step) + 2, device=origins.device)
    shift = torch.full_like(origins[:, 0], 0.5)
    if TRAIN:
        step = step * stride
        shift = _uniform(key, counter, rays, 1, origins.dtype)[:, 0]
    length = directions.norm(dim=-1).clamp(min=1e-12)
    along.copy_(directions / length[:, None])
    scale.copy_(side / length)
    unit = (origins - center) / side + 0.5
    one, other = (0 - unit) / along, (1 - unit) / along
    # A ray along a face: 0 / 0 says nothing about where it enters.
    enter = torch.minimum(one, other).nan_to_num(nan=-torch.inf).amax(1).clamp(min=near)
    leave = torch.maximum(one, other).nan_to_num(nan=torch.inf, posinf=torch.inf).amin(1)
    t = enter[:, None] + (k + shift[:, None]) * step
    inside = (t < leave[:, None]) & (leave > enter)[:, None]
    t = torch.where(inside, t, 0)
    where = unit[:, None] + t[..., None] * along[:, None]
    x, y, z = (where * cells).long().clamp(0, cells - 1).unbind(-1)
    inside &= occupied[x, y, z] != 0
    found = inside.sum(1)
    start, kept = _reserve(cursor[:3], found, capacity)
    starts.copy_(start)
    counts.copy_(kept)
    slot = start[:, None] + inside.cumsum(1) - 1
    slot = torch.where(inside & (kept > 0)[:, None], slot, capacity).flatten()
    _put(distances, slot, t.flatten())
    _put(positions, slot, where.flatten(0, 1))


def shorten(
    logarithms, starts, counts, distances, positions, stride,
    new_starts, new_counts, new_rays, new_distances, new_widths, new_positions, cursor,
    rays, capacity, step, bound, *, TRAIN, WIDTH, LARGEST, OPAQUE, RAYS, STEPS,
):  # fmt: skip
    step = step * stride if TRAIN else step
    ray, rank, valid = _places(starts, counts, len(distances))
    optical = truncated_exponential(logarithms.view(-1, WIDTH)[:, 0]) * step
    before = _before(optical, ray, starts, valid)
    seen = valid & (before <= bound)
    found = _sum(seen.long(), ray, rays)
    start, kept = _reserve(cursor[3:], found, capacity)
    new_starts.copy_(start)
    new_counts.copy_(kept)
    ray = ray.clamp(max=rays - 1)
    slot = torch.where(valid & (rank < kept[ray]), start[ray] + rank, capacity)
    _put(new_rays, slot, ray.to(new_rays.dtype))
    _put(new_distances, slot, distances)
    _put(new_widths, slot, torch.ones_like(distances) * step)
    _put(new_positions, slot, positions)


def repeat(cursor, usage, rays_of, distances, positions, capacity, *, FOLD, BLOCK):
    used = cursor[4]
    slot = torch.arange(capacity, device=positions.device)
    source = slot % used.clamp(min=1)
    empty = (used == 0) & (slot >= used)
    rays_of.copy_(torch.where(empty, 0, rays_of[source]))
    distances.copy_(torch.where(empty, 0.0, distances[source]))
    positions.copy_(torch.where(empty[:, None], 0.5, positions[source]))
    if FOLD:
        usage[:2].copy_(torch.maximum(usage[:2], cursor[0:4:3]))
        usage[2] += cursor[2] + cursor[5]
        usage[3].copy_(cursor[0])


def color_inputs(geometry, directions, rays_of, out, logarithms, points, *, WIDTH, BLOCK):
    out.copy_(torch.cat((geometry, spherical_harmonics(directions).index_select(0, rays_of)), 1))
    logarithms.copy_(geometry[:, 0])


def color_inputs_backward(of_out, of_logarithms, of_geometry, points, *, WIDTH, BLOCK):
    of_geometry.copy_(of_out[:, :WIDTH])
    of_geometry[:, 0] += of_logarithms


def composite(
    logarithms, logits, widths, distances, scale, starts, counts, cursor,
    color, opacity, depth, weights, before, rays, points, ray_programs,
    *, TAIL, LARGEST, OPAQUE, RAYS, STEPS, BLOCK,
):  # fmt: skip
    results = _composite(logarithms, logits, widths, distances, scale, starts, counts)
    for out, result in zip((color, opacity, depth, weights, before), results, strict=True):
        out.copy_(result)


def composite_backward(
    logarithms, logits, widths, distances, scale, starts, counts, cursor, weights, before,
    of_color, of_opacity, of_depth, of_weights, of_logarithms, of_logits, rays, points, ray_programs,
    *, COLOR, OPACITY, DEPTH, WEIGHTS, TAIL, LARGEST, OPAQUE, STEEPEST, RAYS, STEPS, BLOCK,
):  # fmt: skip
    with torch.enable_grad():
        free = [tensor.detach().clone().requires_grad_() for tensor in (logarithms, logits)]
        results = _composite(free[0], free[1], widths, distances, scale, starts, counts)
        grads, there = (of_color, of_opacity, of_depth, of_weights), (COLOR, OPACITY, DEPTH, WEIGHTS)
        outs = [result for result, given in zip(results, there, strict=False) if given]
        upstream = [grad for grad, given in zip(grads, there, strict=True) if given]
        found = torch.autograd.grad(outs, free, upstream, materialize_grads=True)
    of_logarithms.copy_(found[0])
    of_logits.copy_(found[1])


def mid_gray(color, opacity, out, rays, *, BLOCK, ALPHA):
    out.copy_(to_channels(color, opacity)[:, : 3 + ALPHA])


def mid_gray_backward(of_out, of_color, of_opacity, rays, *, BLOCK, ALPHA):
    of_color.copy_(of_out[:, :3])
    of_opacity.copy_(-of_out[:, :3].sum(1) / 2 + of_out[:, 3:].sum(1) / 2)


def propose(
    origins, directions, center, key, counter, edges, jitter, positions,
    rays, side, first, last, *, TRAIN, INVERSE, COUNT, RAYS,
):  # fmt: skip
    shift = None
    jitter.fill_(0.5)
    if TRAIN:
        shift, second = _uniform(key, counter, rays, 2, origins.dtype).split(1, -1)
        jitter.copy_(second[:, 0])
    share = torch.arange(COUNT + 1, device=origins.device, dtype=origins.dtype) / COUNT
    edges.copy_(share.expand(rays, -1))
    if shift is not None:
        edges[:, 1:-1] += (shift - 0.5) / COUNT
    distances = _distances(edges, first, last, INVERSE)
    middles = (distances[:, 1:] + distances[:, :-1]) / 2
    unit = directions / _lengths(directions) if INVERSE else directions
    positions.copy_(_to_cube(origins, unit, middles, center, side, INVERSE))


def resample(
    logarithms, origins, directions, center, edges, jitter,
    proposed, finer, along, scale, starts, counts, rays_of, distances, widths, positions,
    rays, side, first, last, least, *, INVERSE, BEYOND, ENDLESS, LARGEST, OPAQUE, COUNT, KEPT, RAYS,
):  # fmt: skip
    lengths = _lengths(directions)
    proposed.copy_(_proposed(logarithms, edges, lengths, side, first, last, INVERSE, BEYOND, ENDLESS))
    finer.copy_(unbounded.resample(edges, proposed, KEPT, jitter=jitter[:, None], least=least))
    along.copy_(directions / lengths)
    scale.copy_(1 / lengths[:, 0] if INVERSE else torch.ones_like(scale))
    n = torch.arange(rays, device=origins.device)
    starts.copy_(n * KEPT)
    counts.fill_(KEPT)
    rays_of.view(rays, KEPT).copy_(n[:, None].expand(-1, KEPT))
    middles, wide = _middles(finer, lengths, side, first, last, INVERSE, BEYOND, ENDLESS)
    distances.copy_(middles.flatten())
    widths.copy_(wide.flatten())
    unit = along if INVERSE else directions
    positions.copy_(_to_cube(origins, unit, middles, center, side, INVERSE))


def ray_losses(weights, finer, proposed, edges, loss, rays, distortion, *, EPSILON, COUNT, KEPT, RAYS):
    weights = weights.view(rays, KEPT)
    missed = unbounded.proposal_loss(weights, finer, proposed, edges)
    loss.copy_(missed + distortion * unbounded.distortion_loss(weights, finer))


def ray_losses_backward(
    weights, finer, proposed, edges, logarithms, directions, upstream, of_weights, of_logarithms,
    rays, side, first, last, distortion,
    *, EPSILON, INVERSE, BEYOND, ENDLESS, LARGEST, OPAQUE, STEEPEST, COUNT, KEPT, RAYS,
):  # fmt: skip
    with torch.enable_grad():
        free = [tensor.detach().clone().requires_grad_() for tensor in (weights, logarithms)]
        own = _proposed(free[1], edges, _lengths(directions), side, first, last, INVERSE, BEYOND, ENDLESS)
        kept = free[0].view(rays, KEPT)
        loss = unbounded.proposal_loss(kept, finer, own, edges)
        loss = loss + distortion * unbounded.distortion_loss(kept, finer)
        found = torch.autograd.grad(loss.mean(), free, upstream)
    of_weights.copy_(found[0])
    of_logarithms.copy_(found[1].view(of_logarithms.shape))


def photo_pixels(coords, pixels, view_starts, sizes, out, count, views, height, width, *, CHANNELS, BLOCK):
    view = (coords[:, 0] * views).long().clamp(0, views - 1)
    size = sizes[view]
    native = coords[:, 1:] * coords.new_tensor([height, width])
    position = (native - 0.5).clamp(min=0).minimum(size - 1)
    first = position.long()
    second = (first + 1).minimum(size - 1)
    fraction = position - first
    start, columns = view_starts[view], size[:, 1]

    def row(rows: Tensor) -> Tensor:
        left, right = (pixels[start + rows * columns + cells[:, 1]].to(coords) for cells in (first, second))
        return torch.lerp(left, right, fraction[:, 1:])

    values = torch.lerp(row(first[:, 0]), row(second[:, 0]), fraction[:, :1]) / 255
    out.copy_(values if CHANNELS == 3 else to_channels(values[:, :3], values[:, 3]))


def photo_rays(
    coords, focal, center, poses, coefficients, origins, directions, count, views, height, width, near, across, down,
    *, COEFFICIENTS, ITERATIONS, NDC, BLOCK,
):  # fmt: skip
    view = (coords[:, 0] * views).long().clamp(0, views - 1)
    points = (coords[:, 1:] * coords.new_tensor([height, width])).flip(-1)
    points = (points - center[view]) / focal[view]
    plane = undistort(points, coefficients[view]) if COEFFICIENTS else points
    local = torch.cat((plane, torch.ones_like(plane[:, :1])), -1)
    pose = poses[view]
    seen = torch.nn.functional.normalize((pose[:, :, :3] * local[:, None]).sum(-1), dim=-1)
    rays = Rays(pose[:, :, 3], seen)
    if NDC:
        rays = to_ndc(rays, (across, down), near)
    origins.copy_(rays.origins)
    directions.copy_(rays.directions)


def _uniform(key: Tensor, counter: Tensor, n: int, dim: int, dtype: torch.dtype) -> Tensor:
    """What the stream of this state gives next, without taking it."""
    stream = RandomStream(0)
    stream.key, stream.counter = key, counter.clone()
    # The kernels have 24 bits, whatever the type.
    return stream.uniform(n, dim).to(dtype)


def _reserve(cursor: Tensor, found: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Where each ray's points begin, and how many it has: none where they do not fit. Counts in ``cursor`` (3,)."""
    ends = found.cumsum(0)
    kept = torch.where(ends <= capacity, found, 0)
    start = torch.where(ends <= capacity, ends - found, 0)
    cursor[0].copy_(ends[-1])
    cursor[1].copy_((start + kept).amax())
    cursor[2].copy_(((ends > capacity) & (found > 0)).sum())
    return start, kept


def _put(buffer: Tensor, slot: Tensor, values: Tensor) -> None:
    """Writes values (M, ...) to slots (M,) of a buffer (C, ...); slot C is none of it."""
    whole = torch.cat((buffer, buffer.new_zeros(1, *buffer.shape[1:])))
    whole[slot] = values.to(buffer.dtype)
    buffer.copy_(whole[:-1])


def _places(starts: Tensor, counts: Tensor, capacity: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ray of each slot, N where there is none, its place on it, and whether there is one; (C,) each."""
    order = torch.where(counts > 0, starts, capacity).argsort()
    # The rest of the buffer belongs to one ray more.
    rays = torch.cat((order, torch.full_like(order[:1], len(starts))))
    lengths = torch.cat((counts[order].long(), (capacity - counts.sum()).view(1)))
    ray = torch.repeat_interleave(rays, lengths, output_size=capacity)
    slot = torch.arange(capacity, device=starts.device)
    valid = ray < len(starts)
    return ray, torch.where(valid, slot - starts[ray.clamp(max=len(starts) - 1)], 0), valid


def _before(optical: Tensor, ray: Tensor, starts: Tensor, valid: Tensor) -> Tensor:
    """Optical depth on each point's ray before it, (C,) float64."""
    # A running sum over all rays, of which each takes its own stretch: in float64, or far rays would drown near ones.
    bounded = torch.where(valid, optical.double().clamp(max=OPAQUE), 0)
    through = bounded.cumsum(0) - bounded
    first = starts.long().clamp(max=len(optical) - 1)[ray.clamp(max=len(starts) - 1)]
    return torch.where(valid, (through - through[first]).clamp(min=0), 0)


def _sum(values: Tensor, ray: Tensor, rays: int) -> Tensor:
    """Sums over the points of each ray, (N, ...)."""
    return values.new_zeros(rays + 1, *values.shape[1:]).index_add(0, ray, values)[:rays]


def _composite(
    logarithms: Tensor, logits: Tensor, widths: Tensor, distances: Tensor, scale: Tensor, starts: Tensor, counts: Tensor
) -> tuple[Tensor, ...]:  # fmt: skip
    ray, _, valid = _places(starts, counts, len(logarithms))
    optical = (truncated_exponential(logarithms) * torch.where(valid, widths, 0)).double()
    before = _before(optical, ray, starts, valid)
    weights = torch.where(valid, -torch.expm1(-optical) * torch.exp(-before), 0).to(logarithms.dtype)
    rays = len(starts)
    return (
        _sum(weights[:, None] * logits.sigmoid(), ray, rays),
        _sum(weights, ray, rays),
        _sum(weights * distances, ray, rays) * scale,
        weights,
        before.to(weights.dtype),
    )


def _lengths(directions: Tensor) -> Tensor:
    return directions.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def _distances(edges: Tensor, first: float, last: float, inverse: bool) -> Tensor:
    spread = first + edges * (last - first)
    if not inverse:
        return spread
    return torch.where(spread < 0.5, 2 * spread, 0.5 / (1 - spread.clamp(min=0.5)))


def _middles(
    edges: Tensor,
    lengths: Tensor,
    side: float,
    first: float,
    last: float,
    inverse: bool,
    beyond: bool,
    endless: float,
) -> tuple[Tensor, Tensor]:
    """Middles and widths (N, S) of intervals with edges (N, S + 1)."""
    distances = _distances(edges, first, last, inverse)
    widths = distances.diff(dim=-1) * ((1 if inverse else lengths) / side)
    if beyond:
        widths = torch.cat([widths[:, :-1], torch.full_like(widths[:, :1], endless)], -1)
    return (distances[:, 1:] + distances[:, :-1]) / 2, widths


def _proposed(
    logarithms: Tensor, edges: Tensor, lengths: Tensor, side: float, first: float, last: float, inverse: bool, beyond: bool, endless: float
) -> Tensor:  # fmt: skip
    """Weights (N, S) of the proposal."""
    _, widths = _middles(edges, lengths, side, first, last, inverse, beyond, endless)
    optical = (truncated_exponential(logarithms.flatten()).view(widths.shape) * widths).double()
    bounded = optical.clamp(max=OPAQUE)
    return (-torch.expm1(-optical) * torch.exp(-(bounded.cumsum(-1) - bounded))).to(widths.dtype)


def _to_cube(
    origins: Tensor, unit: Tensor, middles: Tensor, center: Tensor, side: float, inverse: bool
) -> Tensor:
    points = (origins[:, None] + middles[..., None] * unit[:, None]).view(-1, 3)
    return ((contract(points) if inverse else points) - center) / side + 0.5


KERNELS = (
    *(
        "march",
        "shorten",
        "repeat",
        "color_inputs",
        "color_inputs_backward",
        "composite",
        "composite_backward",
    ),
    *("mid_gray", "mid_gray_backward", "propose", "resample", "ray_losses", "ray_losses_backward"),
    *("photo_pixels", "photo_rays"),
)
"""Names of all kernels."""
