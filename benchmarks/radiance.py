"""Times volume rendering by rays and points: each stage, the compiled loops against plain torch, and a whole step.

    python benchmarks/radiance.py --out benchmarks/results/radiance.json

Compositing is timed on packed points alone, forward and backward. A step is timed with an occupancy grid that holds a
shell about as thick as that of a trained scene, so that rays have a few points each; the photos' colors do not matter
to its time. All figures are medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

# As the command line does, before torch is loaded: idle OpenMP threads must not spin beside busy ones.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch.nn import functional

from softmine.kernels import set_threads
from softmine.optim import RowAdam
from softmine.radiance.bounded_rays import march
from softmine.radiance.compositing import composite, composite_twin, visible
from softmine.radiance.field import RadianceField

RAYS = (1024, 2048, 8192)
POINTS = (4, 16, 60)


def median(function: Callable[[], object], repeats: int) -> float:
    """Milliseconds of a call."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times), 3)


def compositing(rays: int, points: int, repeats: int) -> dict[str, float]:
    """Forward and backward of packed points, compiled and in plain torch."""
    counts = torch.randint(0, 2 * points + 1, (rays,))
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    total = int(starts[-1])
    density, colors = torch.rand(total, requires_grad=True), torch.rand(total, 3, requires_grad=True)
    widths, distances = torch.full((total,), 0.1), torch.rand(total)
    upstream = torch.rand(rays, 5)

    def compiled() -> None:
        rendered = composite(density, colors, widths, distances, starts)
        out = torch.cat([rendered.color, rendered.opacity[:, None], rendered.depth[:, None]], 1)
        torch.autograd.grad(out, [density, colors], upstream)

    def plain() -> None:
        out = composite_twin(density, colors, widths, distances, starts)[1]
        torch.autograd.grad(out, [density, colors], upstream)

    return {
        "rays": rays,
        "points": points,
        "compiled": median(compiled, repeats),
        "torch": median(plain, repeats),
        "visible": median(lambda: visible(density.detach(), widths, starts), repeats),
    }


def shell(side: int, thickness: float) -> torch.Tensor:
    """Cells around a sphere of radius 0.25 in the middle of the cube."""
    axis = (torch.arange(side) + 0.5) / side - 0.5
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
    return (radius - 0.25).abs() < thickness / 2


def rays_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """From around a cube of side 3, towards places in it."""
    origins = 4 * functional.normalize(torch.randn(count, 3), dim=-1)
    return origins, functional.normalize(1.5 * (2 * torch.rand(count, 3) - 1) - origins, dim=-1)


def step(rays: int, thickness: float, repeats: int) -> dict[str, float]:
    """A whole step, and its marching alone."""
    field = RadianceField(((-1.5,) * 3, (1.5,) * 3), seed=0)
    bounded = field.rays
    bounded.occupancy.occupied.copy_(shell(bounded.occupancy.side, thickness))
    bounded.stride.fill_(1)
    optimizer = RowAdam(field.parameters(), lr=1e-3, batch_size=rays)
    target = torch.rand(rays, 3)

    def train() -> None:
        loss = (field(*rays_of(rays)).color - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    origins, directions = rays_of(rays)
    unit = field.to_unit(origins)
    whole = median(train, repeats)
    return {
        "rays": rays,
        "points": round(field.costs.float().mean().item(), 1),
        "march": median(
            lambda: march(unit, directions, bounded.occupancy.occupied, step=bounded.step), repeats
        ),
        "step": whole,
    }


def table(rows: list[dict[str, float]]) -> None:
    names = list(rows[0])
    print("  ".join(f"{name:>9}" for name in names))
    for row in rows:
        print("  ".join(f"{row[name]:>9}" for name in names))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    # As the trainer does.
    threads = torch.get_num_threads()
    set_threads(threads)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    composited = [compositing(rays, points, arguments.repeats) for rays in RAYS for points in POINTS]
    table(composited)
    steps = [step(rays, thickness, arguments.repeats) for rays in RAYS for thickness in (0.02, 0.06)]
    table(steps)
    if arguments.out:
        result = {
            "machine": platform.processor() or platform.machine(),
            "threads": threads,
            "torch": torch.__version__,
            "compositing": composited,
            "steps": steps,
        }
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
