"""The images of a report: opened safely, reduced, encoded, compared, and laid out for its page."""

from __future__ import annotations

import base64
import io
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from softmine.checks import leads_out
from softmine.reports.page import read_optional
from softmine.reports.verdict import Row
from softmine.runs.images import STRETCHES, stretch_label
from softmine.signals.files import check_unpacked
from softmine.study.json_fields import Record, number_pair, stored
from softmine.study.results import Comparison, RunImages, RunResult, SignalInfo

SMALL = 300
"""Images below this many pixels on the long side are kept exact and enlarged by the browser."""
DIVERGING = "RdBu_r"
"""The color map of sample densities that :func:`density_key` can explain."""
DETAIL_FROM = 600
"""Images larger than this are shown so reduced that a detail at full size says more."""
GALLERY_BYTES = 1_500_000
"""Of all reduced images of a comparison together, before base64, so that its page stays under 3 MB."""
MOST_DETAILS = 7
GAPS = "Slate gray: no data."
_bomb_guard = threading.Lock()


@dataclass(frozen=True)
class Embedded:
    """An encoded image.

    Args:
        uri: ``data:`` address.
        width: width in pixels as embedded.
        height: height in pixels as embedded.
        show: width in CSS pixels beyond which it should not be shown.
        pixelated: whether the browser should enlarge without smoothing.
        alpha: whether it has a transparent channel.
    """

    uri: str
    width: int
    height: int
    show: int
    pixelated: bool
    alpha: bool

    @property
    def panorama(self) -> bool:
        """Whether it is too wide to stand beside another."""
        return self.width > 2.2 * self.height


@dataclass(frozen=True)
class Window:
    """A window of an image: its corner and side in pixels, and the mean difference inside."""

    left: int
    top: int
    side: int
    mean: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, as Pillow crops."""
        return self.left, self.top, self.left + self.side, self.top + self.side


@contextmanager
def _any_size() -> Iterator[None]:
    # Pillow takes very large images for an attack; these are the run's own.
    with _bomb_guard:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def inside(folder: Path, name: object) -> Path | None:
    """The path ``name`` within ``folder``; ``None`` if it is no text or leads out of the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    path = folder / name
    return None if leads_out(path, folder) else path


def open_image(path: Path | None) -> Image.Image | None:
    """An image in mode L, LA, RGB or RGBA; ``None`` when it is missing or damaged."""
    if path is None or not path.is_file():
        return None
    try:
        with _any_size(), Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            size = image.width * image.height * 4
            check_unpacked(path, size, str(path), "pixels", peak=2 * size)
            image.load()
            if image.mode in ("L", "LA", "RGB", "RGBA"):
                return image.copy()
            if image.mode.startswith("I"):
                values = np.asarray(image).astype(np.float64) / 257
                return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
            if image.mode == "P":
                return image.convert("RGBA" if "transparency" in image.info else "RGB")
            return image.convert("L" if image.mode == "1" else "RGB")
    except (OSError, SyntaxError, ValueError):
        return None


def _data_uri(payload: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(payload).decode('ascii')}"


def _encoded(image: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, icc_profile=image.info.get("icc_profile"), **options)
    return buffer.getvalue()


def reduce(image: Image.Image, side: int) -> Image.Image:
    """The image with at most ``side`` pixels on its long side (Lanczos)."""
    longest = max(image.size)
    if longest <= side:
        return image
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=4.0)


def embed(image: Image.Image, side: int = 1200, limit: int = 360_000, exact: bool = False) -> Embedded:
    """Encode an image for the page.

    Args:
        image: an image from :func:`open_image`.
        side: most pixels on the long side.
        limit: bytes it should not exceed; quality, then size, give way.
        exact: prefer an encoding without loss where it keeps to the limit, as flat maps do.
    """
    width, height = image.size
    longest = max(width, height)
    small = longest < SMALL
    image = reduce(image, side)
    # Tiny images are enlarged, but not to the size of the page; tall ones must fit a screen.
    most = min(max(14 * longest, 320), 520) if small else 1200
    show = max(1, round(min(most * width / longest, 700 * width / height)))
    alpha = image.mode in ("LA", "RGBA")
    if small:
        uri = _data_uri(_encoded(image, "PNG", optimize=True), "png")
        return Embedded(uri, *image.size, show, True, alpha)
    payload = _encoded(image, "WEBP", lossless=True, method=0) if exact else b""
    if not 0 < len(payload) <= limit:
        for quality in (88, 72, 54):
            payload = _encoded(image, "WEBP", quality=quality, method=4)
            if len(payload) <= limit:
                break
    while len(payload) > limit and max(image.size) > SMALL:
        share = min(0.9, 0.95 * math.sqrt(limit / len(payload)))
        image = reduce(image, round(share * max(image.size)))
        payload = _encoded(image, "WEBP", quality=64, method=4)
    return Embedded(_data_uri(payload, "webp"), *image.size, show, False, alpha)


def embed_exact(image: Image.Image, window: Window) -> Embedded:
    """A window of an image, encoded without loss, for display at one pixel to one pixel."""
    crop = image.crop(window.box)
    uri = _data_uri(_encoded(crop, "WEBP", lossless=True, method=4), "webp")
    return Embedded(uri, *crop.size, window.side, True, crop.mode in ("LA", "RGBA"))


def most_different_window(first: Image.Image, second: Image.Image, side: int = 256) -> Window | None:
    """The window where two images of equal size differ most.

    Windows start at multiples of an eighth of ``side``. ``None`` if the sizes differ or are below
    ``side``.
    The mean absolute difference is a share of the value range, over color channels.
    """
    if first.size != second.size or min(first.size) < side:
        return None
    mode = "L" if first.mode in ("L", "LA") and second.mode in ("L", "LA") else "RGB"
    difference = np.asarray(ImageChops.difference(first.convert(mode), second.convert(mode)))
    block = side // 8
    high, wide = difference.shape[0] // block, difference.shape[1] // block
    blocks = difference[: high * block, : wide * block].reshape(high, block, wide, block, -1)
    means = blocks.mean((1, 3, 4))
    table = np.pad(means.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = table[8:, 8:] - table[:-8, 8:] - table[8:, :-8] + table[:-8, :-8]
    row, column = (int(i) for i in np.unravel_index(sums.argmax(), sums.shape))
    mean = float(sums[row, column]) / 64 / 255
    return Window(column * block, row * block, side, mean)


def gradient(name: str | None) -> str | None:
    """A color map as a CSS gradient from left to right; ``None`` where its name is not known."""
    import matplotlib

    if name is None or name not in matplotlib.colormaps:
        return None
    palette = np.rint(matplotlib.colormaps[name](np.linspace(0, 1, 17))[:, :3] * 255)
    stops = (f"rgb({red:.0f} {green:.0f} {blue:.0f})" for red, green, blue in palette)
    return f"linear-gradient(to right, {', '.join(stops)})"


def density_key(
    name: str | None, span: tuple[float, float] | None, gaps: bool = False
) -> dict[str, str] | None:
    """How to read a map of sample density: its words, and a gradient with the texts at its ends.

    Args:
        name: the map's color map; ``None``, or one that is not known, gives no key.
        span: least and greatest density relative to uniform that have a color of their own.
        gaps: whether parts of the signal hold no data.
    """
    if name != DIVERGING:
        return None
    low, high = "fewer", "more"
    words = (
        "Where it is red, more training samples fell in that stretch of the run than uniform "
        "sampling would have put there; where it is blue, fewer."
    )
    if gaps:
        words += f" {GAPS}"
    if span is not None and all(span):
        low = f"1/{1 / span[0]:.3g}" if span[0] < 1 else f"{span[0]:.3g}"
        low, high = f"{low} of uniform", f"{span[1]:.3g} times uniform"
    return {"words": words, "bar": gradient(name) or "", "low": low, "middle": "as uniform", "high": high}


@dataclass(frozen=True)
class _Named(Record):
    """A file of ``images/``, and what a page calls it."""

    file: str = ""
    label: str = ""


@dataclass(frozen=True)
class _Notes(Record):
    """What ``images/images.json`` says of a run's images."""

    samples: tuple[_Named, ...] = ()
    outputs: tuple[_Named, ...] = ()
    error_scale: float | None = None
    density_range: tuple[float, float] | None = stored(read=number_pair)
    color_maps: Mapping[str, str] = stored(default={})
    reconstruction_note: str = ""
    reduced_to: Any = None

    @property
    def words(self) -> str:
        """On how many pixels the reconstruction was computed, as a sentence."""
        note = self.reconstruction_note
        if self.reduced_to:
            return f"The image is large, so reconstruction and error were computed on a grid: {note}."
        return f"Reconstruction: {note}." if note else ""


def _error_key(scale: float | None, signal: SignalInfo) -> dict[str, str] | None:
    """What the colors of the error map mean; ``None`` where the run did not say."""
    if scale is None:
        return None
    full = f"{100 * scale:.3g}%"
    words = f"Full color: a mean error over channels of {full} of the value range, or more"
    if signal.value_range is not None:
        low, high = signal.value_range
        words += f" ({scale * (high - low):.3g} in a range of {low:g} to {high:g})"
    return {"high": full, "words": f"{words}.{f' {GAPS}' if signal.has_gaps else ''}"}


def _detail(
    target: Image.Image, result: Image.Image, error: Image.Image | None, shape: tuple[int, ...]
) -> dict[str, Any] | None:
    """The window with the largest error at full size; ``None`` where the images are not that."""
    full = shape[:2] or (target.height, target.width)
    if max(target.size) <= DETAIL_FROM or full != (target.height, target.width):
        return None
    window = most_different_window(target, result)
    if window is None:
        return None
    shown = [("Target", embed_exact(target, window)), ("Reconstruction", embed_exact(result, window))]
    if error is not None and error.size == target.size:
        shown.append(("Error", embed_exact(error, window)))
    frame = {
        "left": 100 * window.left / target.width,
        "top": 100 * window.top / target.height,
        "width": 100 * window.side / target.width,
        "height": 100 * window.side / target.height,
    }
    return {"window": window, "shown": shown, "frame": frame}


def run_images(run: Path, signal: SignalInfo) -> dict[str, Any]:
    """Everything a run's page shows of its ``images/``; missing and damaged images are ``None``."""
    folder = run / "images"
    notes = _Notes.parse(read_optional(folder / "images.json"))
    names = ("target", "reconstruction", "error")
    target, result, error = (open_image(folder / f"{name}.png") for name in names)
    maps = notes.samples or [_Named(f"samples_{name}.png", name) for name in STRETCHES]
    found = [(one.label, open_image(inside(folder, one.file))) for one in maps]
    return {
        "target": embed(target) if target is not None else None,
        "reconstruction": embed(result) if result is not None else None,
        "error": embed(error, limit=300_000, exact=True) if error is not None else None,
        "bar": gradient(notes.color_maps.get("error")),
        "error_key": _error_key(notes.error_scale, signal),
        "note": notes.words,
        "outputs": [
            {"file": f"images/{one.file}", "label": one.label}
            for one in notes.outputs
            if inside(folder, one.file) is not None
        ],
        "detail": _detail(target, result, error, signal.shape) if target and result else None,
        "samples": [
            {"label": label, "image": embed(image, side=800, limit=180_000, exact=True)}
            for label, image in found
            if image is not None
        ],
        "density": density_key(notes.color_maps.get("samples"), notes.density_range, signal.has_gaps),
    }


def _first(folder: Path, runs: Sequence[RunResult], kind: str) -> list[Path]:
    """The images of the first run (lowest seed) that has any of this kind."""
    for run in sorted(runs, key=lambda run: run.seed or 0):
        names = getattr(run.images or RunImages(), kind)
        paths = [inside(folder, name) for name in (names if kind == "samples" else [names])]
        found = [path for path in paths if path is not None and path.is_file()]
        if found:
            return found
    return []


def _stretch(path: Path) -> str:
    """The stretch of a run that a map of samples is of, in words."""
    return stretch_label(path.stem.rpartition("_")[2])


def _differ_most(reconstructions: dict[str, Path], baseline: str | None) -> tuple[str, Window] | None:
    """The best reconstruction's label, and the window where it and the baseline's differ most."""
    best = next((label for label in reconstructions if label != baseline), None)
    if best is None or baseline not in reconstructions:
        return None
    first, second = (open_image(reconstructions[label]) for label in (best, baseline))
    if first is None or second is None or max(first.size) <= DETAIL_FROM:
        return None
    window = most_different_window(first, second)
    return (best, window) if window is not None and window.mean > 0 else None


def gallery(folder: Path, comparison: Comparison, rows: list[Row]) -> dict[str, Any]:
    """Everything a comparison's page shows of its runs' images, side by side for every sampler.

    Args:
        folder: the comparison's folder; an ``images/target.png`` in it is shown beside the details.
        comparison: what the folder's ``results.json`` holds.
        rows: of the summary, best first.
    """
    kinds = {
        kind: {row.label: paths for row in rows if (paths := _first(folder, row.runs, kind))}
        for kind in ("reconstruction", "error", "samples")
    }
    total = 1 + sum(len(paths) for entries in kinds.values() for paths in entries.values())
    large = 900 if total <= 12 else 560

    def embedded(paths: dict[str, Path], side: int, exact: bool) -> list[dict[str, Any]]:
        found = ((label, open_image(path)) for label, path in paths.items())
        return [
            {"label": label, "image": embed(image, side, GALLERY_BYTES // total, exact=exact)}
            for label, image in found
            if image is not None
        ]

    first = {kind: {label: paths[0] for label, paths in entries.items()} for kind, entries in kinds.items()}
    samples = [
        {"label": label, "stretches": embedded({_stretch(path): path for path in paths}, 480, True)}
        for label, paths in kinds["samples"].items()
    ]
    baseline = next((row.label for row in rows if row.baseline), None)
    # A cut out of a drawing says nothing; out of an image it does.
    drawn = comparison.task not in ("signal", "image")
    found = None if drawn else _differ_most(first["reconstruction"], baseline)
    details: list[dict[str, Any]] = []
    full = False
    for label, path in {"target": folder / "images" / "target.png", **first["reconstruction"]}.items():
        image = open_image(path) if found is not None and len(details) < MOST_DETAILS else None
        if found is not None and image is not None:
            window = found[1]
            if image.width >= window.box[2] and image.height >= window.box[3]:
                details.append({"label": label, "image": embed_exact(image, window)})
                full = comparison.signal.shape[:2] == (image.height, image.width)
    scales = {run.images.error_scale for run in comparison.runs if run.images} - {None}
    return {
        "reconstruction": embedded(first["reconstruction"], large, False),
        "error": embedded(first["error"], large, True),
        "samples": [entry for entry in samples if entry["stretches"]],
        "details": details if len(details) > 1 else [],
        "full_size": full,
        "window": found[1] if found is not None else None,
        "pair": (found[0], baseline) if found is not None else None,
        "bar": gradient(comparison.color_maps.get("error")),
        # The error that gets full color, where all error maps share it.
        "scale": scales.pop() if len(scales) == 1 else None,
        "gaps": GAPS if comparison.signal.has_gaps else "",
        "density": density_key(
            comparison.color_maps.get("samples"), comparison.density_range, comparison.signal.has_gaps
        ),
    }
