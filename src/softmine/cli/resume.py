"""What may change when a run is resumed, and whether it can be."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from softmine.cli.inputs import BUILTIN, load_image
from softmine.errors import SoftmineError
from softmine.signals import Image
from softmine.training.fit_image import describe
from softmine.training.run_folder import RunFolder
from softmine.training.settings import FitSettings

CHANGEABLE = ("steps", "seconds", "evaluations", "checkpoint_every", "device")


def stored_settings(run: RunFolder) -> FitSettings:
    """The settings that a run was started with.

    Raises:
        SoftmineError: it is no run of an image, or another version or another program wrote its settings.
    """
    file = run.path / "config.json"
    if run.config.get("task") != "image":
        raise SoftmineError(f"{run.path} is a run of '{run.config.get('task')}', not of an image")
    settings = run.config["settings"]
    hints = get_type_hints(FitSettings)
    for name, value in settings.items():
        if name in hints and not _is_of(value, hints[name]):
            raise SoftmineError(f"{file} is damaged: its setting '{name}' is {json.dumps(value)}")
    try:
        return FitSettings(**settings)
    except TypeError as error:
        raise SoftmineError(
            f"{file} was written by another version of softmine and cannot be resumed: {error}"
        ) from error


def check_resumable(run: RunFolder, stored: FitSettings, settings: FitSettings, out: Path | None) -> None:
    """Raises SoftmineError if the flags beside ``--resume`` ask for what a resumed run cannot do."""
    if out and out.resolve() != run.path.resolve():
        raise SoftmineError("--resume continues in its own folder: leave out --out")
    for field in fields(FitSettings):
        before, now = getattr(stored, field.name), getattr(settings, field.name)
        if before != now and field.name not in CHANGEABLE:
            flag = "--" + field.name.replace("_", "-")
            raise SoftmineError(f"a resumed run keeps its {flag} {before}: start a new run for {flag} {now}")
    if settings.steps is not None and settings.steps < run.done:
        raise SoftmineError(
            f"--steps is {settings.steps}, but the run in {run.path} has already done {run.done}: give at least that"
        )


def same_image(run: RunFolder, given: str | None) -> Image:
    """The picture of a run, from where it was or from the PATH given now.

    Raises:
        SoftmineError: it is gone, or it is another picture.
    """
    signal = run.config["signal"]
    source = given or signal["path"] or BUILTIN + signal["name"]
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
            f"({describe(image)['shape']} against {signal.get('shape')}, other contents): give that picture's PATH"
        )
    return image


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has one of the types in ``hint``; whole numbers are numbers, truth values are not."""
    kinds = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)
