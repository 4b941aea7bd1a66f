"""``softmine compare``: samplers side by side, on the same field and the same clock."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from softmine.cli.console import PlainConsole
from softmine.cli.inputs import default_folder, load_image
from softmine.cli.parse import parse
from softmine.study.compare import CompareSettings, compare_image
from softmine.study.report import write_compare_report
from softmine.training import devices, new_folder
from softmine.training.interrupt import INTERRUPTED, Interrupted, stop_if
from softmine.training.progress import decibels


@dataclass(frozen=True)
class CompareImage(CompareSettings):
    """Compare samplers on a picture: PSNR at equal time and equal steps, with a report.

    PATH is a PNG, JPEG, TIFF, NPY or EXR file, or builtin:NAME. Without it, a built-in picture is used. Every run
    trains for --seconds or --steps; runs take turns, and only training is on the clock.
    """

    path: Annotated[str | None, Positional, arg(metavar="[PATH]", help_behavior_hint="")] = None
    """Picture to fit: a file, or builtin:NAME (astronaut, retina, hubble, ...)."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder for results.json, report.html and pictures. Default: a new folder under runs/."""


def compare_image_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine compare image`` and returns the exit code."""
    args = parse(CompareImage, "softmine compare image", arguments)
    settings = CompareSettings(**{f.name: getattr(args, f.name) for f in fields(CompareSettings)})
    settings.check()
    devices.choose(settings.device)
    if args.out:
        new_folder.check_free(args.out)
    stop_if(interrupted)
    image = load_image(args.path)
    stop_if(interrupted)
    folder = new_folder.plain(args.out or default_folder("compare", Path(image.name).stem))
    new_folder.check_free(folder)
    made = new_folder.make(folder)
    console = PlainConsole()
    command = shlex.join(["softmine", "compare", "image", *arguments])
    results = compare_image(folder, image, settings, console, command=command, interrupted=interrupted)
    if interrupted() and not results["runs"]:
        new_folder.take_away(folder, ("results.json", "images"), made)
        stop_if(interrupted)
    # The page first: a table that cannot be printed must not cost it.
    report = write_compare_report(folder)
    _print_summary(results, console)
    console.print(f"report: {report}", soft_wrap=True)
    if not results["complete"]:
        return INTERRUPTED
    diverged = [line["sampler"] for line in results["summary"] if line["diverged"]]
    if diverged:
        print(
            f"softmine: the loss diverged with {', '.join(diverged)}: lower --learning-rate", file=sys.stderr
        )
    return 1 if diverged else 0


def _print_summary(results: dict[str, Any], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sampler", overflow="fold")
    for name in ("batch", "PSNR dB", "sooner (time)", "sooner (steps)", "overhead"):
        table.add_column(name, justify="right")
    for line in results["summary"]:
        spread = f" ±{line['psnr_std']:.2f}" if line["psnr_std"] else ""
        table.add_row(
            line["sampler"],
            f"{line['batch_size']:,}",
            "diverged" if line["psnr_mean"] is None else decibels(line["psnr_mean"]) + spread,
            _times(line["speedup_seconds"], line),
            _times(line["speedup_steps"], line),
            "-" if line["overhead"] is None else f"{line['overhead']:+.0%}",
        )
    console.print(table)


def _times(speedup: float | None, line: dict[str, Any]) -> str:
    if speedup is not None:
        return f"{speedup:.2f}x"
    return "-" if line["overhead"] is None else "never"
