"""Scenes: posed images in the formats people have them in, and one made here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from softmine.checks import check_count
from softmine.errors import ArgumentError, SoftmineError
from softmine.radiance.scenes.procedural import procedural
from softmine.radiance.scenes.scene import Bounds, Ndc, Scene, View

__all__ = ["Bounds", "Ndc", "Scene", "View", "procedural", "read_scene"]


def read_scene(
    path: str | os.PathLike[str], downscale: int = 1, images: str | os.PathLike[str] | None = None
) -> Scene:
    """Reads posed images: Blender, nerfstudio or instant-ngp, COLMAP, LLFF.

    A folder is taken for the first of these that it holds: ``transforms_train.json`` (Blender), ``transforms.json``
    (nerfstudio, instant-ngp), a COLMAP model (``cameras.bin`` or ``cameras.txt`` in ``sparse/0`` and the like, in ``sparse``,
    ``colmap/sparse/0``, ``dense/sparse`` or itself; the one with the most images), ``poses_bounds.npy`` (LLFF). What else it
    holds is in the scene's notes; to read that, name its file, or the folder of the model.

    Args:
        path: the scene's folder, or one of those files.
        downscale: average images over blocks of this many pixels a side. LLFF and COLMAP scenes that bring smaller
            copies (``images_4``) use them.
        images: the folder that holds the images, where that is not where the scene says or lies outside of the scene's.

    Raises:
        SoftmineError: there is no scene, or it is damaged; the message names the file and what is wrong in it.
    """
    from softmine.radiance.scenes import colmap, llff, transforms

    path, photos = Path(path), None if images is None else Path(images)
    check_count("downscale", downscale)
    if not path.exists():
        raise SoftmineError(f"cannot read {path}: there is no such file or folder; check the path")
    if photos is not None and not photos.is_dir():
        raise ArgumentError("{images} is {given}, but there is no such folder", given=str(photos))
    if path.is_dir():
        names = ("transforms_train.json", "transforms.json", "poses_bounds.npy")
        files = [path / name for name in names if (path / name).is_file()]
        model = colmap.find(path)
        if model and [file.name for file in files] in ([], ["poses_bounds.npy"]):
            return _noted(colmap.read(path, model, downscale, photos), files)
        if not files:
            raise SoftmineError(
                f"cannot read {path}: it holds no scene; there should be a transforms_train.json, a "
                "transforms.json, a poses_bounds.npy, or a COLMAP model (sparse/0/cameras.bin)"
            )
        return _noted(
            read_scene(files[0], downscale, photos), [*files[1:], *([model.model] if model else [])]
        )
    if path.name == "poses_bounds.npy":
        return llff.read(path.parent, downscale, photos)
    if path.suffix.lower() != ".json":
        raise SoftmineError(
            f"cannot read {path}: a scene is a folder, a transforms.json or a poses_bounds.npy"
        )
    if path.name in ("transforms_train.json", "transforms_test.json", "transforms_val.json"):
        return transforms.read_blender(path.parent, downscale, photos)
    return transforms.read_nerfstudio(path, downscale, photos)


def _noted(scene: Scene, others: Sequence[Path]) -> Scene:
    """The scene with a note on what lies beside it and was not read."""
    if not others:
        return scene
    names = " and ".join(str(other) for other in others)
    note = (
        f"its cameras are those of {', '.join(sorted({file.name for file in scene.files}))}, not of {names}"
    )
    return replace(scene, notes=(note, *scene.notes))
