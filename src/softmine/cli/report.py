"""``softmine report``: the report of a folder, written again from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softmine.cli.console import PlainConsole
from softmine.cli.parse import parse
from softmine.errors import SoftmineError
from softmine.reports import write_compare_report, write_fit_report
from softmine.runs.files import unusable
from softmine.runs.interrupt import Interrupted, stop_if


@dataclass(frozen=True)
class Report:
    """Write report.html again, from the files of run or comparison folders."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders made by softmine fit or softmine compare."""


def report_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine report`` and returns the exit code."""
    args = parse(Report, "softmine report", arguments)
    if not args.runs:
        raise SoftmineError("softmine report needs at least one folder")
    console = PlainConsole()
    for folder in args.runs:
        stop_if(interrupted)
        try:
            compared = (folder / "results.json").exists()
        except OSError as error:
            raise unusable("write a report on", folder, error) from error
        console.print(str((write_compare_report if compared else write_fit_report)(folder)))
    return 0
