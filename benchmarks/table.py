"""Prints the README's tables of results from benchmarks/results/{headline,kodak,signals,nerf,compare}-*.json.

Usage: python benchmarks/table.py
"""

import json
import statistics
from pathlib import Path

from softmine.study.shorter import name_of, shorter_of

RESULTS = Path(__file__).parent / "results"
SHARES = (0.05, 0.2, 0.5, 1.0)


def main():
    import evidence

    print("\n".join(evidence.PHOTO_HEAD))
    for file in sorted(RESULTS.glob("headline-*.json")):
        data = evidence.read(file)
        height, width = data["signal"]["shape"][:2]
        print(
            evidence.photo(
                data,
                f"{data['signal']['name'].split('_')[0]} {width} x {height}, {evidence.seconds_or_steps(data)}",
            )
        )
    photos = [evidence.against_best(evidence.read(file)) for file in sorted(RESULTS.glob("kodak-*.json"))]
    if photos:
        print(
            evidence.mean_photo(
                f"{len(photos)} Kodak photos, {evidence.seconds_or_steps(photos[0])}, mean", photos
            )
        )
    others = [
        evidence.read(file) for name in ("signals", "nerf") for file in sorted(RESULTS.glob(f"{name}-*.json"))
    ]
    if others:
        print()
        print("\n".join(evidence.signals(others)))
    print()
    print(
        "| picture, budget | sampler | "
        + " | ".join(f"{share:.0%}" for share in SHARES)
        + " | sooner, steps | sooner, time | step |"
    )
    print("|---|---|" + "---:|" * (len(SHARES) + 3))
    for file in sorted(RESULTS.glob("compare-*.json")):
        for row in rows(json.loads(file.read_text())):
            print(row)


def rows(results):
    """Markdown rows of one comparison: median PSNR over seeds at shares of the budget, and the gain over uniform.

    A run with a shorter budget is shown at shares of its own, and its gain is over uniform at that share of the whole.
    """
    height, width = results["signal"]["shape"][:2]
    settings = results["settings"]
    budget = f"{settings['steps']:,} steps" if settings["steps"] else f"{settings['seconds']:g} s"
    axis, end = ("step", settings["steps"]) if settings["steps"] else ("seconds", settings["seconds"])
    for line in results["summary"]:
        cells = []
        for share in SHARES:
            shorter = shorter_of(line)
            at = share * end / shorter
            psnr = median_psnr(results, line["sampler"], line["batch_size"], axis, at, shorter)
            uniform = median_psnr(results, "uniform", line["batch_size"], axis, share * end)
            alone = uniform is None or (line["sampler"], shorter) == ("uniform", 1)
            cells.append(f"{psnr:.2f}" if alone else f"{psnr:.2f} ({psnr - uniform:+.2f})")
        name = name_of(line)
        mined = name != "uniform"
        for speedup in (line["speedup_steps"], line["speedup_seconds"]):
            cells.append("" if not mined else "never" if speedup is None else f"{speedup:.2f}x")
        overhead = line.get("overhead_in_all", line["overhead"])
        cells.append("" if overhead is None or not mined else f"{overhead:+.0%}")
        what = f"{results['signal']['name'].split('_')[0]} {width} x {height}, {budget}, batch {line['batch_size']:,}"
        yield f"| {what} | {name} | " + " | ".join(cells) + " |"


def median_psnr(results, sampler, batch_size, axis, place, shorter=1.0):
    """Median over seeds of the curves' PSNR at ``place`` on ``axis``, interpolated; None without such a run."""
    found = []
    for run in results["runs"]:
        if (run["sampler"], run["batch_size"], shorter_of(run)) == (sampler, batch_size, shorter):
            before = [point for point in run["curve"] if point[axis] <= place] or run["curve"][:1]
            after = [point for point in run["curve"] if point[axis] >= place] or run["curve"][-1:]
            low, high = before[-1], after[0]
            span = high[axis] - low[axis]
            share = (place - low[axis]) / span if span else 0.0
            found.append(low["psnr"] + share * (high["psnr"] - low["psnr"]))
    return statistics.median(found) if found else None


if __name__ == "__main__":
    main()
