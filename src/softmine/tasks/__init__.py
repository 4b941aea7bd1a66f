"""The kinds of signal that ``softmine fit`` and ``softmine compare`` know, one module each.

See ``KindModule`` for what a module has.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, get_type_hints, runtime_checkable

from softmine.checks import is_of
from softmine.errors import SoftmineError

if TYPE_CHECKING:
    from softmine.runs.task import Report, Task

BUILTIN = "builtin:"
"""Before the name of a signal that needs no file."""
NERF_BATCH_SIZE = 1024
"""Rays, by default: on two cores, 40 seconds of the NeRF-Synthetic chair at 200 x 200 gave 29.6 dB with 1024, 25.6 dB with
4096 (uniform, one seed). A GPU wants some thousands."""


@dataclass(frozen=True)
class Kind:
    """A kind of signal.

    Attributes:
        noun: what people call one.
        paths: what a PATH may be, as a sentence for the command line's help.
        batch_size: coordinates per step by default; None for the default of sampler and signal.
        endings: of names of files that can only be of this kind.
    """

    noun: str
    paths: str
    batch_size: int | None = None
    endings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The noun with its article: ``an image``."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"


KINDS: dict[str, Kind] = {
    "image": Kind(
        "image",
        "PATH is a PNG, JPEG, TIFF, WebP, BMP, NPY or EXR file, or builtin:NAME.",
        endings=(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".exr"),
    ),
    "audio": Kind(
        "audio clip",
        "PATH is a WAV, FLAC, OGG, MP3 or AIFF file, or builtin:chimes.",
        endings=(".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"),
    ),
    "video": Kind(
        "video",
        "PATH is an MP4, MOV, MKV, WebM, AVI or GIF file, or builtin:discs.",
        endings=(".mp4", ".mov", ".mkv", ".webm", ".avi"),
    ),
    "volume": Kind(
        "volume",
        "PATH is a NIfTI (.nii, .nii.gz), NPY, NPZ or TIFF file, a folder of slices, or builtin:phantom.",
        endings=(".nii", ".nii.gz", ".npz"),
    ),
    "shape": Kind(
        "shape",
        "PATH is an OBJ, PLY, STL, OFF, GLB or GLTF file, builtin:knot or builtin:ball.",
        endings=(".obj", ".ply", ".stl", ".off", ".glb", ".gltf"),
    ),
    "nerf": Kind(
        "scene",
        "PATH is a folder of posed photos (Blender, nerfstudio, instant-ngp, LLFF or COLMAP), or builtin:still-life.",
        batch_size=NERF_BATCH_SIZE,
    ),
}
"""Kinds by the word after ``softmine fit``, which is also their module's name."""


@runtime_checkable
class KindModule(Protocol):
    """What the module of a kind has.

    Attributes:
        Options: a dataclass of the flags that only this kind takes.
    """

    Options: type[Any]

    def read(self, path: str | None, options: Any, report: Report = ...) -> Task:
        """A task of the signal that a PATH names, or of the default built-in one for None.

        Raises:
            SoftmineError: there is none, or it cannot be read.
        """
        ...


def module(kind: str) -> KindModule:
    """The module of a kind, imported when it is needed, since each brings libraries of its own."""
    return cast("KindModule", importlib.import_module(f"softmine.tasks.{kind}.task"))


def options_of(stored: dict[str, Any], kind: str, where: str) -> Any:
    """The ``Options`` of a kind from what ``config.json`` or ``results.json`` keeps of them.

    Raises:
        SoftmineError: another version wrote them, or they are damaged.
    """
    options = module(kind).Options
    hints = get_type_hints(options)
    for name, value in stored.items():
        if name in hints and not is_of(value, hints[name]):
            raise SoftmineError(f"{where} is damaged: its option '{name}' is {json.dumps(value):.60}")
    try:
        return options(**stored)
    except TypeError as error:
        raise SoftmineError(
            f"{where} was written by another version of softmine and cannot be resumed: {error}"
        ) from error


def kind_of(path: str) -> str | None:
    """The kind of signal that a file of such a name can only be; None where it may be of several, or of none.

    Example:
        >>> kind_of("clip.MP4"), kind_of("scan.nii.gz"), kind_of("stack.tif")
        ('video', 'volume', None)
    """
    return next(
        (kind for kind, each in KINDS.items() if path.lower().endswith(each.endings or ("\0",))), None
    )


def builtin_name(path: str | None, default: str) -> str | None:
    """The name of the built-in signal that a PATH asks for, ``default`` where there is none; None where it is a file's.

    Example:
        >>> builtin_name(None, "chimes"), builtin_name("builtin:knot", "ball"), builtin_name("a.wav", "chimes")
        ('chimes', 'knot', None)
    """
    if path is None:
        return default
    return path[len(BUILTIN) :] if path.startswith(BUILTIN) else None


def plain(options: Any) -> dict[str, Any]:
    """``Options`` as they are kept in JSON."""
    return asdict(options)
