"""Scenes: posed images in the formats people have them in, and one made here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from softmine.checks import check_count
from softmine.errors import ArgumentError, SoftmineError
from softmine.radiance.scenes.photo_paths import refuse_outside
from softmine.radiance.scenes.procedural import procedural
from softmine.radiance.scenes.scene import Bounds, Ndc, Scene, View

__all__ = ["Bounds", "Ndc", "Scene", "View", "procedural", "read_scene"]


def read_scene(
    path: str | os.PathLike[str], downscale: int = 1, images: str | os.PathLike[str] | None = None
) -> Scene:
    """Reads posed images: Blender, nerfstudio or instant-ngp, COLMAP, LLFF.

    A folder is taken for the first of these that it holds: ``transforms_train.json`` (Blender), ``transforms.json``
    (nerfstudio, instant-ngp), a COLMAP model (``cameras.bin`` or ``cameras.txt`` in ``sparse/0`` and the like, in ``sparse``,
    ``colmap/sparse/0``, ``dense/sparse`` or itself; the one with the most images), ``poses_bounds.npy`` (LLFF). Where it has none
    of these, a COLMAP model up to two folders down, or in ``distorted/sparse/0`` and the like. What else it holds is in the
    scene's notes; to read that, name its file, or the folder of the model.

    Args:
        path: the scene's folder, or one of those files.
        downscale: average images over blocks of this many pixels a side. LLFF and COLMAP scenes that bring smaller
            copies (``images_4``) use them.
        images: the folder that holds the images, where that is not where the scene says or lies outside of the scene's; or the
            folder into which the scene's files are links (DVC's cache, git-annex's objects, Hugging Face's blobs).

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
        found = colmap.find(path, photos, further=not files)
        if found:
            # Before LLFF's file, which has no lens, no principal point and one focal length.
            files.insert(sum(file.suffix == ".json" for file in files), found.model)
        if not files:
            raise SoftmineError(f"cannot read {path}: {_nothing(path)}")
        first, *others = files
        if not found or first != found.model:
            refuse_outside([first], path, (photos,), f"cannot read {path}", photos=False)
        if found and first == found.model:
            scene = colmap.read(path, found, downscale, photos)
        else:
            scene = read_scene(first, downscale, photos)
        return _noted(scene, path, found.model if found else None, first, others)
    if path.name == "poses_bounds.npy":
        return llff.read(path.parent, downscale, photos)
    if path.suffix.lower() != ".json":
        raise SoftmineError(
            f"cannot read {path}: a scene is a folder, a transforms.json or a poses_bounds.npy"
        )
    if path.name in ("transforms_train.json", "transforms_test.json", "transforms_val.json"):
        return transforms.read_blender(path.parent, downscale, photos)
    return transforms.read_nerfstudio(path, downscale, photos)


def _nothing(path: Path) -> str:
    """What a folder without a scene lacks."""
    from softmine.radiance.scenes import colmap, photo_paths

    half = colmap.without_cameras(path)
    if half:
        return (
            f"{half.relative_to(path).as_posix()} has the images of a COLMAP model, but cameras.bin or cameras.txt is missing; get "
            "a complete COLMAP model"
        )
    unposed = photo_paths.photos_in(path) or photo_paths.has_images(path)
    return (
        "it holds no scene; there should be a transforms_train.json, a transforms.json, a poses_bounds.npy, or a COLMAP model "
        "(sparse/0/cameras.bin or .txt); a model that lies elsewhere is read if its own folder, that of cameras.bin, is named"
        + ("; for photos without poses run COLMAP or ns-process-data first" if unposed else "")
    )


def _noted(scene: Scene, path: Path, model: Path | None, chosen: Path, others: Sequence[Path]) -> Scene:
    """The scene with a note on the cameras that lie beside those chosen and were not read."""
    if not others:
        return scene
    names = {each: each.relative_to(path).as_posix() for each in (chosen, *others)}
    if model:
        names[model] = f"COLMAP's model {'here' if model == path else names[model]}"
    rest = " and ".join(names[each] for each in others)
    note = f"the cameras of {names[chosen]} are read, not those of {rest}: to read others, name their file or folder"
    return replace(scene, notes=(note, *scene.notes))
