"""``softmine fit``: from a file to a trained field, pictures, a report and a checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional, arg

from softmine.cli.complain import complain
from softmine.cli.console import PlainConsole
from softmine.cli.inputs import default_folder, load_image
from softmine.cli.parse import parse
from softmine.cli.resume import check_resumable, same_image, stored_settings
from softmine.errors import SoftmineError
from softmine.sampling import default_batch_size
from softmine.sampling import parse as parse_spec
from softmine.signals import Image
from softmine.study.report import write_fit_report
from softmine.training import devices
from softmine.training.fit_image import Outcome, fit_image, new_run, prepare
from softmine.training.interrupt import INTERRUPTED, Interrupted, stop_if
from softmine.training.new_folder import check_free
from softmine.training.run_folder import RunFolder
from softmine.training.settings import FitSettings

PROGRAM = "softmine fit image"
EXIT_CODES = {"finished": 0, "stopped-nan": 1, "interrupted": INTERRUPTED}


@dataclass(frozen=True)
class FitImage(FitSettings):
    """Fit a neural field to a picture, and write reconstruction, report and checkpoint.

    PATH is a PNG, JPEG, TIFF, NPY or EXR file, or builtin:NAME. Without it, a built-in picture is used.
    """

    path: Annotated[str | None, Positional, arg(metavar="[PATH]", help_behavior_hint="")] = None
    """Picture to fit: a file, or builtin:NAME (astronaut, retina, hubble, ...)."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """The run folder. Default: a new folder under runs/."""
    resume: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """Run folder to continue; its settings are kept, and --steps or --seconds may be raised."""


def fit_image_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine fit image`` and returns the exit code."""
    args = parse(FitImage, PROGRAM, arguments)
    console = PlainConsole()
    if args.resume:
        run = RunFolder.open(args.resume)
        # Once more, because the settings of the run are the other flags' defaults.
        stored = stored_settings(run)
        args = parse(FitImage, PROGRAM, arguments, FitImage(**asdict(stored)))
        settings = _checked_settings(args)
        check_resumable(run, stored, settings, args.out)
        stop_if(interrupted)
        image = same_image(run, args.path)
    else:
        run = None
        settings = _checked_settings(args)
        if args.out:
            check_free(args.out)
        stop_if(interrupted)
        image = load_image(args.path)
        size = settings.batch_size or default_batch_size(settings.sampler, image.domain)
        settings = replace(settings, batch_size=size)
    stop_if(interrupted)
    fit = prepare(image, settings)
    stop_if(interrupted)
    if run is None:
        out = args.out or default_folder(Path(image.name).stem, parse_spec(settings.sampler)[0])
        run = new_run(out, image, settings, shlex.join(["softmine", "fit", "image", *arguments]))
    console.print(Text.assemble((image.name, "bold"), f"  {_size(image)}  ->  {run.path}"), soft_wrap=True)
    outcome = fit_image(run, fit, settings, console, interrupted)
    return _close(outcome, console)


def _checked_settings(args: FitImage) -> FitSettings:
    settings = FitSettings(**{field.name: getattr(args, field.name) for field in fields(FitSettings)})
    settings.check()
    if not 0 <= settings.seed < 2**63:
        raise SoftmineError(f"--seed is {settings.seed}: give a whole number from 0 to 2^63 - 1")
    devices.choose(settings.device)
    return settings


def _close(outcome: Outcome, console: Console) -> int:
    if outcome.state == "interrupted" and not outcome.folder.exists():
        complain(outcome.message)
        return EXIT_CODES[outcome.state]
    report = write_fit_report(outcome.folder)
    if outcome.message:
        complain(outcome.message)
    console.print(f"report: {report}", soft_wrap=True)
    return EXIT_CODES[outcome.state]


def _size(image: Image) -> str:
    height, width, channels = image.shape
    kind = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}[channels]
    return f"{width} x {height} {kind} {image.dtype}"
