"""The pictures of a comparison, side by side for every sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from softmine.study import report_images as images
from softmine.study import report_text as text

BUDGET = 1_500_000
"""Bytes of all reduced pictures together, before base64, so that the page stays under 3 MB."""
STRETCHES = ("early", "middle", "late")
DETAIL_FROM = 600
MOST_DETAILS = 7


def _named(run: dict[str, Any], kind: str) -> list[str]:
    value = text.mapping(run.get("images")).get(kind)
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _first(folder: Path, runs: list[dict[str, Any]], kind: str) -> list[Path]:
    """The pictures of the first run (lowest seed) that has any of this kind."""
    for run in sorted(runs, key=lambda run: text.number(run.get("seed")) or 0.0):
        paths = [images.inside(folder, name) for name in _named(run, kind)]
        found = [path for path in paths if path is not None and path.is_file()]
        if found:
            return found
    return []


def _agreed(rows: list[tuple[str, list[dict[str, Any]], bool]], data: dict[str, Any]) -> float | None:
    """The error that gets full colour, where all error maps share it."""
    stated = {text.number(data.get("error_scale"))}
    for _, runs, _ in rows:
        for run in runs:
            stated.add(text.number(text.mapping(run.get("images")).get("error_scale")))
    found = stated - {None}
    return found.pop() if len(found) == 1 else None


def _differ_most(reconstructions: dict[str, Path], baseline: str | None) -> tuple[str, images.Window] | None:
    """The window where the best reconstruction and the baseline's differ most; the best's label."""
    best = next((label for label in reconstructions if label != baseline), None)
    if best is None or baseline not in reconstructions:
        return None
    first = images.open_picture(reconstructions[best])
    second = images.open_picture(reconstructions[baseline])
    if first is None or second is None or max(first.size) <= DETAIL_FROM:
        return None
    window = images.worst_window(first, second)
    return (best, window) if window is not None and window.mean > 0 else None


def gallery(
    folder: Path, data: dict[str, Any], rows: list[tuple[str, list[dict[str, Any]], bool]]
) -> dict[str, Any]:
    """Everything the page shows of the runs' pictures.

    Args:
        folder: the comparison's folder; an ``images/target.png`` in it is shown beside the details.
        data: ``results.json``; ``error_scale`` in it or in its runs' ``images`` says what full
            colour means, ``density_range`` the same of the sample maps.
        rows: label, runs, and whether it is the baseline; best first.
    """
    kinds = {
        kind: {label: paths for label, runs, _ in rows if (paths := _first(folder, runs, kind))}
        for kind in ("reconstruction", "error", "samples")
    }
    total = 1 + sum(len(paths) for entries in kinds.values() for paths in entries.values())
    side, limit = (900 if total <= 12 else 560), BUDGET // total
    baseline = next((label for label, _, is_baseline in rows if is_baseline), None)
    reconstructions = {label: paths[0] for label, paths in kinds["reconstruction"].items()}
    # A cut out of a drawing says nothing; out of a picture it does.
    drawn = data.get("task") not in (None, "image")
    found = None if drawn else _differ_most(reconstructions, baseline)
    details: list[dict[str, Any]] = []
    shape = [text.number(item) for item in text.listing(text.mapping(data.get("signal")).get("shape"))]
    full = False

    def detail(label: str, image: Image.Image | None) -> None:
        nonlocal full
        if found is None or image is None or len(details) == MOST_DETAILS:
            return
        box = found[1].box
        if image.width >= box[2] and image.height >= box[3]:
            details.append({"label": label, "picture": images.embed_exact(image, found[1])})
            full = shape[:2] == [image.height, image.width]

    if found is not None:
        detail("target", images.open_picture(folder / "images" / "target.png"))
    shown: dict[str, list[dict[str, Any]]] = {"reconstruction": [], "error": [], "samples": []}
    error_maps: list[Image.Image] = []
    sample_maps: list[Image.Image] = []
    for label, path in reconstructions.items():
        image = images.open_picture(path)
        if image is not None:
            picture = images.embed(image, side, limit)
            shown["reconstruction"].append({"label": label, "picture": picture})
            detail(label, image)
    for label, paths in kinds["error"].items():
        image = images.open_picture(paths[0])
        if image is not None:
            image = images.tinted(image)
            error_maps.append(images.sketch(image))
            picture = images.embed(image, side, limit, exact=True)
            shown["error"].append({"label": label, "picture": picture})
    for label, paths in kinds["samples"].items():
        stretches = []
        for name, path in zip(STRETCHES, paths, strict=False):
            image = images.open_picture(path)
            if image is not None:
                image = images.tinted(image)
                sample_maps.append(images.sketch(image))
                picture = images.embed(image, 480, limit, exact=True)
                stretches.append({"label": name, "picture": picture})
        if stretches:
            shown["samples"].append({"label": label, "stretches": stretches})
    return {
        **shown,
        "details": details if len(details) > 1 else [],
        "full_size": full,
        "window": found[1] if found is not None else None,
        "pair": (found[0], baseline) if found is not None else None,
        "bar": images.gradient(images.colour_map(error_maps)),
        "scale": _agreed(rows, data),
        "density": images.density_key(images.colour_map(sample_maps), data.get("density_range")),
    }
