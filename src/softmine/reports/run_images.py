"""The pictures of one run, ready for its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from softmine.reports import images
from softmine.reports.page import read_optional
from softmine.study.json_fields import listing, mapping, number
from softmine.study.results import SignalInfo, parse_names, parse_range

SAMPLE_MAPS = (
    {"file": "samples_early.png", "label": "early"},
    {"file": "samples_middle.png", "label": "middle"},
    {"file": "samples_late.png", "label": "late"},
)
DETAIL_FROM = 600
"""Pictures larger than this are shown so reduced that a detail at full size says more."""


def _error_key(scale: float | None, value_range: tuple[float, float] | None) -> dict[str, str] | None:
    """What the colors of the error map mean; ``None`` where the run did not say."""
    if scale is None:
        return None
    full = f"{100 * scale:.3g}%"
    words = f"Full color: a mean error over channels of {full} of the value range, or more"
    if value_range is not None:
        low, high = value_range
        words += f" ({scale * (high - low):.3g} in a range of {low:g} to {high:g})"
    return {"high": full, "words": words + "."}


def _note(notes: Mapping[str, Any]) -> str:
    """On how many pixels the reconstruction was computed, as a sentence."""
    note = str(notes.get("reconstruction_note") or "")
    if notes.get("reduced_to"):
        return f"The image is large, so reconstruction and error were computed on a grid: {note}."
    return f"Reconstruction: {note}." if note else ""


def _detail(
    target: Image.Image, result: Image.Image, error: Image.Image | None, shape: tuple[int, ...]
) -> dict[str, Any] | None:
    """The window with the largest error at full size; ``None`` where the pictures are not that."""
    full = shape[:2] or (target.height, target.width)
    if max(target.size) <= DETAIL_FROM or full != (target.height, target.width):
        return None
    window = images.worst_window(target, result)
    if window is None:
        return None
    shown = [
        ("Target", images.embed_exact(target, window)),
        ("Reconstruction", images.embed_exact(result, window)),
    ]
    if error is not None and error.size == target.size:
        shown.append(("Error", images.embed_exact(error, window)))
    frame = {
        "left": 100 * window.left / target.width,
        "top": 100 * window.top / target.height,
        "width": 100 * window.side / target.width,
        "height": 100 * window.side / target.height,
    }
    return {"window": window, "shown": shown, "frame": frame}


def pictures(run: Path, signal: SignalInfo, value_range: tuple[float, float] | None) -> dict[str, Any]:
    """Everything the page shows of ``images/``; missing and damaged images are ``None``."""
    folder = run / "images"
    notes = read_optional(folder / "images.json")
    maps = parse_names(notes.get("color_maps"))
    target = images.open_picture(folder / "target.png")
    result = images.open_picture(folder / "reconstruction.png")
    error = images.open_picture(folder / "error.png")
    detail = None
    if target is not None and result is not None:
        detail = _detail(target, result, error, signal.shape)
    samples: list[dict[str, Any]] = []
    for entry in map(mapping, listing(notes.get("samples")) or SAMPLE_MAPS):
        image = images.open_picture(images.inside(folder, entry.get("file")))
        if image is not None:
            picture = images.embed(image, side=800, limit=180_000, exact=True)
            samples.append({"label": str(entry.get("label") or ""), "picture": picture})
    return {
        "target": images.embed(target) if target is not None else None,
        "reconstruction": images.embed(result) if result is not None else None,
        "error": images.embed(error, limit=300_000, exact=True) if error is not None else None,
        "bar": images.gradient(maps.get("error")),
        "error_key": _error_key(number(notes.get("error_scale")), value_range),
        "note": _note(notes),
        "outputs": [
            {"file": f"images/{entry.get('file')}", "label": str(entry.get("label") or "")}
            for entry in map(mapping, listing(notes.get("outputs")))
            if images.inside(folder, entry.get("file")) is not None
        ],
        "detail": detail,
        "samples": samples,
        "density": images.density_key(maps.get("samples"), parse_range(notes.get("density_range"))),
    }
