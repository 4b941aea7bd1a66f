"""Soft mining in one file of plain PyTorch: the whole of arXiv 2312.00075, to read on the train.

A neural field learns an image from batches of coordinates. Uniform sampling draws them anywhere; soft mining draws them where
the error is, by one step of Langevin Monte Carlo for each training step, and re-weights the loss so that it stays the same loss
as far as one likes. This file imports nothing of the library, which does the same faster, for every signal and loop.

Usage: python examples/00_whole_method.py [PATH] [--steps 1000]
"""

import argparse
import math

import torch
from torch import nn
from torch.nn import functional

BATCH = 1024
# The paper's settings. Distances are in pixels.
ALPHA, WARMUP = 0.6, 1000  # softness of the mining, and the steps over which it grows to that
DRIFT, NOISE = 2.0, 2.0  # a and b of  x <- x + a * grad log Q(x) + b * eta
UNIFORM_SHARE = 0.1  # of the batch is always uniform, so that nothing is forgotten
REINIT_SHARE = 0.1  # of the batch, the lowest in error, starts again somewhere else
FLOOR = 0.01  # least error, in units of the batch's mean: log Q stays finite


class Grids(nn.Module):
    """A small neural field: features on grids of six sizes, interpolated, and a small MLP."""

    def __init__(self, sizes=(16, 32, 64, 128, 256, 512), features=2, hidden=64):
        super().__init__()
        self.grids = nn.ParameterList(1e-2 * torch.randn(1, features, size, size) for size in sizes)
        self.mlp = nn.Sequential(nn.Linear(features * len(sizes), hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def forward(self, coords):
        """Colors (N, 3) at coordinates (N, 2): row and column in [0, 1)."""
        found = torch.cat([look_up(grid, coords) for grid in self.grids], -1)
        return self.mlp(found)


def look_up(grid, coords):
    """Values (N, C) of a grid (1, C, H, W) at coordinates (N, 2), interpolated between the centers of its cells."""
    places = 2 * coords.flip(-1).view(1, 1, -1, 2) - 1
    values = functional.grid_sample(grid, places, padding_mode="border", align_corners=False)
    return values[0, :, 0].T


class Uniform:
    """The baseline: every batch is new and uniform, and every sample counts alike."""

    def draw(self):
        return torch.rand(BATCH, 2)

    def weigh(self, error):
        return torch.ones_like(error)

    def update(self, coords, error, loss, weights):
        pass


class SoftMining:
    """Samples that walk towards the error, and weights that undo as much of it as alpha says."""

    def __init__(self, shape):
        self.size = torch.tensor([float(size) for size in shape])  # pixels along each axis
        self.particles = torch.rand(BATCH, 2)
        self.fresh = int(UNIFORM_SHARE * BATCH)  # the last of the batch
        self.step = 0

    def draw(self):
        # A leaf: the training backward will leave the gradient of the loss in it, which is all that Langevin needs.
        return self.particles.clone().requires_grad_()

    def weigh(self, error):
        """Weights (u / q)^alpha. The chain's density q follows the error Q; its normalizer is estimated from the batch."""
        importance = (error.square() + (FLOOR * error.mean()).square()).sqrt()
        chain = importance[: -self.fresh]
        # Of samples x ~ Q the mean of 1/Q(x) is 1 / mean(Q). The uniform share has density one.
        density = (1 - UNIFORM_SHARE) * importance * (1 / chain).mean() + UNIFORM_SHARE
        alpha = ALPHA * min(1.0, self.step / WARMUP)
        return density**-alpha

    def update(self, coords, error, loss, weights):
        """One step of Langevin Monte Carlo, then the samples that start again."""
        # The gradient of mean(w * l) at x_n is w_n / N * grad l(x_n), and log Q is half of log l, as l is the squared error.
        floor = (FLOOR * error.mean()).square()
        score = coords.grad * BATCH / (2 * weights * (loss + floor)).unsqueeze(-1) / self.size  # a pixel
        moved = self.particles + (DRIFT * score + NOISE * torch.randn_like(score)) / self.size
        chain = len(moved) - self.fresh
        outside = ((moved < 0) | (moved >= 1)).any(-1)
        lowest = error[:chain].topk(int(REINIT_SHARE * BATCH), largest=False).indices
        again = outside.index_fill(0, lowest, True)
        again[chain:] = True
        self.particles = torch.where(again.unsqueeze(-1), torch.rand_like(moved), moved)
        self.step += 1


def train(image, sampler, steps):
    """Fits a field to ``image`` (1, 3, H, W) where ``sampler`` says; returns PSNR over all pixels, in dB."""
    torch.manual_seed(0)
    field = Grids()
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        coords = sampler.draw()
        residual = field(coords) - look_up(image, coords)
        loss = residual.square().mean(-1)  # (N,)
        error = residual.detach().abs().mean(-1)  # (N,), the importance Q
        weights = sampler.weigh(error)
        optimizer.zero_grad()
        (weights * loss).mean().backward()
        optimizer.step()
        sampler.update(coords, error, loss.detach(), weights)
        if step % 100 == 0:
            # Uniform batches tell the whole image's error, mined ones a larger one.
            print(f"  step {step}: {-10 * loss.detach().mean().log10():.2f} dB on its batch", flush=True)
    rows, columns = (torch.arange(size).add(0.5) / size for size in image.shape[2:])
    pixels = torch.cartesian_prod(rows, columns)
    with torch.no_grad():
        wrong = (field(pixels).clamp(0, 1) - look_up(image, pixels)).square().mean()
    return -10 * math.log10(wrong)


def synthetic(size=512):
    """An image with detail in a few places: waves that get finer, and disks with sharp borders on an even ground."""
    row, column = torch.meshgrid(*2 * [torch.arange(size).add(0.5) / size], indexing="ij")
    image = torch.stack((0.4 + 0.2 * row, 0.5 - 0.2 * column, 0.5 + 0.1 * row), 0)
    waves = 0.5 + 0.5 * torch.cos(400 * ((row - 0.3) ** 2 + (column - 0.3) ** 2))
    image = torch.where((row - 0.3) ** 2 + (column - 0.3) ** 2 < 0.04, waves, image)
    random = torch.Generator().manual_seed(0)
    for _ in range(40):
        y, x, radius = torch.rand(3, generator=random) * torch.tensor([0.4, 0.6, 0.02])
        disk = (row - 0.55 - y) ** 2 + (column - 0.35 - x) ** 2 < radius**2
        image = torch.where(disk, torch.rand(3, 1, 1, generator=random), image)
    return image.unsqueeze(0)


def read(path):
    """Any image that Pillow reads, (1, 3, H, W) in [0, 1]."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        values = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255)
    return values.permute(2, 0, 1).unsqueeze(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", help="an image; without, one is made")
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    image = read(args.path) if args.path else synthetic()
    torch.manual_seed(1)
    for name, sampler in (("uniform", Uniform()), ("soft mining", SoftMining(image.shape[2:]))):
        print(name, flush=True)
        print(
            f"  {train(image, sampler, args.steps):.2f} dB on all pixels after {args.steps} steps", flush=True
        )


if __name__ == "__main__":
    main()
