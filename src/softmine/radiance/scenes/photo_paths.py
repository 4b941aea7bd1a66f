"""Finds the photos and masks that a scene names, and remembers what had to be chosen for that."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from softmine.checks import leads_out
from softmine.errors import ArgumentError, SoftmineError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
DYNAMIC = "dynamic_mask_"
"""What instant-ngp's masks of what moves are called before the name of their photo; white is left out."""


def photos_in(folder: Path) -> list[Path]:
    """The photos of a folder by name: no masks, and none of the hidden files (``._a.png``) that macOS leaves on foreign disks."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_photo(path.name))


def extra_note(used: Iterable[Path]) -> tuple[str, ...]:
    """A note for each folder with photos that no view uses."""
    notes = []
    for folder in sorted({path.parent for path in used}):
        found = photos_in(folder)
        names = {path.name for path in used if path.parent == folder}
        extra = [path.name for path in found if path.name not in names]
        if extra:
            notes.append(
                f"{len(extra)} of the {len(found)} images in {folder} have no pose and are not used, "
                f"the first is {extra[0]}"
            )
    return tuple(notes)


def refuse_outside(
    paths: Iterable[Path | None],
    folder: Path,
    more: Iterable[Path | None],
    where: str,
    *,
    photos: bool = True,
) -> None:
    """Raises ArgumentError where a path is, or goes through, a link that leads out of all of the folders that were named.

    Args:
        paths: what is about to be read; None is nothing.
        folder: the scene's.
        more: further folders that were named: that of the photos; None is none.
        where: how the error begins.
        photos: whether the paths are those of photos and masks, not of what says where their cameras are.
    """
    others = [each for each in more if each and leads_out(each, folder)]
    out = [path for path in paths if path and leads_out(path, folder, *others)]
    if not out:
        return
    store = _store(out, folder)
    advice = "copy the scene together with what its links lead to (cp -rL)"
    if store and photos:
        advice = f"name {{store}}, which holds the files themselves, with {{images}}, or {advice}"
    elif store:
        advice += ", or, if its photos are links into {store} too, name that with {images}"
    raise ArgumentError(
        "{where}: {path} is a link that leads out of {named}, to {target}: " + advice,
        where=where,
        path=out[0],
        named=" and ".join(map(str, (folder, *others))),
        target=_shown_path(os.path.realpath(out[0])),
        store=store,
    )


def _store(links: Sequence[Path], folder: Path) -> str | None:
    """The one folder that links lead into; None where that would hold the scene, too."""
    try:
        store = os.path.commonpath([os.path.dirname(os.path.realpath(link)) for link in links])  # noqa: PTH120
    except ValueError:  # on several disks, or no names of files
        return None
    return store if leads_out(folder, store) else None


def _shown_path(path: str) -> str:
    return path if len(path) <= 120 else f"{path[:50]}...{path[-67:]}"


class PhotoFinder:
    """Finds the files that a scene names.

    A name may lack its ending, or differ from its file's in the case of letters or in the ending; where that is so
    ``notes`` says it. Names that lead out of the scene's folder need the folder of the photos to be named.

    Args:
        folder: what names are relative to.
        images: the folder in which the photos are, wherever their names lead, or into which those in the scene's folder are
            links (as DVC, git-annex and Hugging Face keep them); None for the scene's own.
    """

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.folder, self.images = folder, images
        self._listings: dict[Path, Listing] = {}
        self._taken: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}

    def find(self, name: Any, where: str, *, mask: bool = False) -> Path:
        """The file of a name; where there is none, the path where it should be. Masks may stay in the scene's own folder.

        Raises:
            SoftmineError: the name is not text, leads out of the folders that may be read, or has one file with another.
        """
        candidates = self._candidates(name, where, mask)
        for path in candidates:
            found = self._existing(path)
            if found:
                return self._remember(name, path, found, where)
        own = _inside(self.folder, name.replace("\\", "/"))
        if self.images and own:
            found = self._existing(own)
            if found and not leads_out(found, self.images):
                return self._remember(name, own, found, where)
        return candidates[-1] if self.images else candidates[0]

    def relative(self, path: Path) -> str:
        """What to call a file that was found: its path in its folder."""
        for base in (self.folder, self.images):
            if base and path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return path.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen, a sentence a kind."""
        return tuple(
            first if len(rest) == 0 else f"{first} (and {len(rest)} more like it)"
            for first, *rest in self._notes.values()
        )

    def _candidates(self, name: Any, where: str, mask: bool) -> list[Path]:
        if not isinstance(name, str) or not name.strip() or "\0" in name or _is_too_long(name):
            raise SoftmineError(f"{where} is {_shown(name)}, but must be a file's path")
        text = name.replace("\\", "/")
        own = _inside(self.folder, text)
        if self.images is None:
            if own is None:
                raise ArgumentError(
                    "{where} is {name}, which leads out of {folder}: name the folder of the photos with {images}, or move "
                    "the file into it",
                    where=where,
                    name=_shown(name),
                    folder=self.folder,
                )
            return [own]
        stated = _inside(self.images, os.path.join(os.path.abspath(self.folder), text))  # noqa: PTH100, PTH118
        parts = [part for part in text.split("/") if part not in ("", ".", "..")]
        ends = [self.images.joinpath(*parts[start:]) for start in range(len(parts))]
        found = [path for path in (own if mask else None, stated, *ends) if path]
        if not found:
            raise SoftmineError(f"{where} is {_shown(name)}, but must be a file's path")
        return found

    def _existing(self, path: Path) -> Path | None:
        if path.is_file():
            return path
        return next((path.with_name(name) for name in self._listing(path.parent).matching(path.name)), None)

    def _listing(self, folder: Path) -> Listing:
        if folder not in self._listings:
            self._listings[folder] = Listing(folder)
        return self._listings[folder]

    def _remember(self, name: str, stated: Path, found: Path, where: str) -> Path:
        first = self._taken.setdefault(os.path.abspath(found), os.path.normpath(name))  # noqa: PTH100
        if first != os.path.normpath(name) and (found != stated or self.images):
            raise SoftmineError(
                f"{where} is {_shown(name)}, but {found} is read for {_shown(first)} already; correct the names"
            )
        if found.name == stated.name:
            return found
        others = self._listing(found.parent).matching(stated.name)[1:]
        if found.name.lower() == stated.name.lower():
            self._note("case", f"{found.name} is read for {stated.name}, which differs in case")
        elif found.stem.lower() != stated.name.lower():
            self._note("ending", f"{found.name} is read for {stated.name}, which is not there")
        elif others:
            self._note("choice", f"{found.name} is read for {stated.name}, not {others[0]}")
        return found

    def _note(self, kind: str, text: str) -> None:
        notes = self._notes.setdefault(kind, [])
        if text not in notes:
            notes.append(text)


class ImageFolder(NamedTuple):
    """A folder of images, how many times smaller than full size, and how many times they are averaged down yet."""

    folder: Path
    factor: int
    downscale: int


def relative_name(image: Path, root: Path, images: Path | None) -> str:
    """What to call a photo: its path in the folder that was named for photos, or else in the scene's."""
    return image.relative_to(images if images and image.is_relative_to(images) else root).as_posix()


def image_folders(root: Path, downscale: int, images: Path | None = None) -> list[ImageFolder]:
    """The folders that averaging over whole blocks brings to full size over ``downscale``, those with the least to do first.

    A ``downscale`` of 1 takes the largest there are, even where those of full size are missing.

    Args:
        root: what holds ``images``, ``images_2`` and so on.
        downscale: how many times smaller than full size photos should become.
        images: the one folder of photos instead; or one into which photos in those of ``root`` are links, which then are
            taken.

    Raises:
        SoftmineError: there is no folder of images, or none of a size that can be used.
    """
    found = _own_folders(root)
    if images is not None and not any(_links_into(folder, images) for folder in found.values()):
        found = {_factor(images.name) or 1: images}
    if not found:
        raise ArgumentError(
            "cannot read {root}: it has no folder 'images' (nor images_2, images_4, images_8); name the folder of the "
            "photos with {images}",
            root=root,
        )
    if downscale == 1:
        return [ImageFolder(found[factor], factor, 1) for factor in sorted(found)]
    usable = [factor for factor in sorted(found, reverse=True) if downscale % factor == 0]
    if not usable:
        names = ", ".join(found[factor].name for factor in sorted(found))
        raise SoftmineError(
            f"cannot read {root} at downscale {downscale}: it has {names} only; "
            f"give 1 for the largest there is, or a multiple of {min(found)}"
        )
    return [ImageFolder(found[factor], factor, downscale // factor) for factor in usable]


def choose_folder(
    folders: Sequence[ImageFolder], missing: Callable[[Path], int], downscale: int
) -> tuple[ImageFolder, tuple[str, ...]]:
    """The first folder in which no photo is missing, or else the first; and notes on that choice.

    Args:
        folders: what ``image_folders`` gives.
        missing: how many photos a folder lacks.
        downscale: what was asked for.
    """
    first = folders[0]
    lacks = missing(first.folder)
    chosen = first if not lacks else next((each for each in folders[1:] if not missing(each.folder)), first)
    if chosen != first:
        return chosen, (
            f"{first.folder.name} lacks {lacks} of the photos, so those in {chosen.folder.name} are used",
        )
    if downscale == 1 and chosen.factor > 1:
        return chosen, (
            f"the photos are those in {chosen.folder.name}, {chosen.factor} times smaller than full size",
        )
    return chosen, ()


def has_images(root: Path) -> bool:
    """Whether a folder holds one of the folders that ``image_folders`` looks for."""
    return bool(_own_folders(root))


def _own_folders(root: Path) -> dict[int, Path]:
    """The folders of images in one, by how many times smaller than full size these are."""
    found = {1: root / "images"} if (root / "images").is_dir() else {}
    for folder in root.glob("images_*"):
        factor = _factor(folder.name)
        if factor and folder.is_dir():
            found[factor] = folder
    return found


def _links_into(folder: Path, store: Path) -> bool:
    """Whether photos of a folder that lies outside of ``store`` are links into it."""
    if not leads_out(folder, store):
        return False
    return any(_is_photo(path.name) and not leads_out(path, store) for path in folder.rglob("*"))


def _factor(name: str) -> int | None:
    match = re.fullmatch(r"images_([1-9]\d{0,3})", name)
    return int(match[1]) if match else None


class Listing:
    """The photos of a folder, to be found by names that are not quite theirs."""

    def __init__(self, folder: Path) -> None:
        self.names: dict[str, list[str]] = {}
        self.stems: dict[str, list[str]] = {}
        for path in photos_in(folder):
            self.names.setdefault(path.name.lower(), []).append(path.name)
            self.stems.setdefault(path.stem.lower(), []).append(path.name)

    def matching(self, name: str) -> list[str]:
        """Files of a name in other case, or with an ending for one without, or with another; the likeliest first."""
        low = name.lower()
        found = self.names.get(low) or self.stems.get(low)
        if not found and low.endswith(ENDINGS):
            found = self.stems.get(low.rpartition(".")[0])
        return sorted(found or [], key=lambda each: (ENDINGS.index(Path(each).suffix.lower()), each))


def _is_photo(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith((".", DYNAMIC))


def _inside(folder: Path, name: str) -> Path | None:
    """The path of ``name`` in ``folder``; None where it leads out."""
    base = os.path.abspath(folder)  # noqa: PTH100  (where links lead is looked at later)
    if os.name != "nt" and PureWindowsPath(name).drive:
        return None
    path = os.path.normpath(os.path.join(base, name))  # noqa: PTH118
    if os.path.commonpath((base, path)) != base or path == base:
        return None
    return folder / os.path.relpath(path, base)


def _is_too_long(name: str) -> bool:
    """Whether no system has a file of that name: to ask for it fails."""
    parts = re.split(r"[/\\]", name)
    return len(name) > 4000 or max(len(part.encode("utf-8", "surrogatepass")) for part in parts) > 255


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
