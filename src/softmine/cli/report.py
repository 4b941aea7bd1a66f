"""``softmine report``: the report of a folder, written again from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softmine.study.report import write_compare_report, write_fit_report


@dataclass(frozen=True)
class Report:
    """Write report.html again, from the files of run or comparison folders."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders made by softmine fit or softmine compare."""


def report_command(arguments: list[str]) -> int:
    """Runs ``softmine report`` and returns the exit code."""
    args = tyro.cli(Report, prog="softmine report", args=arguments)
    for folder in args.runs:
        write = write_compare_report if (folder / "results.json").exists() else write_fit_report
        print(write(folder))
    return 0
