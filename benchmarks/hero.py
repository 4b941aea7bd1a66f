"""Draws the README's image from a folder that ``softmine compare`` made.

Usage: python benchmarks/hero.py runs/compare docs/hero.jpg
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from softmine.study.results import Comparison


def main(folder, out):
    comparison = Comparison.parse(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    first = {run.sampler: run for run in comparison.runs if run.seed == 0}
    figure = Figure(figsize=(10, 3.15), dpi=160, layout="constrained")
    left, *places = figure.subplots(1, 4, width_ratios=(1.35, 1, 1, 1))
    colors = {"uniform": "#6b6b6b", "langevin": "#0a6ebd", "quota-map": "#b4460f"}
    offsets = {"uniform": -16, "langevin": -2, "quota-map": 8}
    for name, run in first.items():
        steps = [point.step for point in run.curve]
        psnr = [point.psnr for point in run.curve]
        left.plot(steps, psnr, color=colors[name], linewidth=2)
        left.annotate(
            name,
            (steps[-1], psnr[-1]),
            color=colors[name],
            fontsize=9,
            xytext=(4, offsets[name]),
            textcoords="offset points",
            ha="left",
            annotation_clip=False,
        )
    left.set_title("PSNR in dB against steps", fontsize=9, loc="left")
    left.spines[["top", "right"]].set_visible(False)
    left.tick_params(labelsize=8)
    titles = ("target", "uniform", "quota map (auto)")
    files = ("images/target.png", first["uniform"].images.error, first["quota-map"].images.error)
    for axes, title, file in zip(places, titles, files, strict=True):
        axes.imshow(np.asarray(Image.open(folder / file)))
        axes.set_title(title if title == "target" else f"error, {title}", fontsize=9, loc="left")
        axes.axis("off")
    figure.savefig(out, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
