"""The README's own loop, with public names only, beside `softmine.fit` and the command's trainer: the same PSNR at equal steps.

Usage: python benchmarks/own_loop.py [PATH] [--steps 1000] [--seeds 3] [--samplers auto langevin]
"""

import argparse
import statistics

import torch

import softmine
from softmine import fields, registry


def own_loop(image, name, steps, seed):
    """The loop of the README."""
    torch.manual_seed(seed)
    field = fields.create("hashgrid", image.domain.shape, image.channels)
    if name == "auto":
        sampler = softmine.auto(image, seed=seed)
    else:
        sampler = registry.create(name, image.domain, seed=seed, edges=image.edges)
    optimizer = softmine.optim.RowAdam(field.parameters(), lr=1e-2, batch_size=sampler.batch_size)
    schedule = softmine.optim.CosineSchedule(optimizer, steps=steps)
    for _ in range(steps):
        batch = sampler.draw()
        points = image.domain.snap(batch.coords)  # auto has done so; other samplers draw anywhere
        residual = field(points) - image(points)
        error = residual.abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = residual.square().mean(-1)
        optimizer.zero_grad()
        (weights * loss).mean().backward()
        optimizer.step()
        schedule.step()
        sampler.update(batch, error, loss=loss)
    return field


def psnr(field, image):
    """Over all pixels, in dB."""
    pixels = image.domain.centers(torch.arange(image.domain.cells))
    probe = softmine.FieldProbe(field, image)
    errors = torch.cat([probe.residual(part).square().mean(-1) for part in pixels.split(2**16)])
    return -10 * torch.log10(errors.mean()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samplers", nargs="+", default=["auto", "langevin"])
    args = parser.parse_args()
    image = softmine.Image.read(args.path) if args.path else softmine.Image.builtin("astronaut")
    for name in args.samplers:
        own, fitted = [], []
        for seed in range(args.seeds):
            own.append(psnr(own_loop(image, name, args.steps, seed), image))
            run = softmine.fit("hashgrid", image, name, steps=args.steps, snap=True, seed=seed, evaluations=1)
            fitted.append(psnr(run.field, image))
        medians = statistics.median(own), statistics.median(fitted)
        print(
            f"{name:9} own loop {medians[0]:.2f} dB, softmine.fit {medians[1]:.2f} dB, {args.steps} steps, {args.seeds} seeds"
        )


if __name__ == "__main__":
    main()
