"""Pictures inside a report: opened safely, reduced, encoded, and compared."""

from __future__ import annotations

import base64
import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

SMALL = 300
"""Pictures below this many pixels on the long side are kept exact and enlarged by the browser."""
DIVERGING = "RdBu_r"
"""The color map of sample densities that :func:`density_key` can explain."""
_bomb_guard = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

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
    """A window of a picture: its corner and side in pixels, and the mean difference inside."""

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
    # Pillow takes very large pictures for an attack; these are the run's own.
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
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def open_picture(path: Path | None) -> Image.Image | None:
    """A picture in mode L, LA, RGB or RGBA; ``None`` when it is missing or damaged."""
    if path is None or not path.is_file():
        return None
    try:
        with _any_size(), Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
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
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reduce(image: Image.Image, side: int) -> Image.Image:
    """The picture with at most ``side`` pixels on its long side (Lanczos)."""
    longest = max(image.size)
    if longest <= side:
        return image
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=4.0)


def embed(image: Image.Image, side: int = 1200, limit: int = 360_000, exact: bool = False) -> Picture:
    """Encode a picture for the page.

    Args:
        image: a picture from :func:`open_picture`.
        side: most pixels on the long side.
        limit: bytes it should not exceed; quality, then size, give way.
        exact: prefer an encoding without loss where it keeps to the limit, as flat maps do.
    """
    width, height = image.size
    longest = max(width, height)
    small = longest < SMALL
    image = reduce(image, side)
    # Tiny pictures are enlarged, but not to the size of the page; tall ones must fit a screen.
    most = min(max(14 * longest, 320), 520) if small else 1200
    show = max(1, round(min(most * width / longest, 700 * width / height)))
    alpha = image.mode in ("LA", "RGBA")
    if small:
        uri = _data_uri(_encoded(image, "PNG", optimize=True), "png")
        return Picture(uri, *image.size, show, True, alpha)
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
    return Picture(_data_uri(payload, "webp"), *image.size, show, False, alpha)


def embed_exact(image: Image.Image, window: Window) -> Picture:
    """A window of a picture, encoded without loss, for display at one pixel to one pixel."""
    crop = image.crop(window.box)
    uri = _data_uri(_encoded(crop, "WEBP", lossless=True, method=4), "webp")
    return Picture(uri, *crop.size, window.side, True, crop.mode in ("LA", "RGBA"))


def worst_window(first: Image.Image, second: Image.Image, side: int = 256) -> Window | None:
    """The window where two pictures of equal size differ most.

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


def density_key(name: str | None, span: tuple[float, float] | None) -> dict[str, str] | None:
    """How to read a map of sample density: its words, and a gradient with the texts at its ends.

    Args:
        name: the map's color map; ``None``, or one that is not known, gives no key.
        span: least and greatest density relative to uniform that have a color of their own.
    """
    if name != DIVERGING:
        return None
    low, high = "fewer", "more"
    words = (
        "Where it is red, more training samples fell in that stretch of the run than uniform "
        "sampling would have put there; where it is blue, fewer."
    )
    if span is not None and all(span):
        low = f"1/{1 / span[0]:.3g}" if span[0] < 1 else f"{span[0]:.3g}"
        low, high = f"{low} of uniform", f"{span[1]:.3g} times uniform"
    return {"words": words, "bar": gradient(name) or "", "low": low, "middle": "as uniform", "high": high}
