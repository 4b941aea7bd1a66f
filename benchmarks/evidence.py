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
from pathlib import Path

from table import median_psnr

from softmine.study.shorter import name_of, shorter_of
from softmine.study.summary import summarize

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
    parts = []
    results_of = {file: read(file) for file in files}
    if name in TOGETHER and files:
        parts.append("\n".join(TOGETHER[name](list(results_of.values()))))
    for file, data in results_of.items():
        if name not in TOGETHER:
            parts.append(f"{heading(data, file)}\n\n" + "\n".join(SECTIONS[name](data)))
    body = "\n\n".join(parts) or f"No result yet: there is no `benchmarks/results/{name}-*.json`."
    return f"<!-- {name} -->\n{body}\n<!-- end of {name} -->\n"


def read(file):
    """One comparison, without what diverged: a curve that ends so is no result, and the summary counts those."""
    data = json.loads(file.read_text(encoding="utf-8"))
    data["runs"] = [run for run in data["runs"] if run.get("diverged_at") is None]
    return data


def against_best(data):
    """A comparison whose figures are against uniform sampling at the batch size at which it ended highest."""
    return {**data, "summary": summarize(data["runs"], baseline(data)["batch_size"])}


def heading(data, file):
    """What was compared, on what, and with which command."""
    settings = data["settings"]
    *cells, _ = data["signal"]["shape"]
    size = " x ".join(map(str, reversed(cells)))
    budget = seconds_or_steps(data)
    seeds = len({run["seed"] for run in data["runs"]})
    machine = data["device"]
    kind = f"{machine['name']}, {machine['threads']} threads" if machine["type"] == "cpu" else machine["name"]
    words = f"{data['signal']['name']} {size}, {settings['field']}, {budget}, {seeds} seed{'s' * (seeds > 1)}"
    unfinished = "" if data["complete"] else " **Not finished.**"
    return f"**{words}** ({kind}; `{data['command']}`; [{file.name}](../benchmarks/results/{file.name})).{unfinished}"


def standing(data):
    """PSNR, spread and gain of every sampler, its speed-up over the baseline, its worst moment and its cost."""
    yield "| sampler | batch | PSNR | gain | sooner, time | sooner, steps | worst moment | step | of the oracle's gain |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    lines = data["summary"]
    base = baseline(data)
    for line in sorted(lines, key=lambda line: -(line["psnr_mean"] or 0.0)):
        is_base = line is base
        gain = "baseline" if is_base else difference(line["psnr_mean"], base and base["psnr_mean"])
        deficit = line.get("worst_deficit")
        yield row(
            name_of(line),
            f"{line['batch_size']:,}",
            level(line),
            gain,
            "" if is_base else times(line["speedup_seconds"]),
            "" if is_base else times(line["speedup_steps"]),
            "" if is_base or deficit is None else f"{-deficit:+.2f}",
            percent(line.get("overhead_in_all", line["overhead"]), sign=True),
            percent(line.get("oracle_share")),
        )


def by_steps(data):
    """Median PSNR of every sampler at round numbers of steps, as the paper's ablation has it, and where runs end."""
    ends = {}
    for run in data["runs"]:
        if run["curve"]:
            last = run["curve"][-1]["step"]
            ends[shorter_of(run)] = min(ends.get(shorter_of(run), last), last)
    end = max(ends.values())
    round_numbers = (250, 500, 1000, 2000, 3000, 5000, 10_000, 20_000)
    places = sorted({*(step for step in round_numbers if step < end), *ends.values()})
    yield row("sampler", "batch", *(f"{place:,}" for place in places))
    yield "|---|---:|" + "---:|" * len(places)
    for line in data["summary"]:
        if line["psnr_mean"] is not None:
            key, shorter = (line["sampler"], line["batch_size"]), shorter_of(line)
            cells = [
                f"{median_psnr(data, *key, 'step', at, shorter):.2f}" if at <= ends[shorter] else ""
                for at in places
            ]
            yield row(name_of(line), f"{key[1]:,}", *cells)


def timed(data):
    """Median PSNR at shares of a run's budget, its steps and seconds: what the peers' tables have."""
    axis = "step" if data["settings"]["steps"] else "seconds"
    end = data["settings"]["steps"] or data["settings"]["seconds"]
    shares = (0.05, 0.2, 0.5, 1.0)
    yield row("sampler", "batch", *(f"{share:.0%}" for share in shares), "steps", "s")
    yield "|---|---:|" + "---:|" * (len(shares) + 2)
    for line in data["summary"]:
        key, shorter = (line["sampler"], line["batch_size"]), shorter_of(line)
        runs = runs_of(data, line)
        if line["psnr_mean"] is not None:
            yield row(
                name_of(line),
                f"{key[1]:,}",
                *(f"{median_psnr(data, *key, axis, share * end / shorter, shorter):.2f}" for share in shares),
                f"{statistics.median(run['steps'] for run in runs):,.0f}",
                f"{statistics.median(run['train_seconds'] for run in runs):.1f}",
            )


def photos(every):
    """One row a picture: uniform at its best batch size, auto, and how many times sooner; then the geometric mean."""
    every = [against_best(data) for data in every]
    first = every[0]
    yield f"{len(every)} pictures, {seconds_or_steps(first)} each; `{first['command']}` and the like."
    yield ""
    yield from PHOTO_HEAD
    for data in every:
        yield photo(data)
    yield mean_photo("mean", every)


def over_time(data):
    """Where the samplers stand at the end, then on the way there."""
    yield from standing(data)
    yield ""
    yield from timed(data)


def signals(every):
    """One row a signal, of whatever kind: uniform at its best batch size, auto, and how many times sooner."""
    yield from (head.replace("picture", "signal, field, budget") for head in SIGNAL_HEAD)
    for data in map(against_best, every):
        field = data["settings"]["field"]
        name = f"{data['task']}: {Path(data['signal']['name']).stem}, {field}, {seconds_or_steps(data)}"
        yield row(*beside_uniform(data, name))


def shapes(every):
    """Distance and occupied space of shapes, for every sampler: which of them is better depends on what is asked."""
    yield "| shape, budget | sampler | batch | PSNR of the distance | gain | worst moment (of any seed) | IoU | uniform's final IoU after |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for data in map(against_best, every):
        name = f"{Path(data['signal']['name']).stem}, {seconds_or_steps(data)}"
        base = baseline(data)
        goals = {run["seed"]: run["curve"][-1]["iou"] for run in runs_of(data, base)}
        for line in data["summary"]:
            runs = runs_of(data, line)
            reached = statistics.median(seconds_to(run["curve"], "iou", goals[run["seed"]]) for run in runs)
            is_base = line is base
            yield row(
                name,
                name_of(line),
                f"{line['batch_size']:,}",
                level(line),
                "baseline" if is_base else difference(line["psnr_mean"], base["psnr_mean"]),
                "" if is_base else moments(data, line),
                f"{statistics.median(run['curve'][-1]['iou'] for run in runs):.4f}",
                "never" if math.isinf(reached) else f"{reached:.1f} s",
            )


def gigapixel(every):
    """What a picture of a gigapixel costs beside one of a megapixel."""
    yield "| sampler | batch | picture | step, ms of the processor | of a megapixel's in memory | most memory | of it the field |"
    yield "|---|---:|---|---:|---:|---:|---:|"
    for data in every:
        for run in data["runs"]:
            yield row(
                run["sampler"],
                f"{run['batch_size']:,}",
                run["picture"],
                f"{run['processor_ms_a_step']:.1f}",
                f"{run['processor_ratio']:.2f}x",
                f"{run['peak_resident_mb']:,} MiB",
                f"{run['field_mb']:,} MiB",
            )


def runs_of(data, line):
    """The runs that a line of the summary stands for."""
    return [run for run in data["runs"] if key_of(run) == key_of(line)]


def key_of(line):
    """What tells runs and summary lines apart, but for the seed."""
    return line["sampler"], line["batch_size"], shorter_of(line)


def seconds_to(curve, figure, goal):
    """Seconds of the first point of a curve whose figure is at least the goal; infinite where there is none."""
    return next((point["seconds"] for point in curve if point[figure] >= goal), math.inf)


SIGNAL_HEAD = (
    "| picture | uniform, batch | PSNR | shuffled, gain | auto, batch | PSNR | gain | sooner, time | worst moment (of any seed) |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
)
PHOTO_HEAD = (f"{SIGNAL_HEAD[0]} gain in less time |", f"{SIGNAL_HEAD[1]}---:|")


def photo(data, name=None):
    """The row of one picture: uniform at its best batch size, auto, and auto with a shorter budget of its own."""
    shorter = [line for line in data["summary"] if line["sampler"] == "auto" and shorter_of(line) > 1]
    told = (f"{gain_of(data, line):+.2f} in 1/{shorter_of(line):g}" for line in shorter)
    return row(*beside_uniform(data, name), ", ".join(told))


def gain_of(data, line):
    """How far the mean of a line of the summary lies above the baseline's."""
    return line["psnr_mean"] - baseline(data)["psnr_mean"]


def shuffled_gain(data):
    """How far the best mean of uniform sampling without replacement lies above the baseline's; None without such a run."""
    return max((gain_of(data, line) for line in data["summary"] if name_of(line) == "shuffled"), default=None)


def beside_uniform(data, name=None):
    """Uniform at its best batch size, what shuffling adds to it, and auto."""
    base, auto = baseline(data), auto_line(data)
    return (
        name or Path(data["signal"]["name"]).stem,
        f"{base['batch_size']:,}",
        level(base),
        difference(shuffled_gain(data), 0.0),
        f"{auto['batch_size']:,}",
        level(auto),
        difference(auto["psnr_mean"], base["psnr_mean"]),
        times(auto["speedup_seconds"]),
        moments(data, auto),
    )


def mean_photo(name, every):
    """The row of many pictures: mean gains, geometric mean of how many times sooner, worst of the worst moments."""
    gains = [gain_of(data, auto_line(data)) for data in every]
    sooner = geometric([auto_line(data)["speedup_seconds"] for data in every])
    in_less = {}
    for data in every:
        for line in data["summary"]:
            if line["sampler"] == "auto" and shorter_of(line) > 1:
                in_less.setdefault(shorter_of(line), []).append(gain_of(data, line))
    told = (
        f"{statistics.fmean(found):+.2f} in 1/{shorter:g}"
        for shorter, found in in_less.items()
        if len(found) == len(every)
    )
    mean = f"{statistics.fmean(gains):+.2f}"
    least = leads(auto_line(data) for data in every)
    single = leads(line for data in every for line in by_seed(data, auto_line(data)))
    worst = f"{signed(min(least))} ({signed(min(single))})" if single else ""
    shuffled = [shuffled_gain(data) for data in every]
    plain = "" if None in shuffled else f"{statistics.fmean(shuffled):+.2f}"
    return row(name, "", "", plain, "", "", mean, sooner, worst, ", ".join(told))


def moment(line):
    """The least that a sampler ever lies above the baseline."""
    return "" if line["worst_deficit"] is None else signed(-line["worst_deficit"])


def moments(data, line):
    """The least that a sampler ever lies above the baseline: in the median of the seeds, then with any of them."""
    single = leads(by_seed(data, line))
    return f"{moment(line)} ({signed(min(single))})" if len(single) > 1 else moment(line)


def leads(lines):
    """The least leads over the baseline of summary lines, where they are known."""
    return [-line["worst_deficit"] for line in lines if line["worst_deficit"] is not None]


def by_seed(data, line):
    """A summary line made anew for each seed alone."""
    size = baseline(data)["batch_size"]
    for seed in sorted({run["seed"] for run in data["runs"]}):
        alone = summarize([run for run in data["runs"] if run["seed"] == seed], size)
        yield next(one for one in alone if key_of(one) == key_of(line))


def signed(value):
    """Two digits and a sign, which zero has not."""
    return f"{round(value, 2) or 0.0:+.2f}"


def auto_line(data):
    return next(line for line in data["summary"] if name_of(line) == "auto")


def geometric(speedups):
    """Geometric mean of speed-ups, in which never counts as once, which is more than it is."""
    never = sum(speedup is None for speedup in speedups)
    mean = statistics.geometric_mean([1.0 if speedup is None else speedup for speedup in speedups])
    return f"at most {mean:.2f}x" if never else f"{mean:.2f}x"


def seconds_or_steps(data):
    settings = data["settings"]
    return f"{settings['steps']:,} steps" if settings["steps"] else f"{settings['seconds']:g} s"


SECTIONS = {
    "headline": standing,
    "kodak": photos,
    "minute": photos,
    "signals": signals,
    "shapes": shapes,
    "gigapixel": gigapixel,
    "nerf": over_time,
    "later": standing,
    "oracle": standing,
    "peers": timed,
    "langevin": by_steps,
    "alpha": by_steps,
    "reinit": by_steps,
    "warmup": by_steps,
}
"""Names of the sections, and what makes their tables."""
TOGETHER = {"kodak": photos, "minute": photos, "signals": signals, "shapes": shapes, "gigapixel": gigapixel}
"""Sections that put all their files into one table."""


def baseline(data):
    """The summary line that gains are over: uniform with the whole budget, at the size at which it ends highest.

    Where a comparison looked for that size, its figures are against the one that the summary names.
    """
    uniform = [
        line for line in data["summary"] if name_of(line) == "uniform" and line["psnr_mean"] is not None
    ]
    sizes = {line["baseline_batch_size"] for line in uniform} if data.get("tuning") else ()
    found = [line for line in uniform if line["batch_size"] in sizes]
    return max(found or uniform, key=lambda line: line["psnr_mean"], default=None)


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def level(line):
    if line["psnr_mean"] is None:
        return "diverged"
    return f"{line['psnr_mean']:.2f}" + (f" ± {line['psnr_std']:.2f}" if line["psnr_std"] else "")


def difference(value, other):
    return "" if value is None or other is None else f"{value - other:+.2f}"


def times(speedup):
    return "never" if speedup is None else f"{speedup:.2f}x"


def percent(share, *, sign=False):
    return "" if share is None else f"{share:+.0%}" if sign else f"{share:.0%}"


if __name__ == "__main__":
    main(sys.argv[1:])
