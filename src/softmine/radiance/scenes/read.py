"""Tells what kind of scene a folder holds, and reads it."""

from __future__ import annotations

import os
from pathlib import Path

from softmine.errors import SoftmineError
from softmine.radiance.scenes.scene import Scene


def read_scene(path: str | os.PathLike[str], downscale: int = 1) -> Scene:
    """Reads posed pictures: Blender, nerfstudio or instant-ngp, LLFF, COLMAP.

    A folder is taken for the first of these that it holds: ``transforms_train.json`` (Blender), ``transforms.json``
    (nerfstudio, instant-ngp), ``poses_bounds.npy`` (LLFF), ``sparse/0``, ``sparse`` or itself with ``cameras.bin`` or
    ``cameras.txt`` (COLMAP).

    Args:
        path: the scene's folder, or one of those files.
        downscale: average pictures over blocks of this many pixels a side. LLFF and COLMAP scenes that bring smaller
            copies (``images_4``) use them.

    Raises:
        SoftmineError: there is no scene, or it is damaged; the message names the file and what is wrong in it.
    """
    path = Path(path)
    if downscale < 1:
        raise SoftmineError(f"downscale is {downscale}: give a whole number of at least 1")
    if not path.exists():
        raise SoftmineError(f"cannot read {path}: there is no such file or folder; check the path")
    if path.is_file():
        return _read_file(path, downscale)
    for name in ("transforms_train.json", "transforms.json", "poses_bounds.npy"):
        if (path / name).is_file():
            return _read_file(path / name, downscale)
    from softmine.radiance.scenes import colmap

    model = colmap.find(path)
    if model:
        return colmap.read(path, model, downscale)
    raise SoftmineError(
        f"cannot read {path}: it holds no scene; there should be a transforms_train.json, a transforms.json, a "
        "poses_bounds.npy, or a COLMAP model (sparse/0/cameras.bin)"
    )


def _read_file(path: Path, downscale: int) -> Scene:
    if path.name == "poses_bounds.npy":
        from softmine.radiance.scenes import llff

        return llff.read(path.parent, downscale)
    if path.suffix.lower() != ".json":
        raise SoftmineError(
            f"cannot read {path}: a scene is a folder, a transforms.json or a poses_bounds.npy"
        )
    if path.name in ("transforms_train.json", "transforms_test.json", "transforms_val.json"):
        from softmine.radiance.scenes import blender

        return blender.read(path.parent, downscale)
    from softmine.radiance.scenes import nerfstudio

    return nerfstudio.read(path, downscale)
