"""The sampler of `auto` in a loop of your own, with all that makes it fast, beside uniform sampling.

Usage: python examples/02_quota_map.py [--steps 600]
"""

import argparse

import torch

import softmine
from softmine.optim import CosineSchedule, RowAdam


def train(image, make_sampler, steps):
    """Fits a hash grid to ``image``; returns PSNR over all pixels, in dB."""
    torch.manual_seed(0)
    field = softmine.HashGridField(dim=2, channels=3, finest_resolution=512)
    sampler = make_sampler(image)
    # Of the hash table it touches only the rows that a batch touched, which is what makes a step cheap.
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=sampler.batch_size)
    schedule = CosineSchedule(optimizer, steps)
    for _ in range(steps):
        batch = sampler.draw()
        points = image.domain.snap(batch.coords)
        residual = field(points) - image(points)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = (weights * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        sampler.update(batch, error)
    pixels = image.domain.centers(torch.arange(image.domain.cells))
    return -10 * torch.log10(softmine.FieldProbe(field, image).residual(pixels).square().mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    steps = parser.parse_args().steps
    image = softmine.Image.builtin("astronaut")
    samplers = {
        "uniform": lambda image: softmine.Uniform(image.domain, batch_size=4096, seed=0),
        "quota map": lambda image: softmine.QuotaMap(
            image.domain, batch_size=4096, prior=softmine.edge_prior(image.edges()), seed=0
        ),
    }
    for name, make_sampler in samplers.items():
        print(f"{name:10} {train(image, make_sampler, steps).item():.2f} dB after {steps} steps")


if __name__ == "__main__":
    main()
