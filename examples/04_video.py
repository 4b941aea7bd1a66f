"""A video in a training loop of your own: soft mining follows what moves.

Usage: python examples/04_video.py [PATH] [--steps 300]
"""

import argparse

import torch

import softmine


def train(video, sampler, steps):
    """Fits a 3-D hash grid to ``video`` where ``sampler`` says; returns PSNR over a hundred thousand voxels, in dB."""
    torch.manual_seed(0)
    field = softmine.HashGridField(
        dim=3, channels=3, finest_resolution=[min(n, 2048) for n in video.shape[:3]]
    )
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, eps=1e-15)
    for _ in range(steps):
        batch = sampler.draw()
        points = video.domain.snap(
            batch.coords
        )  # (time, row, column), at the centers of pixels in their frames
        residual = field(points) - video(points)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = (weights * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sampler.update(batch, error)
    with torch.no_grad():
        cells = torch.randint(video.domain.cells, (100_000,), generator=torch.Generator().manual_seed(0))
        voxels = video.domain.centers(cells)
        error = (field(voxels).clamp(0, 1) - video(voxels)).square().mean()
    return -10 * torch.log10(error).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?")
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    video = softmine.Video.read(args.path, downscale=2) if args.path else softmine.Video.builtin()
    prior = softmine.edge_prior(video.edges())  # edges in space, and what changes from frame to frame
    samplers = {
        "uniform": softmine.Uniform(video.domain, batch_size=4096, seed=0),
        "langevin": softmine.Langevin(video.domain, batch_size=4096, alpha=0.6, prior=prior, seed=0),
    }
    for name, sampler in samplers.items():
        print(f"{name:9} {train(video, sampler, args.steps):.2f} dB after {args.steps} steps")


if __name__ == "__main__":
    main()
