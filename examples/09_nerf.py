"""A radiance field in a loop of your own: soft mining over the pixels of all photos.

Usage: python examples/09_nerf.py [SCENE] [--downscale 1] [--steps 400]
"""

import argparse
import math

import torch

import softmine
from softmine.radiance.background import over_background
from softmine.radiance.field import field_for
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes import procedural, read_scene


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", nargs="?", help="a folder: Blender, nerfstudio, instant-ngp, LLFF or COLMAP")
    parser.add_argument("--downscale", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    scene = read_scene(args.scene, args.downscale) if args.scene else procedural()
    train, test = Photos(scene, "train"), Photos(scene, "test")
    print(f"{scene.name}: {len(train.views)} views to train on, {len(test.views)} to test on")

    torch.manual_seed(0)
    renderer = Renderer(field_for(scene.bounds), train)  # (view, row, column) to what the field shows there
    optimizer = torch.optim.Adam(renderer.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
    sampler = softmine.Langevin(train.domain, batch_size=1024, alpha=0.6, seed=0)
    for step in range(1, args.steps + 1):
        batch = sampler.draw()
        coords = train.domain.snap(batch.coords)
        residual = renderer(coords) - train(coords)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = (weights * residual.square().mean(-1)).mean()
        extra = renderer.regularization()
        optimizer.zero_grad()
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
        sampler.update(batch, error)
        renderer.after_step(step)  # the occupancy grid learns where there is nothing
        if step % 100 == 0:
            print(
                f"step {step:4}  weighted loss {loss.item():.5f}  {renderer.points / 1024:.1f} points a ray"
            )

    renderer.eval()
    renderer.photos = test
    errors = []
    with torch.no_grad():
        for coords in test.view_coords(0):
            shown, known = (over_background(values, 1.0) for values in (renderer(coords), test(coords)))
            errors.append((shown.clamp(0, 1) - known).square().mean(-1))
    psnr = -10 * math.log10(torch.cat(errors).mean().item())
    print(f"{psnr:.2f} dB in the first test view, before white, after {args.steps} steps")


if __name__ == "__main__":
    main()
