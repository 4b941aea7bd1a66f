"""The pictures of one run, ready for its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from softmine.study import report_images as images
from softmine.study import report_text as text
from softmine.study.report_page import read_optional

SAMPLE_MAPS = (
    {"file": "samples_early.png", "label": "early"},
    {"file": "samples_middle.png", "label": "middle"},
    {"file": "samples_late.png", "label": "late"},
)
DETAIL_FROM = 600
"""Pictures larger than this are shown so reduced that a detail at full size says more."""


def _error_key(notes: Mapping[str, Any], value_range: object) -> dict[str, str] | None:
    """What the colours of the error map mean; ``None`` where the run did not say."""
    scale = text.number(notes.get("error_scale"))
    if scale is None:
        return None
    full = f"{100 * scale:.3g}%"
    words = f"Full colour: a mean error over channels of {full} of the value range, or more"
    ends = [text.number(item) for item in text.listing(value_range)]
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
        span = ends[1] - ends[0]
        words += f" ({scale * span:.3g} in a range of {ends[0]:g} to {ends[1]:g})"
    return {"high": full, "words": words + "."}


def _note(notes: Mapping[str, Any]) -> str:
    """On how many pixels the reconstruction was computed, as a sentence."""
    note = str(notes.get("reconstruction_note") or "")
    if note.startswith("reduced to"):
        return f"The picture is large: reconstruction and error were computed on a grid {note}."
    if note.startswith("every "):
        return f"The reconstruction was computed at {note}."
    return f"Reconstruction: {note}." if note else ""


def _detail(
    target: Image.Image, result: Image.Image, error: Image.Image | None, shape: list[Any]
) -> dict[str, Any] | None:
    """The window with the largest error at full size; ``None`` where the pictures are not that."""
    full = [text.number(length) for length in shape[:2]] or [target.height, target.width]
    if max(target.size) <= DETAIL_FROM or full != [target.height, target.width]:
        return None
    window = images.worst_window(target, result)
    if window is None:
        return None
    shown = [
        ("Target", images.embed_exact(target, window)),
        ("Reconstruction", images.embed_exact(result, window)),
    ]
    if error is not None and error.size == target.size:
        shown.append(("Error", images.embed_exact(images.tinted(error), window)))
    frame = {
        "left": 100 * window.left / target.width,
        "top": 100 * window.top / target.height,
        "width": 100 * window.side / target.width,
        "height": 100 * window.side / target.height,
    }
    return {"window": window, "shown": shown, "frame": frame}


def pictures(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the page shows of ``images/``; missing and damaged pictures are ``None``."""
    folder = run / "images"
    notes = read_optional(folder / "images.json")
    signal = text.mapping(config.get("signal"))
    target = images.open_picture(folder / "target.png")
    result = images.open_picture(folder / "reconstruction.png")
    error = images.open_picture(folder / "error.png")
    detail = None
    if target is not None and result is not None:
        detail = _detail(target, result, error, text.listing(signal.get("shape")))
    bar = shown_error = None
    if error is not None:
        error = images.tinted(error)
        bar = images.gradient(images.colour_map([error]))
        shown_error = images.embed(error, limit=300_000, exact=True)
    samples: list[dict[str, Any]] = []
    maps: list[Image.Image] = []
    for entry in map(text.mapping, text.listing(notes.get("samples")) or SAMPLE_MAPS):
        image = images.open_picture(images.inside(folder, entry.get("file")))
        if image is not None:
            image = images.tinted(image)
            maps.append(images.sketch(image))
            picture = images.embed(image, side=800, limit=180_000, exact=True)
            samples.append({"label": str(entry.get("label") or ""), "picture": picture})
    return {
        "target": images.embed(target) if target is not None else None,
        "reconstruction": images.embed(result) if result is not None else None,
        "error": shown_error,
        "bar": bar,
        "error_key": _error_key(notes, signal.get("value_range")),
        "note": _note(notes),
        "outputs": [
            {"file": f"images/{entry.get('file')}", "label": str(entry.get("label") or "")}
            for entry in map(text.mapping, text.listing(notes.get("outputs")))
            if images.inside(folder, entry.get("file")) is not None
        ],
        "detail": detail,
        "samples": samples,
        "density": images.density_key(images.colour_map(maps), notes.get("density_range")),
    }
