"""Masks beside photos: instant-ngp's of what moves, and those in COLMAP's folder of masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softmine.radiance.scenes.scene import View

DYNAMIC = "dynamic_mask_"
"""What instant-ngp's masks of what moves are called before the name of their photo; white is left out."""


def dynamic_mask(photo: Path) -> Path | None:
    """The mask of what moves in a photo, beside it, where there is one."""
    path = photo.with_name(f"{DYNAMIC}{photo.stem}.png")
    return path if path.is_file() else None


def masks_for(photos: Sequence[Path], folder: Path) -> list[Path | None]:
    """The masks of photos in ``folder``, from the folder ``masks`` beside it (``masks_4`` for ``images_4``); black is left out.

    They are called as COLMAP wants it, ``masks/a.jpg.png`` for ``images/a.jpg``, or ``masks/a.png``.
    """
    masks = folder.parent / folder.name.replace("images", "masks")
    if masks == folder or not masks.is_dir():
        return [None] * len(photos)
    found = []
    for photo in photos:
        path = masks / photo.relative_to(folder)
        names = (path.with_name(f"{path.name}.png"), path.with_suffix(".png"))
        found.append(next((each for each in names if each.is_file()), None))
    return found


def mask_notes(views: Sequence[View], stated: bool = False) -> tuple[str, ...]:
    """Notes on masks that no one named: ``stated`` says that the scene's file names the others."""
    notes = []
    found = [view.dynamic_mask for view in views if view.dynamic_mask]
    if found:
        notes.append(
            f"{len(found)} masks of what moves ({DYNAMIC}*.png) are used: what is white in them does not count"
        )
    masks = [] if stated else [view.mask for view in views if view.mask]
    if masks:
        notes.append(
            f"{len(masks)} masks in {masks[0].parent} are used: what is black in them does not count"
        )
    return tuple(notes)
