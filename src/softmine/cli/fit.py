"""``softmine fit``: from a file to a trained field, images, a report and a checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from rich.console import Console

from softmine.cli.complain import compiling_told, complain
from softmine.cli.console import PlainConsole
from softmine.cli.flags import (
    Flag,
    checked_settings,
    default_folder,
    folder,
    kind_command,
    options_of,
    read,
    stem,
)
from softmine.cli.parse import parse
from softmine.cli.resume import check_resumable, same_signal, stored_options, stored_settings
from softmine.cli.signal_line import print_signal
from softmine.registry import Spec
from softmine.reports import write_fit_report
from softmine.runs.files import check_free
from softmine.runs.fit import Outcome, Prepared, fit, new_run, prepare
from softmine.runs.interrupt import INTERRUPTED, Interrupted, at_once
from softmine.runs.run_folder import RunFolder
from softmine.tasks import KINDS, plain
from softmine.training.settings import FitSettings

EXIT_CODES = {"finished": 0, "stopped-nan": 1, "interrupted": INTERRUPTED}


FLAGS = (
    folder("out", "The run folder. Default: a new folder under runs/."),
    folder(
        "resume",
        "Run folder to continue; its settings are kept, and --steps or --seconds may be raised.",
        "RUN",
    ),
)


def fit_command(
    kind: str,
    arguments: list[str],
    interrupted: Interrupted,
    *,
    program: str | None = None,
    more: Sequence[Flag] = (),
    check: Callable[[Any], None] = lambda args: None,
    beside: Callable[[Any, RunFolder, Prepared], AbstractContextManager[None]] | None = None,
) -> int:
    """Runs ``softmine fit KIND`` and returns the exit code.

    Args:
        kind: of signal.
        arguments: flags and PATH.
        interrupted: whether a person wants to stop.
        program: what the person typed before the arguments, where it is another command that trains.
        more: flags of that command alone.
        check: raises SoftmineError for bad ones among them.
        beside: given all flags, the run and what trains, a context to train in.
    """
    program, name = program or f"softmine fit {kind}", KINDS[kind].name
    text = f"Fit a neural field to {name}, and write reconstruction, report and checkpoint."
    flags = kind_command(FitSettings, kind, text, (*FLAGS, *more))
    args = parse(flags, program, arguments)
    check(args)
    console = PlainConsole()
    if args.resume:
        run = RunFolder.open(args.resume)
        # Once more, because the settings of the run are the other flags' defaults.
        stored, options = stored_settings(run, kind), stored_options(run, kind)
        args = parse(flags, program, arguments, flags(**asdict(stored), **plain(options)))
        settings = checked_settings(args, FitSettings)
        check_resumable(run, stored, settings, args.out)
        with at_once(interrupted):
            task = same_signal(run, kind, args.path, options, options_of(args, kind))
    else:
        run = None
        settings, options = checked_settings(args, FitSettings), options_of(args, kind)
        if args.out:
            check_free(args.out)
        with at_once(interrupted):
            task = read(kind, args.path, options)
    with at_once(interrupted), compiling_told():
        prepared = prepare(task, settings)
    command, resumed = shlex.join([*program.split(), *arguments]), run is not None
    if run is None:
        out = args.out or default_folder(stem(task), Spec.parse(settings.sampler).name)
        run = new_run(out, prepared, command, plain(options))
    print_signal(console, task, run.path)
    with beside(args, run, prepared) if beside else nullcontext():
        outcome = fit(run, prepared, console, interrupted, command if resumed else None)
        return _close(outcome, console)


def _close(outcome: Outcome, console: Console) -> int:
    if outcome.state == "interrupted" and not outcome.folder.exists():
        complain(outcome.message)
        return EXIT_CODES[outcome.state]
    report = write_fit_report(outcome.folder)
    if outcome.message:
        complain(outcome.message)
    console.print(f"report: {report}")
    return EXIT_CODES[outcome.state]
