"""``softmine fit``: from a file to a trained field, pictures, a report and a checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from softmine.cli.inputs import load_image
from softmine.domain import SoftmineError
from softmine.sampling import parse
from softmine.signals import Image
from softmine.study.report import write_fit_report
from softmine.training import devices
from softmine.training.fit_image import Outcome, describe, fit_image, new_run
from softmine.training.run_folder import RunFolder, check_free
from softmine.training.settings import FitSettings

CHANGEABLE = ("steps", "seconds", "evaluations", "checkpoint_every", "device")
EXIT_CODES = {"finished": 0, "stopped-nan": 1, "interrupted": 130}


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


def fit_image_command(arguments: list[str]) -> int:
    """Runs ``softmine fit image`` and returns the exit code."""
    folder = _resumed_folder(arguments)
    run = RunFolder.open(folder) if folder else None
    stored = _stored_settings(run) if run else None
    default = FitImage(**asdict(stored)) if stored else FitImage()
    args = tyro.cli(FitImage, prog="softmine fit image", args=arguments, default=default)
    settings = FitSettings(**{field.name: getattr(args, field.name) for field in fields(FitSettings)})
    settings.check()
    devices.choose(settings.device)
    console = Console(highlight=False)
    if run and stored:
        image = _same_image(run, args.path)
        _check_unchanged(stored, settings)
        if args.out and args.out.absolute() != run.path.absolute():
            raise SoftmineError("--resume continues in its own folder: leave out --out")
    else:
        out = args.out
        if out:
            check_free(out)
        image = load_image(args.path)
        out = out or _new_folder(image.name, settings.sampler)
        run = new_run(out, image, settings, shlex.join(["softmine", "fit", "image", *arguments]))
    console.print(f"[bold]{image.name}[/bold]  {_size(image)}  ->  {run.path}", soft_wrap=True)
    outcome = fit_image(run, image, settings, console)
    return _close(outcome, console)


def _close(outcome: Outcome, console: Console) -> int:
    report = write_fit_report(outcome.folder)
    if outcome.message:
        Console(stderr=True, highlight=False).print(
            f"softmine: {outcome.message}", soft_wrap=True, markup=False
        )
    console.print(f"report: {report}", soft_wrap=True)
    return EXIT_CODES[outcome.state]


def _resumed_folder(arguments: list[str]) -> Path | None:
    """The folder after ``--resume``, looked for first because its settings are the other flags' defaults."""
    for index, word in enumerate(arguments):
        if word == "--resume" and index + 1 < len(arguments):
            return Path(arguments[index + 1])
        if word.startswith("--resume="):
            return Path(word.partition("=")[2])
    return None


def _stored_settings(run: RunFolder) -> FitSettings:
    try:
        return FitSettings(**run.config["settings"])
    except TypeError as error:
        raise SoftmineError(
            f"{run.path / 'config.json'} was written by another version of softmine and cannot be resumed: {error}"
        ) from error


def _check_unchanged(stored: FitSettings, settings: FitSettings) -> None:
    for field in fields(FitSettings):
        before, now = getattr(stored, field.name), getattr(settings, field.name)
        if before != now and field.name not in CHANGEABLE:
            flag = "--" + field.name.replace("_", "-")
            raise SoftmineError(f"a resumed run keeps its {flag} {before}: start a new run for {flag} {now}")


def _same_image(run: RunFolder, given: str | None) -> Image:
    signal = run.config["signal"]
    if run.config.get("task") != "image":
        raise SoftmineError(f"{run.path} is a run of '{run.config.get('task')}', not of an image")
    source = given or signal["path"] or f"builtin:{signal['name']}"
    try:
        image = load_image(source)
    except SoftmineError as error:
        if given is None and signal["path"] and not Path(signal["path"]).exists():
            raise SoftmineError(
                f"the picture of this run is gone from {signal['path']}: give its new PATH beside --resume"
            ) from error
        raise
    if image.fingerprint != signal["fingerprint"]:
        raise SoftmineError(
            f"{source} is not the picture that the run in {run.path} was started with "
            f"({describe(image)['shape']} against {signal['shape']}, other contents): give that picture's PATH"
        )
    return image


def _new_folder(name: str, sampler: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    base = Path("runs") / f"{Path(name).stem}-{parse(sampler)[0]}-{stamp}"
    folder, count = base, 1
    while folder.exists():
        count += 1
        folder = base.with_name(f"{base.name}-{count}")
    return folder


def _size(image: Image) -> str:
    height, width, channels = image.shape
    kind = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}[channels]
    return f"{width} x {height} {kind} {image.dtype}"
