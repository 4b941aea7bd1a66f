"""Prints the tables of docs/evidence.md from benchmarks/results, or puts them into it.

Usage: python benchmarks/evidence.py [--write]

Every table stands between the markers `<!-- name -->` and `<!-- end of name -->`, and comes from all files
`benchmarks/results/<name>-*.json`, each the results.json of a softmine compare or softmine study.
"""

import json
import math
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from softmine.formatting import budget, count, fixed, level, percent, signed, speedup
from softmine.study.curves import Axis, median_psnr_at
from softmine.study.results import Comparison, Line
from softmine.study.summary import against_best, baseline, by_seed, gain

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "evidence.md"


def main(words):
    if words == ["--write"]:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    elif words:
        raise SystemExit("usage: python benchmarks/evidence.py [--write]")
    else:
        for name in SECTIONS:
            print(section(name, RESULTS))


def filled(text, results):
    """The page with every table between its markers made anew."""
    for name in SECTIONS:
        pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- end of {name} -->\n", re.S)
        # A function, because tables hold what a replacement pattern would take for its own.
        text = pattern.sub(lambda _, name=name: section(name, results), text)
    return text


def section(name, results):
    """One section's tables between its markers; a sentence where no file is there."""
    files = sorted(results.glob(f"{name}-*.json"))
    make = SECTIONS[name]
    if files and make in TOGETHER:
        parts = ["\n".join(make(files))]
    else:
        parts = [f"{heading(read(file), file)}\n\n" + "\n".join(make(read(file))) for file in files]
    body = "\n\n".join(parts) or f"No result yet: there is no `benchmarks/results/{name}-*.json`."
    return f"<!-- {name} -->\n{body}\n<!-- end of {name} -->\n"


def read(file: Path) -> Comparison:
    """One comparison, without what diverged: a curve that ends so is no result, and the summary counts those."""
    data = json.loads(file.read_text(encoding="utf-8"))
    data["runs"] = [run for run in data["runs"] if run.get("diverged_at") is None]
    return Comparison.parse(data)


def spent(comparison: Comparison) -> str:
    """What a run with the whole budget may spend."""
    return budget(comparison.seconds, comparison.steps)


def heading(comparison, file):
    """What was compared, on what, and with which command."""
    *cells, _ = comparison.signal.shape
    size = " x ".join(map(str, reversed(cells)))
    seeds = len({run.seed for run in comparison.runs})
    machine = comparison.device
    kind = f"{machine['name']}, {machine['threads']} threads" if machine["type"] == "cpu" else machine["name"]
    words = f"{comparison.signal.name} {size}, {comparison.field}, {spent(comparison)}, {seeds} seed{'s' * (seeds > 1)}"
    unfinished = "" if comparison.complete else " **Not finished.**"
    return f"**{words}** ({kind}; `{comparison.command}`; [{file.name}](../benchmarks/results/{file.name})).{unfinished}"


def standing(comparison: Comparison) -> Iterator[str]:
    """PSNR, spread and gain of every sampler, its speed-up over the baseline, its minimum margin and its cost."""
    yield (
        "| sampler | batch | PSNR | gain | speed-up, time | speed-up, steps | minimum margin | step "
        "| gain relative to exact |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    base = baseline(comparison)
    for line in sorted(comparison.lines, key=lambda line: -(line.psnr or 0.0)):
        is_base = line is base
        yield row(
            line.name,
            count(line.batch_size),
            level(line.psnr, line.deviation, "diverged"),
            "baseline" if is_base else known(gain(line, base)),
            "" if is_base else speedup(line.speedup_seconds),
            "" if is_base else speedup(line.speedup_steps),
            "" if is_base else known(line.minimum_margin),
            "" if line.mean_overhead is None else percent(line.mean_overhead, sign=True),
            "" if line.exact_share is None else percent(line.exact_share),
        )


def by_steps(comparison: Comparison) -> Iterator[str]:
    """Median PSNR of every sampler at round numbers of steps, as the paper's ablation has it, and where runs end."""
    ends: dict[float, int] = {}
    for run in comparison.runs:
        if run.curve:
            last = run.curve[-1].step
            ends[run.shorter] = min(ends.get(run.shorter, last), last)
    end = max(ends.values())
    round_numbers = (250, 500, 1000, 2000, 3000, 5000, 10_000, 20_000)
    places = sorted({*(step for step in round_numbers if step < end), *ends.values()})
    yield row("sampler", "batch", *map(count, places))
    yield "|---|---:|" + "---:|" * len(places)
    for line in comparison.lines:
        if line.psnr is not None:
            end = ends[line.shorter]
            cells = [fixed(psnr_at(comparison, line, at, "step"), 2) if at <= end else "" for at in places]
            yield row(line.name, count(line.batch_size), *cells)


def timed(comparison: Comparison) -> Iterator[str]:
    """Median PSNR at shares of a run's budget, its steps and seconds: what the peers' tables have."""
    shares = (0.05, 0.2, 0.5, 1.0)
    yield row("sampler", "batch", *(percent(share) for share in shares), "steps", "s")
    yield "|---|---:|" + "---:|" * (len(shares) + 2)
    for line in comparison.lines:
        runs = comparison.runs_of(line)
        if line.psnr is not None:
            yield row(
                line.name,
                count(line.batch_size),
                *(fixed(psnr, 2) for psnr in at_shares(comparison, line, shares)),
                count(statistics.median(run.steps for run in runs)),
                fixed(statistics.median(run.train_seconds for run in runs), 1),
            )


def psnr_at(comparison: Comparison, line: Line, at: int | float, axis: Axis) -> float | None:
    """Median over seeds of the PSNR of a line's runs."""
    return median_psnr_at([run.curve for run in comparison.runs_of(line)], at, axis)


def at_shares(comparison: Comparison, line: Line, shares):
    """Median PSNR of a line's runs at shares of its budget."""
    axis: Axis = "step" if comparison.steps else "seconds"
    end = (comparison.steps or comparison.seconds) / line.shorter
    return [psnr_at(comparison, line, share * end, axis) for share in shares]


def photos(files):
    """One row an image: uniform at its best batch size, auto, and the speed-up; then the geometric mean."""
    every = [against_best(read(file)) for file in files]
    first = every[0]
    yield f"{len(every)} images, {spent(first)} each; `{first.command}` and the like."
    yield ""
    yield from PHOTO_HEAD
    for comparison in every:
        yield photo(comparison)
    yield mean_photo("mean", every)


def over_time(comparison):
    """Where the samplers stand at the end, then on the way there."""
    yield from standing(comparison)
    yield ""
    yield from timed(comparison)


def signals(files):
    """One row a signal, of whatever kind: uniform at its best batch size, auto, and the speed-up."""
    yield from (head.replace("image", "signal, field, budget") for head in SIGNAL_HEAD)
    for comparison in map(against_best, map(read, files)):
        stem = Path(comparison.signal.name).stem
        name = f"{comparison.task}: {stem}, {comparison.field}, {spent(comparison)}"
        yield row(*beside_uniform(comparison, name))


def shapes(files):
    """Distance and occupied space of shapes, for every sampler: which of them is better depends on the question."""
    yield "| shape, budget | sampler | batch | PSNR of the distance | gain | minimum margin (of any seed) | IoU | uniform's final IoU after |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for comparison in map(against_best, map(read, files)):
        name = f"{Path(comparison.signal.name).stem}, {spent(comparison)}"
        base = baseline(comparison)
        goals = {run.seed: run.curve[-1].more["iou"] for run in comparison.runs_of(base)}
        for line in comparison.lines:
            runs = comparison.runs_of(line)
            reached = statistics.median(seconds_to(run.curve, "iou", goals[run.seed]) for run in runs)
            is_base = line is base
            yield row(
                name,
                line.name,
                count(line.batch_size),
                level(line.psnr, line.deviation),
                "baseline" if is_base else known(gain(line, base)),
                "" if is_base else margins(comparison, line),
                fixed(statistics.median(run.curve[-1].more["iou"] for run in runs), 4),
                "never" if math.isinf(reached) else f"{fixed(reached, 1)} s",
            )


def gigapixel(files):
    """What an image of a gigapixel costs beside one of a megapixel."""
    yield "| sampler | batch | image | step, ms of the processor | of a megapixel's in memory | most memory | of it the field |"
    yield "|---|---:|---|---:|---:|---:|---:|"
    for file in files:
        for run in json.loads(file.read_text(encoding="utf-8"))["runs"]:
            yield row(
                run["sampler"],
                count(run["batch_size"]),
                run["picture"],
                fixed(run["processor_ms_a_step"], 1),
                speedup(run["processor_ratio"]),
                f"{count(run['peak_resident_mb'])} MiB",
                f"{count(run['field_mb'])} MiB",
            )


def seconds_to(curve, figure, goal):
    """Seconds of the first point of a curve whose figure is at least the goal; infinite where there is none."""
    return next((point.seconds for point in curve if point.more[figure] >= goal), math.inf)


SIGNAL_HEAD = (
    "| image | uniform, batch | PSNR | shuffled, gain | auto, batch | PSNR | gain | speed-up, time | minimum margin (of any seed) |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
)
PHOTO_HEAD = (f"{SIGNAL_HEAD[0]} gain in less time |", f"{SIGNAL_HEAD[1]}---:|")


def photo(comparison, name=None):
    """The row of one image: uniform at its best batch size, auto, and auto with a shorter budget of its own."""
    in_less = (
        f"{signed(gain_of(comparison, line))} in 1/{line.shorter:g}"
        for line in comparison.lines
        if line.sampler == "auto" and line.shorter > 1
    )
    return row(*beside_uniform(comparison, name), ", ".join(in_less))


def gain_of(comparison, line):
    """How far the mean of a line of the summary lies above the baseline's."""
    return gain(line, baseline(comparison))


def shuffled_gain(comparison):
    """How far the best mean of uniform sampling without replacement lies above the baseline's; None without such a run."""
    lines = [line for line in comparison.lines if line.name == "shuffled"]
    return max((gain_of(comparison, line) for line in lines), default=None)


def beside_uniform(comparison, name=None):
    """Uniform at its best batch size, what shuffling adds to it, and auto."""
    base, auto = baseline(comparison), auto_line(comparison)
    return (
        name or Path(comparison.signal.name).stem,
        count(base.batch_size),
        level(base.psnr, base.deviation),
        known(shuffled_gain(comparison)),
        count(auto.batch_size),
        level(auto.psnr, auto.deviation),
        known(gain(auto, base)),
        speedup(auto.speedup_seconds),
        margins(comparison, auto),
    )


def mean_photo(name, every):
    """The row of many images: mean gains, geometric mean of speed-ups, least of the minimum margins."""
    autos = [auto_line(comparison) for comparison in every]
    gains = [gain_of(comparison, auto) for comparison, auto in zip(every, autos, strict=True)]
    in_less: dict[float, list[float]] = {}
    for comparison in every:
        for line in comparison.lines:
            if line.sampler == "auto" and line.shorter > 1:
                in_less.setdefault(line.shorter, []).append(gain_of(comparison, line))
    shorter_gains = (
        f"{signed(statistics.fmean(found))} in 1/{shorter:g}"
        for shorter, found in in_less.items()
        if len(found) == len(every)
    )
    least = margins_of(autos)
    single = [
        margin
        for comparison, auto in zip(every, autos, strict=True)
        for margin in margins_of(by_seed(comparison, auto))
    ]
    margin = f"{signed(min(least))} ({signed(min(single))})" if single else ""
    shuffled = [shuffled_gain(comparison) for comparison in every]
    plain = "" if None in shuffled else signed(statistics.fmean(shuffled))
    factor = geometric([auto.speedup_seconds for auto in autos])
    return row(
        name, "", "", plain, "", "", signed(statistics.fmean(gains)), factor, margin, ", ".join(shorter_gains)
    )


def margins(comparison, line):
    """The minimum margin over uniform: in the median of the seeds, then with any of them."""
    single = margins_of(by_seed(comparison, line))
    return known(line.minimum_margin) + (f" ({signed(min(single))})" if len(single) > 1 else "")


def margins_of(lines):
    """The minimum margins of lines, where they are known."""
    return [line.minimum_margin for line in lines if line.minimum_margin is not None]


def known(difference):
    """A difference in dB, or nothing."""
    return "" if difference is None else signed(difference)


def auto_line(comparison):
    return next(line for line in comparison.lines if line.name == "auto")


def geometric(factors):
    """Geometric mean of speed-ups, in which never counts as once, which is more than it is."""
    mean = statistics.geometric_mean([1.0 if factor is None else factor for factor in factors])
    return f"at most {speedup(mean)}" if None in factors else speedup(mean)


SECTIONS = {
    "headline": standing,
    "kodak": photos,
    "minute": photos,
    "signals": signals,
    "shapes": shapes,
    "gigapixel": gigapixel,
    "nerf": over_time,
    "later": standing,
    "exact": standing,
    "peers": timed,
    "langevin": by_steps,
    "alpha": by_steps,
    "reinit": by_steps,
    "warmup": by_steps,
    "auto": timed,
}
"""Names of the sections, and what makes their tables."""
TOGETHER = {photos, signals, shapes, gigapixel}
"""Those that put all files of a section into one table."""


def row(*cells):
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
