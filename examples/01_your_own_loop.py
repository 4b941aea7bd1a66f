"""Soft mining in a training loop of your own: three lines more than uniform sampling.

Usage: python examples/01_your_own_loop.py [--steps 600]
"""

import argparse

import torch

import softmine


def train(image, sampler, steps):
    """Fits a hash grid to ``image`` where ``sampler`` says; returns PSNR over all pixels, in dB."""
    torch.manual_seed(0)
    field = softmine.HashGridField(dim=2, channels=3, finest_resolution=512)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, eps=1e-15)
    for step in range(steps):
        batch = sampler.draw()  # 1: where to train
        points = image.domain.snap(batch.coords)  # at pixel centers, where the image is known
        residual = field(points) - image(points)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)  # 2: what each sample counts
        loss = (weights * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sampler.update(batch, error)  # 3: the samples move to where the error is
        if step == 0:
            sampler.check()  # optional: names what is missing, if anything is
    with torch.no_grad():
        pixels = image.domain.centers(torch.arange(image.domain.cells))
        error = (field(pixels).clamp(0, 1) - image(pixels)).square().mean()
    return -10 * torch.log10(error).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    steps = parser.parse_args().steps
    image = softmine.Image.builtin("astronaut")
    samplers = {
        "uniform": softmine.Uniform(image.domain, batch_size=2048, seed=0),
        "langevin": softmine.Langevin(
            image.domain, batch_size=2048, alpha=0.6, prior=softmine.edge_prior(image.edges()), seed=0
        ),
    }
    for name, sampler in samplers.items():
        print(f"{name:9} {train(image, sampler, steps):.2f} dB after {steps} steps")


if __name__ == "__main__":
    main()
