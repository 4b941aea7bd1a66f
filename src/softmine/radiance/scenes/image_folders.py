"""Folders of one scene's pictures at several sizes: ``images``, ``images_2``, ``images_4``, ``images_8``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from softmine.errors import SoftmineError


class ImageFolder(NamedTuple):
    """A folder of images, how many times smaller than full size, and how many times they are averaged down yet."""

    folder: Path
    factor: int
    downscale: int


def choose(scene: Path, downscale: int) -> ImageFolder:
    """The smallest copies that averaging over whole blocks brings to full size over ``downscale``.

    A ``downscale`` of 1 takes the largest there are, even where those of full size are missing.

    Raises:
        SoftmineError: there is no folder of pictures, or none of a size that can be used.
    """
    found = {1: scene / "images"} if (scene / "images").is_dir() else {}
    for folder in scene.glob("images_*"):
        match = re.fullmatch(r"images_([1-9]\d{0,3})", folder.name)
        if match and folder.is_dir():
            found[int(match[1])] = folder
    if not found:
        raise SoftmineError(
            f"cannot read {scene}: it has no folder 'images' (nor images_2, images_4, images_8)"
        )
    if downscale == 1:
        factor = min(found)
        return ImageFolder(found[factor], factor, 1)
    usable = [factor for factor in found if downscale % factor == 0]
    if not usable:
        names = ", ".join(found[factor].name for factor in sorted(found))
        raise SoftmineError(
            f"cannot read {scene} at downscale {downscale}: it has {names} only; "
            f"give 1 for the largest there is, or a multiple of {min(found)}"
        )
    factor = max(usable)
    return ImageFolder(found[factor], factor, downscale // factor)
