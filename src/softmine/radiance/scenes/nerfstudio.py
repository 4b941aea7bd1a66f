"""Scenes of nerfstudio and instant-ngp: one ``transforms.json``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from softmine.errors import SoftmineError
from softmine.radiance.scenes import checks
from softmine.radiance.scenes.scene import CAMERA_FAR, CAMERA_NEAR, Bounds, Scene, View, hold_out, normalize
from softmine.radiance.scenes.transforms import read_frames


def read(file: Path, downscale: int = 1) -> Scene:
    """Reads one file of poses; test views are its ``test_filenames`` (or ``val_filenames``), else all that are not in its ``train_filenames``, else
    every eighth.

    The scene is unbounded; its world is moved and scaled so that the cameras lie in the unit ball.

    Raises:
        SoftmineError: the file is damaged, or does not fit its pictures.
    """
    views, has_alpha, content = read_frames(file, "train")
    views = _split(views, content, file)
    views = [replace(view, camera=view.camera.downscaled(downscale)) for view in views]
    moved, center, scale = normalize(views, str(file))
    used = [view.image for view in views if view.image]
    return Scene(
        name=file.resolve().parent.name,
        path=file,
        views=moved,
        has_alpha=has_alpha,
        bounds=Bounds("unbounded", CAMERA_NEAR, CAMERA_FAR),
        center=center,
        scale=scale,
        downscale=downscale,
        files=(file,),
        notes=checks.extra_note(used, used[0].parent),
    )


def _split(views: list[View], content: dict[str, Any], file: Path) -> list[View]:
    known = {view.name for view in views}
    held = [_names(content, key, file) for key in ("test_filenames", "val_filenames") if content.get(key)]
    listed = content.get("train_filenames") is not None
    if not held and not listed:
        return hold_out(views)
    train = _names(content, "train_filenames", file) if listed else known.difference(*held)
    test = held[0] if held else known - train
    unknown = sorted(train.union(*held) - known)
    if unknown:
        raise SoftmineError(
            f"{file}: its lists of splits name {unknown[0]}, which no frame has; correct them"
        )
    if train & test:
        raise SoftmineError(
            f"{file}: {sorted(train & test)[0]} is listed both to train and to test; correct it"
        )
    if not train or not test:
        raise SoftmineError(
            f"{file}: its lists of splits leave no view to {'train' if not train else 'test'}; correct them"
        )
    chosen = [replace(view, split="test") for view in views if view.name in test]
    return [view for view in views if view.name in train] + chosen


def _names(content: dict[str, Any], key: str, file: Path) -> set[str]:
    names = content[key]
    if not isinstance(names, list):
        raise SoftmineError(f"{file}: '{key}' is not a list of files")
    where = f"{file}: '{key}'"
    return {checks.inside(file.parent, name, where).relative_to(file.parent).as_posix() for name in names}
