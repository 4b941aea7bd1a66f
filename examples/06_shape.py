"""A signed distance field of a shape in a loop of your own, and the mesh that comes out of it.

Usage: python examples/06_shape.py [--steps 400] [--out knot.ply]
"""

import argparse
from pathlib import Path

import torch

import softmine
from softmine.optim import RowAdam
from softmine.tasks.meshing import marching_cubes, write_mesh


def train(shape, sampler, steps):
    """Fits a hash grid to the signed distance of ``shape``."""
    torch.manual_seed(0)
    field = softmine.HashGridField(dim=3, channels=1, log2_table_size=17, finest_resolution=256)
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=sampler.batch_size)
    for _ in range(steps):
        # Exact distances are cheap enough for new points in every step.
        batch = sampler.draw()
        residual = field(batch.coords) - shape(batch.coords)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = (weights * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sampler.update(batch, error)
    return field


def overlap(field, shape, side=64):
    """Intersection over union of the volumes inside, on a grid of side^3 points."""
    grid = softmine.Box((side,) * 3)
    coords = grid.centers(torch.arange(grid.cells))
    with torch.no_grad():
        found = torch.cat([shape.is_inside(field(part)) for part in coords.split(2**16)])
    known = shape.is_inside(shape(coords))
    return ((found & known).sum() / (found | known).sum()).item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("knot.ply"))
    options = parser.parse_args()
    shape = softmine.Shape.builtin("knot")  # or softmine.Shape.read("model.obj")
    samplers = {
        "uniform": softmine.Uniform(shape.domain, batch_size=4096, seed=0),
        "auto": softmine.auto(shape, batch_size=4096, snap=False, seed=0),
    }
    for name, sampler in samplers.items():
        field = train(shape, sampler, options.steps)
        print(f"{name:8} IoU {overlap(field, shape):.3f} after {options.steps} steps")

    @torch.no_grad()
    def inside(coords):
        return 0.5 - field(coords).squeeze(1)

    vertices, faces = marching_cubes(inside, 128)
    write_mesh(options.out, shape.to_mesh(vertices), faces)
    print(f"{options.out}: {len(faces):,} triangles")


if __name__ == "__main__":
    main()
