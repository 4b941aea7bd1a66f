"""The kinds of signal that ``softmine fit`` and ``softmine compare`` know, one module each.

A module has ``Options``, a dataclass of the flags that only its kind takes, and ``read(path, options)``, which makes a
``Task`` of a PATH, or of a built-in signal where that is None.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from typing import Any

from softmine.errors import SoftmineError


@dataclass(frozen=True)
class Kind:
    """A kind of signal.

    Attributes:
        name: what people call one: ``a picture``.
        paths: what a PATH may be, as a sentence for the command line's help.
        batch_size: coordinates per step by default; None for the default of sampler and signal.
    """

    name: str
    paths: str
    batch_size: int | None = None


KINDS: dict[str, Kind] = {
    "image": Kind("a picture", "PATH is a PNG, JPEG, TIFF, NPY or EXR file, or builtin:NAME."),
    "audio": Kind("a sound", "PATH is a WAV, FLAC, OGG, MP3 or AIFF file, or builtin:chimes."),
    "video": Kind("a video", "PATH is an MP4, MOV, MKV, WebM, AVI or GIF file, or builtin:discs."),
    "volume": Kind("a volume", "PATH is a NIfTI (.nii, .nii.gz), NPY, NPZ or TIFF file, or builtin:phantom."),
    "shape": Kind(
        "a shape", "PATH is an OBJ, PLY, STL, OFF, GLB or GLTF file, builtin:knot or builtin:ball."
    ),
    "nerf": Kind(
        "a scene",
        "PATH is a folder of posed photos (Blender, nerfstudio, instant-ngp, LLFF or COLMAP), or builtin:still-life.",
        batch_size=1024,
    ),
}
"""Kinds by the word after ``softmine fit``, which is also their module's name."""


def module(kind: str) -> Any:
    """The module of a kind, imported when it is needed, since each brings libraries of its own."""
    return importlib.import_module(f"softmine.tasks.{kind}")


def options_of(stored: dict[str, Any], kind: str, where: str) -> Any:
    """The ``Options`` of a kind from what ``config.json`` or ``results.json`` keeps of them.

    Raises:
        SoftmineError: another version wrote them.
    """
    try:
        return module(kind).Options(**stored)
    except TypeError as error:
        raise SoftmineError(
            f"{where} was written by another version of softmine and cannot be resumed: {error}"
        ) from error


def plain(options: Any) -> dict[str, Any]:
    """``Options`` as they are kept in JSON."""
    return asdict(options)
