"""Masks beside photos: instant-ngp's of what moves, and those in a folder of masks, as COLMAP has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from softmine.checks import leads_out
from softmine.radiance.scenes.photo_paths import DYNAMIC, Listing, photos_in, refuse_outside
from softmine.radiance.scenes.scene import View


class Masks(NamedTuple):
    """Masks of photos.

    Attributes:
        paths: in the order of the photos; None where one has none.
        factor: how many times larger than the photos they are.
        notes: what was found, used, chosen or left out.
    """

    paths: list[Path | None]
    factor: int
    notes: tuple[str, ...]


def dynamic_mask(photo: Path) -> Path | None:
    """The mask of what moves in a photo, beside it, where there is one."""
    path = photo.with_name(f"{DYNAMIC}{photo.stem}.png")
    return path if path.is_file() else None


def masks_for(
    photos: Sequence[Path], folder: Path, factor: int, root: Path, named: Sequence[Path | None]
) -> Masks:
    """The masks of photos in ``folder``, from a folder ``masks`` (or ``mask``) beside it or in the scene's; black is left out.

    They are called as COLMAP wants it, ``masks/a.jpg.png`` for ``images/a.jpg``, or ``masks/a.png``; case and ending may be
    others. Photos in ``images_4`` take those in ``masks_4``, or else those of full size in ``masks``.

    Args:
        photos: all in ``folder`` or below it.
        folder: of the photos.
        factor: how many times smaller than full size they are.
        root: the scene's folder.
        named: folders outside of which nothing is read; None is none.

    Raises:
        SoftmineError: the folder of masks is a link that leads out of those folders.
    """
    within = [each for each in named if each]
    places = list(_places(folder, factor, (folder.parent, root)))
    inside = [(place, times) for place, times in places if not leads_out(place.parent, *within)]
    refuse_outside((place for place, _ in inside), within[0], within[1:], f"cannot read {root}")
    matched = [(place, times, _match(photos, folder, place)) for place, times in inside]
    chosen = next((each for each in matched if any(each[2])), None)
    notes = [
        f"the masks in {place} are not used: {place.parent} lies outside of the folders that were named; copy them into one"
        for place, times in places
        if (place, times) not in inside and photos_in(place)
    ]
    for place, _, found in matched:
        if chosen and place != chosen[0] and any(found):
            notes.append(f"the masks in {place} are not used: those in {chosen[0]} are")
        elif not any(found) and photos_in(place):
            notes.append(
                f"the masks in {place} are not used: none has the name of a photo (for {photos[0].name} that is "
                f"{photos[0].name}.png or {photos[0].stem}.png)"
            )
    if not chosen:
        return Masks([None] * len(photos), 1, tuple(notes))
    place, times, found = chosen
    used = sum(map(bool, found))
    note = f"{used} masks in {place} are used: what is black in them does not count"
    if used < len(photos):
        note += f"; {len(photos) - used} of the {len(photos)} photos have none and count whole"
    twice = [each for each in found if len(each) > 1]
    if twice:
        first, other, *_ = twice[0]
        notes.append(
            f"{len(twice)} photos have several masks in {place}: {first.name} is used, not {other.name}"
        )
    return Masks([each[0] if each else None for each in found], times, (note, *notes))


def unused_notes(photos: Iterable[Path], root: Path, named: Sequence[Path | None]) -> tuple[str, ...]:
    """Notes on masks in folders beside photos whose file of poses names no mask at all."""
    folders: dict[Path, list[Path]] = {}
    for photo in photos:
        folders.setdefault(photo.parent, []).append(photo)
    within = [each for each in named if each]
    found = dict.fromkeys(
        place
        for folder, inside in folders.items()
        for place, _ in _places(folder, 1, (folder.parent, root))
        if not leads_out(place, *within) and any(_match(inside, folder, place))
    )
    return tuple(f"the masks in {place} are not used: no frame names one ('mask_path')" for place in found)


def dynamic_notes(views: Sequence[View]) -> tuple[str, ...]:
    """A note on masks of what moves, which no one named."""
    found = [view.dynamic_mask for view in views if view.dynamic_mask]
    if not found:
        return ()
    return (
        f"{len(found)} masks of what moves ({DYNAMIC}*.png) are used: what is white in them does not count",
    )


def _places(folder: Path, factor: int, parents: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Folders of masks for those photos, the likeliest first, and how many times larger than these their masks are."""
    suffix = folder.name.removeprefix("images") if folder.name.startswith("images_") else ""
    sizes = dict.fromkeys([(suffix, 1), ("", factor)] if suffix else [("", 1)])
    for parent in {parent.resolve(): parent for parent in parents}.values():
        try:
            found = {
                path.name.lower(): path for path in sorted(parent.iterdir(), reverse=True) if path.is_dir()
            }
        except OSError:  # what may not be listed holds nothing that could be read
            continue
        for ending, times in sizes:
            for name in ("masks", "mask"):
                place = found.get(f"{name}{ending}".lower())
                if place and place != folder:
                    yield place, times


def _match(photos: Sequence[Path], folder: Path, place: Path) -> list[list[Path]]:
    """For each photo the masks in a folder that may be its, the likeliest first."""
    listings: dict[Path, Listing] = {}
    found = []
    for photo in photos:
        path = place / photo.relative_to(folder)
        if path.parent not in listings:
            listings[path.parent] = Listing(path.parent)
        names = (f"{path.name}.png", f"{path.stem}.png")
        exact = [name for name in names if path.with_name(name).is_file()]
        likely = exact[:1] or next(filter(None, map(listings[path.parent].matching, names)), [])
        found.append([path.with_name(name) for name in likely])
    return found
