"""Checks that the fused kernels learn what plain torch learns: the same fits with both, from the same seeds.

    OMP_NUM_THREADS=1 python benchmarks/learning.py PHOTO ... --out benchmarks/results/learning.json

Trains a hash grid with uniform sampling and compares the PSNR over all pixels at the end. Sums in another order end in
other bits, so that two fits part after some hundred steps as two seeds do; what must agree is the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch

from softmine.kernels.backends import VARIABLE
from softmine.runs.build import build_run
from softmine.runs.task import Evaluator
from softmine.signals import Image
from softmine.tasks.image.task import ImageTask
from softmine.training.settings import FitSettings

BACKENDS = {"fused": "", "twin": "torch"}
TOLERANCE = 0.1
"""Decibels by which the means may differ."""


def fit(task: ImageTask, evaluator: Evaluator, backend: str, seed: int, steps: int, batch_size: int) -> dict:
    """One fit from its start to its end."""
    os.environ[VARIABLE] = BACKENDS[backend]
    settings = FitSettings(steps=steps, sampler="uniform", batch_size=batch_size, seed=seed)
    device = torch.device("cpu")
    trainer = build_run(task, settings, device)
    trainer.advance(lambda: False)
    result = evaluator(trainer.field)
    step_ms, _ = trainer.timer.medians()
    return {"backend": backend, "seed": seed, "psnr": round(result.psnr, 3), "step_ms_median": step_ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="seeds 0 to K - 1")
    asked = parser.parse_args()
    runs = []
    print("| picture | seed | fused, dB | twin, dB | difference |\n|---|---:|---:|---:|---:|")
    for photo in asked.photos:
        image = Image.read(photo)
        task = ImageTask(image)
        evaluator = task.make_evaluator(torch.device("cpu"))
        for seed in range(asked.seeds):
            pair = {
                backend: fit(task, evaluator, backend, seed, asked.steps, asked.batch_size)
                for backend in BACKENDS
            }
            runs += [{"picture": image.name, **run} for run in pair.values()]
            fused, twin = pair["fused"]["psnr"], pair["twin"]["psnr"]
            print(f"| {image.name} | {seed} | {fused:.2f} | {twin:.2f} | {fused - twin:+.2f} |", flush=True)
    means = {
        backend: statistics.mean(run["psnr"] for run in runs if run["backend"] == backend)
        for backend in BACKENDS
    }
    difference = means["fused"] - means["twin"]
    print(f"| mean | | {means['fused']:.2f} | {means['twin']:.2f} | {difference:+.2f} |")
    if asked.out:
        content = {
            "schema": 1,
            "steps": asked.steps,
            "batch_size": asked.batch_size,
            "torch_threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("softmine", "torch", "numba")},
            "mean_difference_db": round(difference, 3),
            "runs": runs,
        }
        asked.out.write_text(json.dumps(content, indent=1) + "\n")
    if abs(difference) > TOLERANCE:
        raise SystemExit(f"fused and twin differ by {difference:+.2f} dB in the mean, more than {TOLERANCE}")


if __name__ == "__main__":
    main()
