"""A signal of your own, a function of coordinates, fitted in one call.

Usage: python examples/07_your_own_signal.py [--steps 300]
"""

import argparse
import math

import torch

import softmine

DOMAIN = softmine.Box((1024, 1024))
CENTERS = DOMAIN.centers(torch.arange(0, DOMAIN.cells, 61))


def zone_plate(coords):
    """Rings that get finer and finer inwards: (N, 2) to (N, 1)."""
    radius = (coords - 0.5).norm(dim=-1, keepdim=True)
    return 0.5 + 0.5 * torch.cos(6.0 / (radius + 0.02))


def psnr(field):
    """In dB."""
    return -10 * math.log10((field(CENTERS) - zone_plate(CENTERS)).square().mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    for sampler in ("uniform", "auto"):
        fitted = softmine.fit(
            "hashgrid",
            zone_plate,
            sampler,
            domain=DOMAIN,
            steps=steps,
            batch_size=4096,
            evaluate=psnr,
            device="cpu",
        )
        print(f"{sampler:7} {fitted.value:.2f} dB after {fitted.steps} steps, {fitted.seconds:.1f} s")


if __name__ == "__main__":
    main()
