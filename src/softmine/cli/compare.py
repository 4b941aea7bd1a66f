"""``softmine compare``: samplers side by side, on the same field and the same clock."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from softmine.cli.complain import complain
from softmine.cli.console import PlainConsole
from softmine.cli.flags import checked_settings, default_folder, folder, kind_command, options_of, read, stem
from softmine.cli.parse import parse
from softmine.cli.resume import same_signal, stored_options
from softmine.cli.signal_line import print_signal
from softmine.errors import SoftmineError
from softmine.formatting import count, fixed, percent, signed, speedup
from softmine.reports import write_compare_report
from softmine.runs import files
from softmine.runs.interrupt import INTERRUPTED, Interrupted, at_once, stop_if
from softmine.runs.progress import in_terminal
from softmine.runs.run_folder import RunFolder
from softmine.runs.task import Task
from softmine.study.compare import Results, all_entries, compare, is_complete, new_results
from softmine.study.json_fields import written
from softmine.study.matrix import CompareSettings, entries, sized
from softmine.study.results import Comparison, Line
from softmine.study.stored import check_machine, check_tuned, grown, read_results, stored_settings
from softmine.study.studies import Study
from softmine.tasks import KINDS, plain
from softmine.training import devices
from softmine.training.sampler import make_sampler

FLAGS = (
    folder("out", "Folder for results.json, report.html and images. Default: a new folder under runs/."),
    folder(
        "resume",
        "Folder of a comparison to resume: what is finished stays, and --samplers, --batch-sizes and --seeds add "
        "runs.",
    ),
)


def compare_command(
    kind: str, arguments: list[str], interrupted: Interrupted, *, name: str = "", study: Study | None = None
) -> int:
    """Runs a comparison and returns the exit code.

    Args:
        kind: of signal.
        arguments: flags and PATH.
        interrupted: whether a person wants to stop.
        name: of a study.
        study: has settings that the flags change.
    """
    program = f"softmine study {name}" if study else f"softmine compare {kind}"
    flags = _flags(kind)
    own = KINDS[kind].batch_size
    default = study.settings() if study else CompareSettings(batch_sizes=(own,)) if own else CompareSettings()
    start = flags(**asdict(with_room(default, arguments)))
    args, command = parse(flags, program, arguments, start), shlex.join([*program.split(), *arguments])
    if args.resume:
        return _resume(args.resume, kind, program, arguments, command, interrupted)
    settings = checked_settings(args, CompareSettings)
    if args.out:
        files.check_free(args.out)
    options = options_of(args, kind)
    with at_once(interrupted):
        task = read(kind, args.path, options)
    if study and study.batch_share is not None:
        batch_size = max(1, round(study.batch_share * task.signal.domain.cells))
        settings = checked_settings(
            parse(flags, program, arguments, replace(start, batch_sizes=(batch_size,))), CompareSettings
        )
    settings = for_signal(settings, task)
    words = ("study", name) if study else ("compare",)
    folder = files.resolved(args.out or default_folder(*words, stem(task)))
    files.check_free(folder)
    results = new_results(task, settings, command, plain(options))
    made = files.make_folder(folder, lambda path: files.write_json(path / "results.json", results))
    console = PlainConsole()
    print_signal(console, task, folder)
    try:
        compare(folder, task, settings, results, console, interrupted)
        if not results["runs"] and not results.get("tuning"):
            stop_if(interrupted)
    except BaseException:
        # A sampler may refuse what only its turn shows, or memory end: where nothing was trained, nothing is left.
        if not results["runs"] and not results.get("tuning"):
            files.take_away(folder, ("results.json", "images"), made)
        raise
    return _close(folder, settings, results, console)


def _flags(kind: str) -> type:
    name = KINDS[kind].name
    text = (
        f"Compare samplers on {name}: PSNR at equal time and equal steps, with a report. Every run trains for --seconds "
        "or --steps; runs take turns, and only training is on the clock."
    )
    return kind_command(CompareSettings, kind, text, FLAGS)


def with_room(settings: CompareSettings, arguments: list[str]) -> CompareSettings:
    """Settings whose own budget gives way to the one on the command line, of whichever kind that is."""
    given = {word.partition("=")[0] for word in arguments}
    if "--steps" in given and "--seconds" not in given:
        return replace(settings, steps=1, seconds=None)
    if "--seconds" in given and "--steps" not in given:
        return replace(settings, steps=None, seconds=1.0)
    return settings


def _resume(
    folder: Path, kind: str, program: str, arguments: list[str], command: str, interrupted: Interrupted
) -> int:
    folder = files.resolved(folder)
    results = read_results(folder)
    found = RunFolder(folder, results)
    stored, options = stored_settings(folder, results, kind), stored_options(found, kind)
    flags = _flags(kind)
    # Once more, because the settings of the comparison are the other flags' defaults.
    args = parse(flags, program, arguments, flags(**asdict(stored), **plain(options)))
    if args.out and args.out.resolve() != folder.resolve():
        raise SoftmineError("--resume continues in its own folder: leave out --out")
    wanted = checked_settings(args, CompareSettings)
    with at_once(interrupted):
        task = same_signal(found, kind, args.path, options, options_of(args, kind))
    settings = grown(folder, stored, for_signal(wanted, task))
    settings.check()
    check_tuned(folder, results, stored, settings)
    check_machine(folder, results, settings)
    stop_if(interrupted)
    files.remove_leftovers(folder)
    if not is_complete(settings, results):
        results.setdefault("resumed", []).append({"command": command, "versions": devices.versions()})
    console = PlainConsole()
    print_signal(console, task, folder)
    compare(folder, task, settings, results, console, interrupted)
    return _close(folder, settings, results, console)


def for_signal(settings: CompareSettings, task: Task) -> CompareSettings:
    """Settings with the batch sizes for a signal, or SoftmineError where a sampler cannot take one."""
    domain = task.signal.domain
    settings = sized(settings, domain, task.batch_size)
    # Once more: auto may have been given the batch size of another.
    settings.check()
    for entry in entries(settings):
        if entry.batch_size is not None and entry.batch_size > domain.cells:
            make_sampler(entry.sampler, task.signal, entry.batch_size, seed=0)
    return settings


def _close(folder: Path, settings: CompareSettings, results: Results, console: Console) -> int:
    # The page first: a table that cannot be printed must not cost it.
    report = write_compare_report(folder)
    _print_summary(results, console)
    console.print(f"report: {report}")
    if not results["complete"]:
        ended = sum(run.ended for run in results["runs"])
        total = len(all_entries(settings, results)) * settings.seeds
        complain(f"interrupted with {ended} of {total} runs finished; continue with --resume {folder}")
        return INTERRUPTED
    diverged = [line.name for line in results["summary"] if line.diverged]
    if diverged:
        complain(f"the loss diverged with {', '.join(diverged)}: lower --learning-rate")
    return 1 if diverged else 0


def _print_summary(results: Results, console: Console) -> None:
    comparison = Comparison.parse(written(results))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sampler", overflow="fold", min_width=8)
    exact = any(line.exact_share is not None for line in comparison.lines)
    names = ["batch", "PSNR dB", "speed-up (time)", "speed-up (steps)", "overhead", "margin dB"]
    rows = []
    for line in comparison.lines:
        deviation = f" ±{fixed(line.deviation, 2)}" if line.deviation else ""
        rows.append(
            (
                line.name,
                count(line.batch_size),
                "diverged" if line.psnr is None else fixed(line.psnr, 2) + deviation,
                _speedup(line.speedup_seconds, line),
                _speedup(line.speedup_steps, line),
                _overhead(line),
                "-" if line.minimum_margin is None else signed(line.minimum_margin),
                *([percent(line.exact_share)] if exact else []),
            )
        )
    for number, name in enumerate([*names, "of exact"] if exact else names, 1):
        words = " ".join([name, *(row[number] for row in rows)]).split()
        # Numbers stay whole: in a terminal that is too narrow for them, lines go on beyond its edge.
        table.add_column(name, justify="right", min_width=max(map(len, words)))
    for row in rows:
        table.add_row(*row)
    if not in_terminal(console):
        # In a file or a pipe there is no edge to keep to.
        console.width = max(console.width, 160)
    console.print(table, crop=False, soft_wrap=False)
    if any(line.shorter > 1 for line in comparison.lines):
        console.print("/ and a number: trained for a budget that many times shorter")
    if comparison.tuning:
        size = next((line.baseline_batch_size for line in comparison.lines), None)
        if size is not None:
            console.print(f"speed-up, margin: against uniform at its best batch size, {count(size)}")


def _overhead(line: Line) -> str:
    occasional = line.occasional_overhead
    in_all = "" if occasional is None else f" ({percent(occasional, sign=True)} in all)"
    return percent(line.overhead, sign=True) + in_all


def _speedup(factor: float | None, line: Line) -> str:
    return "-" if factor is None and line.baseline_batch_size is None else speedup(factor)
