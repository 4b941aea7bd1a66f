"""Every GPU kernel of a radiance field on small inputs, by what calls it: ``CASES[name](device)`` gives tensors to compare."""

import numpy as np
import torch
from torch.nn import functional

from softmine.radiance import gpu
from softmine.radiance.cameras import Camera, Cameras
from softmine.radiance.scenes.scene import Ndc
from softmine.sampling.random import RandomStream

STEP = 1 / 24
SIDE = 16


def numbers(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def rays_of(count):
    """From around a cube of side 4 about (1, 0, 0), and from within, towards places in and beside it; one along a face."""
    origins = 6 * functional.normalize(numbers(0, count, 3) - 0.5, dim=-1)
    origins[: count // 4] = 2 * numbers(1, count // 4, 3) - 1
    directions = 5 * (numbers(2, count, 3) - 0.5) - origins
    origins[-1], directions[-1] = torch.tensor([-5.0, 2.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    return origins + torch.tensor([1.0, 0.0, 0.0]), directions


def cells():
    coarse = numbers(3, 1, 1, 4, 4, 4)
    return functional.interpolate(coarse, size=(SIDE,) * 3, mode="trilinear")[0, 0] > 0.5


def marched_on(device, capacity, count=37, training=True, stride=2):
    origins, directions = (tensor.to(device) for tensor in rays_of(count))
    return gpu.march(
        origins,
        directions,
        torch.tensor([1.0, 0.0, 0.0], device=device),
        4.0,
        cells().to(device),
        RandomStream(5).to(device),
        torch.tensor(stride, device=device),
        step=STEP,
        near=0.2,
        training=training,
        capacity=capacity,
    )


def shortened_on(device, capacity, **settings):
    marched = marched_on(device, 600, **settings)
    geometry = (6 * numbers(7, 600, 4) - 2).to(device)
    usage = torch.zeros(5, dtype=torch.int32, device=device)
    points = gpu.shorten(
        marched,
        geometry,
        torch.tensor(2, device=device),
        usage,
        step=STEP,
        hidden=0.02,
        training=True,
        capacity=capacity,
    )
    return points, usage


def by_ray(points):
    """What each ray has, whatever the order of rays in the buffer: (N, most, 5)."""
    counts = points.counts.long()
    k = torch.arange(int(counts.max()), device=counts.device)
    inside = k < counts[:, None]
    slot = torch.where(inside, points.starts[:, None] + k, 0).long()
    columns = [points.distances[:, None], points.points]
    columns += [points.widths[:, None]] if len(points.widths) else []
    values = torch.cat(columns, 1)[slot]
    return counts, torch.where(inside[..., None], values, 0)


def march(device):
    points = marched_on(device, 600)
    return *by_ray(points), points.along, points.scale, points.cursor


def march_in_evaluation(device):
    points = marched_on(device, None, training=False)
    assert len(points.distances) - gpu.BLOCK < points.cursor[0] == points.counts.sum() > 100
    return *by_ray(points), points.cursor


def march_without_room(device):
    points = marched_on(device, 50)
    assert 0 < points.counts.sum() <= 50 < points.cursor[0]
    # Which rays are left out depends on the order of programs; how many are wanted does not.
    return (points.cursor[0],)


def shorten(device):
    points, usage = shortened_on(device, 400)
    assert 0 < points.counts.sum() < marched_on(device, 600).counts.sum()
    used = int(points.cursor[4])
    # The rest of the buffer repeats its points.
    assert torch.equal(points.points[used : 2 * used], points.points[:used][: 400 - used])
    assert torch.equal(points.rays[used : 2 * used], points.rays[:used][: 400 - used])
    return *by_ray(points), points.cursor, usage


def shorten_without_room(device):
    points, usage = shortened_on(device, 40)
    assert 0 < points.counts.sum() <= 40 < points.cursor[3]
    assert usage[2] == points.cursor[5] > 0
    return points.cursor[3], usage[:2]


def nothing_there(device):
    points, usage = shortened_on(device, 40)
    empty = points._replace(cursor=torch.zeros_like(points.cursor))
    gpu._launch(
        "repeat", 1, points.points, empty.cursor, usage, points.rays, points.distances, points.points, 40,
        FOLD=False, BLOCK=gpu.BLOCK,
    )  # fmt: skip
    return points.rays, points.distances, points.points


def color_inputs(device):
    points, _ = shortened_on(device, 400)
    geometry = (numbers(8, 400, 4) - 0.5).to(device).requires_grad_()
    # The order of rays in the buffer is not always the same.
    points = points._replace(rays=(numbers(9, 400) * 37).int().to(device))
    inputs, logarithms = gpu.color_inputs(geometry, points)
    upstream = numbers(10, 400, 20).to(device), numbers(11, 400).to(device)
    (found,) = torch.autograd.grad((inputs, logarithms), geometry, upstream)
    return inputs, logarithms, found


def packed(device, counts, room):
    """Points of rays in order, with slots of none behind; some are walls."""
    counts = torch.tensor(counts, dtype=torch.int32)
    total = int(counts.sum())
    widths = 0.3 * numbers(12, room)
    widths[3::11] = 1e10
    points = gpu.Points(
        (counts.cumsum(0) - counts).int(),
        counts,
        torch.zeros(room, dtype=torch.int32),
        numbers(13, room),
        widths,
        torch.zeros(room, 3),
        torch.zeros(len(counts), 3),
        1 + numbers(14, len(counts)),
        torch.tensor([0, 0, 0, total, total, 0], dtype=torch.int32),
    )
    return gpu.Points(*(tensor.to(device) for tensor in points))


def composite_of(device, points, wanted=(0, 1, 2, 3)):
    room, rays = len(points.rays), len(points.counts)
    logarithms = (6 * numbers(15, room) - 3).to(device)
    logarithms[5::13] = 14.0
    logarithms[7::17] = 90.0
    logarithms.requires_grad_()
    logits = (4 * numbers(16, room, 3) - 2).to(device).requires_grad_()
    results = gpu.composite(logarithms, logits, points)
    upstream = numbers(17, rays, 3), numbers(18, rays), numbers(19, rays), numbers(20, room)
    upstream = [(tensor - 0.5).to(device) for tensor in upstream]
    chosen = [(results[i], upstream[i]) for i in wanted]
    outs, grads = zip(*chosen, strict=True)
    found = torch.autograd.grad(outs, (logarithms, logits), grads, materialize_grads=True)
    if points.cursor is not None:
        used = int(points.cursor[4])
        for tensor in (results[3], *found):
            assert not tensor[used:].any()
    return *results, *found


COUNTS = [3, 0, 40, 17, 16, 1, 0, 33, 5, 2, 64]


def composite(device):
    return composite_of(device, packed(device, COUNTS, 300))


def composite_color_alone(device):
    return composite_of(device, packed(device, COUNTS, 181), (0,))


def composite_without_color(device):
    return composite_of(device, packed(device, COUNTS, 200), (1, 3))


def composite_every_slot(device):
    return composite_of(device, packed(device, [16] * 9, 144)._replace(cursor=None))


def mid_gray(device, channels=4):
    color, opacity = numbers(21, 45, 3).to(device), numbers(22, 45).to(device)
    inputs = color.requires_grad_(), opacity.requires_grad_()
    out = gpu.mid_gray(*inputs, channels)
    return out, *torch.autograd.grad(out, inputs, numbers(23, 45, channels).to(device))


def mid_gray_of_photos(device):
    return mid_gray(device, 3)


def unbounded(device, inverse=True, beyond=None, training=True):
    origins = (2 * numbers(24, 21, 3) - 1).to(device)
    directions = (2 * numbers(25, 21, 3) - 1).to(device)
    ends = (0.05 / 2, 1 - 0.5 / 100) if inverse else (0.1, 1.0)
    center = torch.tensor([0.0, 0.1, 0.2], device=device)
    stretch = gpu.Stretch(center, 4.0, *ends, inverse, beyond, 32, 16)
    proposal = gpu.propose(origins, directions, stretch, RandomStream(6).to(device), training=training)
    logarithms = (8 * numbers(26, 21 * 32) - 4).to(device).requires_grad_()
    points, proposed, finer = gpu.resample(logarithms, proposal, origins, directions, stretch, 0.01)
    weights = (numbers(27, 21 * 16) / 16).to(device).requires_grad_()
    # Edges to compare gradients at must be the same.
    arguments = logarithms, proposed, finer, proposal, directions, stretch, 0.5
    loss = gpu.ray_losses(weights, *arguments)
    found = torch.autograd.grad(loss, (weights, logarithms), torch.tensor(3.0, device=device))
    return *proposal, *points[:-1], proposed, finer, loss, *found


def unbounded_opaque(device):
    return unbounded(device, beyond=1e10)


def device_coordinates(device):
    return unbounded(device, inverse=False, training=False)


def device_coordinates_opaque(device):
    return unbounded(device, inverse=False, beyond=1e10)


def coords_of(device):
    coords = 1.2 * numbers(28, 200, 3) - 0.1
    coords[:, 0] = numbers(29, 200)
    return coords.to(device)


def photo_pixels(device, channels=4):
    sizes = torch.tensor([[5, 7], [6, 4], [3, 3]])
    lengths = sizes.prod(1)
    pixels = (256 * numbers(30, int(lengths.sum()), channels)).to(torch.uint8)
    tables = (tensor.to(device) for tensor in (pixels, lengths.cumsum(0) - lengths, sizes))
    return (gpu.photo_pixels(coords_of(device), *tables, (3, 6, 7)),)


def photo_pixels_without_alpha(device):
    return photo_pixels(device, 3)


def photo_rays(device, distortion=((), (), ()), ndc=None):
    turned = np.array([[0.6, 0.8, 0.0, 1.0], [-0.8, 0.6, 0.0, 2.0], [0.0, 0.0, 1.0, 3.0]])
    flipped = np.array([[1.0, 0.0, 0.0, 0.1], [0.0, -1.0, 0.0, 0.2], [0.0, 0.0, -1.0, 0.3]])
    if ndc:
        turned = flipped
    cameras = [Camera(7, 5, (6.0, 5.0), (3.4, 2.6), tuple(each) or (0.0,) * 6) for each in distortion]
    built = Cameras(cameras, [flipped, turned, flipped]).to(device)
    return gpu.photo_rays(coords_of(device), built, (3, 6, 7), ndc)


def photo_rays_distorted(device):
    return photo_rays(device, ((0.1, -0.02, 0.0, 0.0, 0.01, -0.01), (), (0.05, 0.0, 0.01, 0.0, 0.0, 0.0)))


def photo_rays_rational(device):
    return photo_rays(device, ((0.1, -0.02, 0.0, 0.0, 0.01, -0.01, 0.05, 0.01, 0.0), (), ()))


def photo_rays_device_coordinates(device):
    return photo_rays(device, ndc=Ndc((1.5, 1.25), 1.0))


CASES = {
    case.__name__: case
    for case in (
        march, march_in_evaluation, march_without_room, shorten, shorten_without_room, nothing_there, color_inputs,
        composite, composite_color_alone, composite_without_color, composite_every_slot, mid_gray, mid_gray_of_photos,
        unbounded, unbounded_opaque, device_coordinates, device_coordinates_opaque, photo_pixels,
        photo_pixels_without_alpha, photo_rays, photo_rays_distorted, photo_rays_rational,
        photo_rays_device_coordinates,
    )
}  # fmt: skip
