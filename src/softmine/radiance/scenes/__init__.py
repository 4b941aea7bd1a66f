"""Scenes: posed images in the formats people have them in, and one made here."""

from __future__ import annotations

import os
from pathlib import Path

from softmine.checks import check_count
from softmine.errors import SoftmineError
from softmine.radiance.scenes.procedural import procedural
from softmine.radiance.scenes.scene import Bounds, Ndc, Scene, View

__all__ = ["Bounds", "Ndc", "Scene", "View", "procedural", "read_scene"]


def read_scene(path: str | os.PathLike[str], downscale: int = 1) -> Scene:
    """Reads posed images: Blender, nerfstudio or instant-ngp, LLFF, COLMAP.

    A folder is taken for the first of these that it holds: ``transforms_train.json`` (Blender), ``transforms.json``
    (nerfstudio, instant-ngp), ``poses_bounds.npy`` (LLFF), ``sparse/0``, ``sparse`` or itself with ``cameras.bin`` or
    ``cameras.txt`` (COLMAP).

    Args:
        path: the scene's folder, or one of those files.
        downscale: average images over blocks of this many pixels a side. LLFF and COLMAP scenes that bring smaller
            copies (``images_4``) use them.

    Raises:
        SoftmineError: there is no scene, or it is damaged; the message names the file and what is wrong in it.
    """
    from softmine.radiance.scenes import colmap, llff, transforms

    path = Path(path)
    check_count("downscale", downscale)
    if not path.exists():
        raise SoftmineError(f"cannot read {path}: there is no such file or folder; check the path")
    if path.is_dir():
        names = ("transforms_train.json", "transforms.json", "poses_bounds.npy")
        file = next((path / name for name in names if (path / name).is_file()), None)
        if file is None:
            model = colmap.find(path)
            if model is None:
                raise SoftmineError(
                    f"cannot read {path}: it holds no scene; there should be a transforms_train.json, a "
                    "transforms.json, a poses_bounds.npy, or a COLMAP model (sparse/0/cameras.bin)"
                )
            return colmap.read(path, model, downscale)
        path = file
    if path.name == "poses_bounds.npy":
        return llff.read(path.parent, downscale)
    if path.suffix.lower() != ".json":
        raise SoftmineError(
            f"cannot read {path}: a scene is a folder, a transforms.json or a poses_bounds.npy"
        )
    if path.name in ("transforms_train.json", "transforms_test.json", "transforms_val.json"):
        return transforms.read_blender(path.parent, downscale)
    return transforms.read_nerfstudio(path, downscale)
