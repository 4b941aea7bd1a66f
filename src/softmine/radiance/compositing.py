"""Volume rendering of packed points: alpha compositing along rays (Max, IEEE TVCG 1995; arXiv 2003.08934, eq. 3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from softmine.domain import SoftmineError
from softmine.kernels import backend_for, thread_pool
from softmine.radiance.ray_types import Counts, PerPoint, PerRay, RayOfPoint, Starts

OPAQUE = 60.0
"""Density times width from which one more point is as good as a wall: it lets 1e-26 of the light through. Sums over many rays, of
which some end in walls 1e10 wide, keep their digits if no point adds more."""


class Rendered(NamedTuple):
    """What rays see.

    Attributes:
        color: premultiplied by opacity, (N, C).
        opacity: share of the light that the ray did not let through, (N,) in [0, 1].
        depth: sum of the weights times the distances, (N,); divided by the opacity it is a mean distance.
        weights: how much each packed point counts in its ray, (P,); those of a ray add up to its opacity.
    """

    color: Float[Tensor, "n c"]
    opacity: PerRay
    depth: PerRay
    weights: PerPoint


def composite(
    density: PerPoint,
    colors: Float[Tensor, "p c"],
    widths: PerPoint,
    distances: PerPoint,
    starts: Starts,
) -> Rendered:
    """Color, opacity and depth of rays from the points on them.

    A point stands for an interval of constant density: alpha = 1 - exp(-density * width). Its weight is alpha times
    the transmittance, the product of 1 - alpha over the points before it.

    Args:
        density: of each point, (P,), at least 0, per unit of distance.
        colors: (P, C).
        widths: of the intervals, (P,), at least 0.
        distances: along the ray, (P,), for the depth alone.
        starts: points ``starts[n]`` up to ``starts[n + 1]``, front to back, belong to ray n; int64 (N + 1,). A ray
            may have none: its values are 0.

    Returns:
        ``Rendered``, once differentiable in density, colors, widths and distances.

    Raises:
        SoftmineError: ``starts`` does not end at the number of points.

    Example:
        >>> rendered = composite(torch.tensor([2.0]), torch.ones(1, 3), torch.ones(1), torch.ones(1), torch.tensor([0, 1]))
        >>> rendered.opacity
        tensor([0.8647])
    """
    if len(starts) < 1 or (starts.device.type == "cpu" and int(starts[-1]) != len(density)):
        raise SoftmineError(
            f"starts must end at the number of points, {len(density)}, not at {starts[-1:].tolist()}"
        )
    if _compiled(density):
        weights, out = _Composite.apply(density, colors, widths, distances, starts)  # pyright: ignore[reportGeneralTypeIssues]
    else:
        weights, out = composite_twin(density, colors, widths, distances, starts)
    channels = colors.shape[1]
    return Rendered(out[:, :channels], out[:, channels], out[:, channels + 1], weights)


def composite_twin(
    density: Tensor, colors: Tensor, widths: Tensor, distances: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights (P,), and color, opacity and depth side by side (N, C + 2), in plain torch."""
    check_device(density.device)
    optical = (density * widths).double()
    # A running sum over all rays, of which each takes its own stretch: in float64, or far rays would drown near ones.
    through = torch.cat([optical.new_zeros(1), optical.clamp(max=OPAQUE).cumsum(0)])
    rays = ray_of_each(starts, len(density))
    before = (through[:-1] - through[starts[:-1]][rays]).clamp(min=0)
    weights = (-torch.expm1(-optical) * torch.exp(-before)).to(density.dtype)
    values = torch.cat([colors, torch.ones_like(distances)[:, None], distances[:, None]], 1)
    out = values.new_zeros(len(starts) - 1, values.shape[1])
    return weights, out.index_add(0, rays, weights[:, None] * values)


def visible(
    density: PerPoint,
    widths: PerPoint,
    starts: Starts,
    threshold: float = 1e-4,
) -> Counts:
    """How many points of each ray, from the front, light reaches: transmittance before them at least ``threshold``.

    Args:
        density: (P,), at least 0.
        widths: (P,).
        starts: of the rays, (N + 1,).
        threshold: in (0, 1).

    Returns:
        Counts, int64 (N,).
    """
    if not 0 < threshold < 1:
        raise SoftmineError(f"a threshold of transmittance lies between 0 and 1, not at {threshold}")
    if _compiled(density):
        from softmine.radiance import cpu_kernels

        counts = torch.empty(len(starts) - 1, dtype=torch.int64)
        arrays = (_array(density), _array(widths), _array(starts), threshold, counts.numpy())
        thread_pool.run(cpu_kernels.visible, *arrays, parts=-(-len(counts) // cpu_kernels.RAYS))
        return counts
    check_device(density.device)
    optical = (density * widths).double().clamp(max=OPAQUE)
    through = torch.cat([optical.new_zeros(1), optical.cumsum(0)])
    rays = ray_of_each(starts, len(density))
    seen = (through[:-1] - through[starts[:-1]][rays]) <= -torch.tensor(threshold).double().log()
    return torch.zeros_like(starts[:-1]).index_add(0, rays, seen.long())


def check_device(device: torch.device) -> None:
    """Raises SoftmineError if a device has no float64, in which light along many rays is added up."""
    if device.type == "mps":
        raise SoftmineError("radiance fields need float64, which Apple GPUs have not: choose --device cpu")


def ray_of_each(starts: Starts, points: int) -> RayOfPoint:
    """Ray of each of ``points`` packed points, int64 (P,)."""
    rays = torch.arange(len(starts) - 1, device=starts.device)
    return torch.repeat_interleave(rays, starts.diff(), output_size=points)


def _compiled(density: Tensor) -> bool:
    return not torch.compiler.is_compiling() and backend_for(density, density) == "numba"


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, density, colors, widths, distances, starts):
        from softmine.radiance import cpu_kernels

        inputs = [tensor.contiguous() for tensor in (density, colors, widths, distances, starts)]
        weights = torch.empty_like(inputs[0])
        out = colors.new_empty(len(starts) - 1, colors.shape[1] + 2)
        parts = -(-len(out) // cpu_kernels.RAYS)
        thread_pool.run(
            cpu_kernels.composite, *map(_array, inputs), weights.numpy(), out.numpy(), parts=parts
        )
        ctx.save_for_backward(*inputs, weights)
        ctx.parts = parts
        return weights, out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        from softmine.radiance import cpu_kernels

        saved = ctx.saved_tensors
        results = [torch.empty_like(tensor) for tensor in saved[:4]]
        arrays = map(_array, (*saved, *grads, *results))
        thread_pool.run(cpu_kernels.composite_backward, *arrays, parts=ctx.parts)
        return *results, None
