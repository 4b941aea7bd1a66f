"""Prints the README's tables of results from benchmarks/results/{headline,kodak,signals,nerf,compare}-*.json.

Usage: python benchmarks/table.py
"""

from pathlib import Path

import evidence

from softmine.formatting import count, fixed, percent, signed, speedup
from softmine.study.summary import against_best

RESULTS = Path(__file__).parent / "results"
SHARES = (0.05, 0.2, 0.5, 1.0)


def main():
    print("\n".join(evidence.PHOTO_HEAD))
    for file in files("headline"):
        comparison = evidence.read(file)
        print(evidence.photo(comparison, f"{title(comparison)}, {evidence.spent(comparison)}"))
    photos = [against_best(evidence.read(file)) for file in files("kodak")]
    if photos:
        name = f"{len(photos)} Kodak photos, {evidence.spent(photos[0])}, mean"
        print(evidence.mean_photo(name, photos))
    others = [*files("signals"), *files("nerf")]
    if others:
        print()
        print("\n".join(evidence.signals(others)))
    print()
    shares = map(percent, SHARES)
    print(evidence.row("image, budget", "sampler", *shares, "speed-up, steps", "speed-up, time", "step"))
    print("|---|---|" + "---:|" * (len(SHARES) + 3))
    for file in files("compare"):
        for row in rows(evidence.read(file)):
            print(row)


def files(name):
    """The results of a section."""
    return sorted(RESULTS.glob(f"{name}-*.json"))


def title(comparison):
    """A short name of an image, and its size."""
    height, width = comparison.signal.shape[:2]
    return f"{comparison.signal.name.split('_')[0]} {width} x {height}"


def rows(comparison):
    """Markdown rows of one comparison: median PSNR over seeds at shares of the budget, and the gain over uniform.

    A run with a shorter budget is shown at shares of its own, and its gain is over uniform at that share of the whole.
    """
    bases = {line.batch_size: line for line in comparison.lines if line.name == "uniform"}
    for line in comparison.lines:
        base = bases.get(line.batch_size)
        cells = [fixed(psnr, 2) for psnr in evidence.at_shares(comparison, line, SHARES)]
        if base is not None and line is not base:
            own = evidence.at_shares(comparison, line, SHARES)
            uniform = evidence.at_shares(comparison, base, SHARES)
            cells = [
                f"{cell} ({signed(psnr - other)})"
                for cell, psnr, other in zip(cells, own, uniform, strict=True)
            ]
        mined = line.name != "uniform"
        cells += [speedup(factor) if mined else "" for factor in (line.speedup_steps, line.speedup_seconds)]
        cells.append(
            percent(line.mean_overhead, sign=True) if mined and line.mean_overhead is not None else ""
        )
        what = f"{title(comparison)}, {evidence.spent(comparison)}, batch {count(line.batch_size)}"
        yield evidence.row(what, line.name, *cells)


if __name__ == "__main__":
    main()
