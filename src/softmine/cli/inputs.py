"""What a PATH on the command line means."""

from __future__ import annotations

from softmine.signals import Image

DEFAULT = "astronaut"
BUILTIN = "builtin:"


def load_image(path: str | None) -> Image:
    """The picture a PATH names: a file, ``builtin:NAME``, or the default built-in picture for None."""
    if path is None:
        return Image.builtin(DEFAULT)
    if path.startswith(BUILTIN):
        return Image.builtin(path[len(BUILTIN) :])
    return Image.read(path)
