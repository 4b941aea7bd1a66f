"""Audio as a neural field, in a loop of your own: the same three verbs, over time instead of over an image.

Usage: python examples/03_audio.py [--steps 300] [--out PATH.wav]
"""

import argparse
import math
from pathlib import Path

import torch

import softmine
from softmine.optim import CosineSchedule, RowAdam


def train(audio, sampler, steps):
    """Fits a hash grid to ``audio``; returns its values (S, C) at all samples."""
    torch.manual_seed(0)
    # A finest cell for each sample: with fewer, the field could not hold the high frequencies.
    field = softmine.HashGridField(dim=1, channels=audio.channels, finest_resolution=audio.shape[0])
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=sampler.batch_size)
    schedule = CosineSchedule(optimizer, steps)
    for _ in range(steps):
        batch = sampler.draw()
        points = audio.domain.snap(batch.coords)
        residual = field(points) - audio(points)
        error = residual.detach().abs().mean(-1)
        weights = sampler.weigh(batch, error)
        loss = (weights * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        sampler.update(batch, error)
    with torch.no_grad():
        return field(audio.domain.centers(torch.arange(audio.shape[0]))).clamp(0, 1)


def signal_to_noise(values, target):
    """In dB; silence is 0.5."""
    return 10 * math.log10((target - 0.5).square().mean() / (values - target).square().mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, help="where to write the last reconstruction")
    args = parser.parse_args()
    audio = softmine.Audio.builtin()
    target = audio.sample_values(torch.arange(audio.shape[0]))
    samplers = {
        "uniform": softmine.Uniform(audio.domain, batch_size=1024, seed=0),
        "quota map": softmine.QuotaMap(audio.domain, batch_size=1024, seed=0),
    }
    for name, sampler in samplers.items():
        values = train(audio, sampler, args.steps)
        print(f"{name:10} SNR {signal_to_noise(values, target):.2f} dB after {args.steps} steps")
    if args.out:
        import soundfile  # of the extra softmine[audio]

        soundfile.write(args.out, audio.to_raw(values.numpy()), audio.rate)


if __name__ == "__main__":
    main()
