"""Reads what Pillow decodes: PNG, JPEG and most other formats, and some compressed TIFFs."""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageFile

from softmine.domain import SoftmineError
from softmine.signals.image.pixels import check_size, orient
from softmine.signals.libraries import require

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "GIF", "PPM", "QOI")
"""Formats Pillow may read; files of these that it would cut to 8 bits are refused first."""
_KNOWN = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    rb"BM.{13}\0{3}": "BMP",
    rb"RIFF.{4}WEBP": "WebP",
    b"qoif": "QOI",
}
"""How files begin, as regular expressions; the second header of a BMP has less than 256 bytes."""
_CONVERT = {
    "1": "L",
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}
_ORIENTATION = 0x0112
_lock = threading.Lock()


def read(path: Path, where: str, start: bytes) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of a file that begins with ``start``.

    Raises:
        SoftmineError: the file is damaged, animated, too large, or would lose precision.
    """
    known = next((name for magic, name in _KNOWN.items() if re.match(magic, start, re.DOTALL)), None)
    # Pillow takes a text that begins with BM for one that is damaged.
    formats = tuple(name for name in FORMATS if name != "BMP" or known == "BMP")
    deep = known == "PNG" and _is_deep_color_png(start, where)
    _refuse_what_would_lose_bits(start, where)
    with _errors(where, known), _own_limits(), path.open("rb") as file, _open(file, formats) as image:
        if known == "PNG" and image.mode == "L" and start[24] < 8 and "transparency" in image.info:
            # Pillow spreads gray of 2 and 4 bits over a byte, but not the one that is transparent.
            image.info["transparency"] *= 255 // (2 ** start[24] - 1)
        check_size(image.height, image.width, where)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # an MPO: a photo, then extras
            raise SoftmineError(f"{where}: it is animated, with {frames} frames; save one as an image")
        array = _decode_deep_png(path, where) if deep else _to_array(image, where)
        return orient(array, _orientation(image))


def read_tiff_page(path: Path, where: str, page: int) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of one page of a TIFF.

    Raises:
        SoftmineError: the page is damaged or too large.
    """
    with _errors(where, "TIFF"), _own_limits(), path.open("rb") as file, _open(file, ("TIFF",)) as image:
        image.seek(page)
        check_size(image.height, image.width, where)
        return _to_array(image, where)  # Pillow turns TIFFs upright by itself


@contextmanager
def _errors(where: str, known: str | None) -> Iterator[None]:
    """Turn what Pillow raises into one sentence; ``known``: the format the first bytes claim."""
    try:
        yield
    except SoftmineError:
        raise
    except Exception as error:
        if known is None and isinstance(error, PIL.UnidentifiedImageError):
            raise SoftmineError(
                f"{where}: it is not an image of a known format; convert it to PNG, TIFF or NPY"
            ) from error
        raise SoftmineError(
            f"{where}: it is a truncated or damaged {known or 'image'}; get a complete copy"
        ) from error


def _open(file: IO[bytes], formats: tuple[str, ...]) -> PIL.Image.Image:
    PIL.Image.init()  # AVIF and WebP are missing from some builds
    return PIL.Image.open(file, formats=[name for name in formats if name in PIL.Image.OPEN])


@contextmanager
def _own_limits() -> Iterator[None]:
    """Lift Pillow's process-wide limit on size for ``check_size``'s; accept nothing truncated."""
    with _lock:
        limit, truncated = PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES
        PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
            PIL.ImageFile.LOAD_TRUNCATED_IMAGES = truncated


def _to_array(image: PIL.Image.Image, where: str) -> np.ndarray:
    image.load()
    mode, key = image.mode, image.info.get("transparency")
    if key is not None and mode in ("1", "L", "P", "RGB"):
        image = image.convert("LA" if mode in ("1", "L") else "RGBA")
    elif mode in _CONVERT:
        image = image.convert(_CONVERT[mode])
    elif mode not in ("L", "LA", "RGB", "RGBA", "F", "I") and not mode.startswith("I;16"):
        raise SoftmineError(f"{where}: its colors are {mode}; convert it to RGB")
    array = _fit_uint16(np.asarray(image), where) if mode == "I" else np.asarray(image)
    if key is not None and mode.startswith("I"):
        # Pillow knows no gray of 16 bits with opacity.
        array = np.stack((array, np.where(array == key, 0, 65535).astype(array.dtype)), -1)
    return array


def _fit_uint16(array: np.ndarray, where: str) -> np.ndarray:
    if array.min() < 0 or array.max() > 65535:
        raise SoftmineError(
            f"{where}: its 32-bit integers do not fit 16 bits; convert it to uint16 or float32"
        )
    return array.astype(np.uint16)


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # an image with broken EXIF data is still an image
        return 1


def _is_deep_color_png(start: bytes, where: str) -> bool:
    """Whether a PNG has more than one channel of 16 bits, which Pillow would cut to 8."""
    if len(start) < 33 or start[12:16] != b"IHDR":
        raise SoftmineError(f"{where}: its PNG header is truncated or damaged; get a complete copy")
    width, height, depth, color = struct.unpack(">IIBB", start[16:26])
    check_size(height, width, where)
    return depth == 16 and color != 0


def _decode_deep_png(path: Path, where: str) -> np.ndarray:
    codecs = require("imagecodecs", "codecs", "a PNG with 16 bits a color", where)
    return codecs.png_decode(path.read_bytes())


def _refuse_what_would_lose_bits(start: bytes, where: str) -> None:
    """Refuse formats whose samples of more than 8 bits Pillow would cut to 8."""
    av1 = re.search(rb"av1C..(.)", start, re.DOTALL) if start[4:8] == b"ftyp" else None
    deep_avif = av1 is not None and av1[1][0] & 0x40 != 0  # the high_bitdepth flag
    gap = rb"(?:\s|#[^\n]*\n)+"
    ppm = re.match(rb"P[36]" + gap + rb"\d+" + gap + rb"\d+" + gap + rb"(\d+)", start)
    deep_ppm = ppm is not None and int(ppm[1]) > 255
    if deep_avif or deep_ppm:
        raise SoftmineError(
            f"{where}: it has more than 8 bits a color, which are read from TIFF, PNG, EXR or NPY "
            "only; convert it"
        )
