"""A volume with missing data in a loop of your own: samples fall only where there is some.

Usage: python examples/05_volume.py [FILE] [--steps 400]
"""

import argparse

import numpy as np
import torch

import softmine


def ball():
    """The built-in volume with everything outside of a ball taken away."""
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in (64, 64, 48)]
    radius = np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij")), axis=0)
    volume = softmine.Volume.builtin()
    voxels = np.concatenate([volume.slab(layer, layer + 1) for layer in range(64)])[..., 0]
    voxels[radius > 0.95] = np.nan
    return softmine.Volume(voxels, "ball")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    volume = softmine.Volume.read(args.file) if args.file else ball()
    domain = volume.domain
    print(f"{volume.name}: {domain.valid:,} of {domain.cells:,} voxels hold data")

    torch.manual_seed(0)
    field = softmine.HashGridField(domain.dim, volume.channels, finest_resolution=domain.shape)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
    sampler = softmine.QuotaMap(domain, batch_size=2048, prior=softmine.edge_prior(volume.edges()), seed=0)
    for step in range(args.steps):
        batch = sampler.draw()
        points = domain.snap(batch.coords)
        residual = field(points) - volume(points)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = (weights * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sampler.update(batch, error)
        if step % 100 == 0:
            print(f"step {step:4}  weighted loss {loss.item():.5f}")
    cells = torch.arange(domain.cells)
    known = cells if volume.valid is None else cells[volume.valid.flatten()]
    error = softmine.FieldProbe(field, volume).residual(domain.centers(known)).square().mean()
    print(f"{-10 * torch.log10(error).item():.2f} dB over the voxels with data after {args.steps} steps")


if __name__ == "__main__":
    main()
