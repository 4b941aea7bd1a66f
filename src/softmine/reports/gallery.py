"""The pictures of a comparison, side by side for every sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from softmine.reports import images
from softmine.reports.rows import Row
from softmine.study.results import Comparison, RunImages, RunResult

BUDGET = 1_500_000
"""Bytes of all reduced pictures together, before base64, so that the page stays under 3 MB."""
STRETCHES = ("early", "middle", "late")
DETAIL_FROM = 600
MOST_DETAILS = 7


def _first(folder: Path, runs: list[RunResult], named: Callable[[RunImages], Sequence[str]]) -> list[Path]:
    """The images of the first run (lowest seed) that has any of this kind."""
    for run in sorted(runs, key=lambda run: run.seed or 0):
        paths = [images.inside(folder, name) for name in named(run.images)]
        found = [path for path in paths if path is not None and path.is_file()]
        if found:
            return found
    return []


def _agreed(comparison: Comparison) -> float | None:
    """The error that gets full color, where all error maps share it."""
    found = {run.images.error_scale for run in comparison.runs} - {None}
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


KINDS: dict[str, Callable[[RunImages], Sequence[str]]] = {
    "reconstruction": lambda one: [one.reconstruction],
    "error": lambda one: [one.error],
    "samples": lambda one: one.samples,
}


def gallery(folder: Path, comparison: Comparison, rows: list[Row]) -> dict[str, Any]:
    """Everything the page shows of the runs' images.

    Args:
        folder: the comparison's folder; an ``images/target.png`` in it is shown beside the details.
        comparison: what the folder's ``results.json`` holds.
        rows: of the summary, best first.
    """
    kinds = {
        kind: {row.label: paths for row in rows if (paths := _first(folder, row.runs, named))}
        for kind, named in KINDS.items()
    }
    total = 1 + sum(len(paths) for entries in kinds.values() for paths in entries.values())
    side, limit = (900 if total <= 12 else 560), BUDGET // total
    baseline = next((row.label for row in rows if row.baseline), None)
    reconstructions = {label: paths[0] for label, paths in kinds["reconstruction"].items()}
    # A cut out of a drawing says nothing; out of a picture it does.
    drawn = comparison.task not in ("signal", "image")
    found = None if drawn else _differ_most(reconstructions, baseline)
    details: list[dict[str, Any]] = []
    full = False

    def detail(label: str, image: Image.Image | None) -> None:
        nonlocal full
        if found is None or image is None or len(details) == MOST_DETAILS:
            return
        box = found[1].box
        if image.width >= box[2] and image.height >= box[3]:
            details.append({"label": label, "picture": images.embed_exact(image, found[1])})
            full = comparison.signal.shape[:2] == (image.height, image.width)

    if found is not None:
        detail("target", images.open_picture(folder / "images" / "target.png"))
    shown: dict[str, list[dict[str, Any]]] = {"reconstruction": [], "error": [], "samples": []}
    for label, path in reconstructions.items():
        image = images.open_picture(path)
        if image is not None:
            picture = images.embed(image, side, limit)
            shown["reconstruction"].append({"label": label, "picture": picture})
            detail(label, image)
    for label, paths in kinds["error"].items():
        image = images.open_picture(paths[0])
        if image is not None:
            picture = images.embed(image, side, limit, exact=True)
            shown["error"].append({"label": label, "picture": picture})
    for label, paths in kinds["samples"].items():
        stretches = []
        for name, path in zip(STRETCHES, paths, strict=False):
            image = images.open_picture(path)
            if image is not None:
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
        "bar": images.gradient(comparison.color_maps.get("error")),
        "scale": _agreed(comparison),
        "density": images.density_key(comparison.color_maps.get("samples"), comparison.density_range),
    }
