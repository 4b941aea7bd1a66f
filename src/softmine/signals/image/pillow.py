"""Reads what Pillow decodes: PNG, JPEG and most other formats, and some compressed TIFFs."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile

from softmine.domain import SoftmineError
from softmine.signals.files import DEFLATE_MOST, check_unpacked
from softmine.signals.image.data import ImageData, fitting_profile
from softmine.signals.image.pixels import check_size, orient, turned
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
_SAID = {
    "1": "bits",
    "P": "palette",
    "PA": "palette",
    "La": "colors multiplied by opacity",
    "RGBa": "colors multiplied by opacity",
    "CMYK": "CMYK colors",
    "YCbCr": "YCbCr colors",
}
"""What is converted, in words."""
_DECODER = {"JPEG": 8, "MPO": 8, "WEBP": 16, "AVIF": 16, "GIF": 8}
"""Bytes a pixel that decoders take beside the image, at most: coefficients, canvases, planes."""
_SMALL = 2**22
"""Images of up to so many pixels are converted at once."""
_BAND = 2**20
"""Pixels of larger ones that are converted at a time."""
_ORIENTATION = 0x0112
_SRGB_GAMMA = 0.45455
_lock = threading.Lock()


def read(path: Path, where: str, start: bytes) -> ImageData:
    """Pixels (H, W) or (H, W, C) of a file that begins with ``start``.

    Raises:
        SoftmineError: the file is damaged, animated, too large, or would lose precision.
    """
    known = next((name for magic, name in _KNOWN.items() if re.match(magic, start, re.DOTALL)), None)
    # Pillow takes a text that begins with BM for one that is damaged.
    formats = tuple(name for name in FORMATS if name != "BMP" or known == "BMP")
    deep = known == "PNG" and _is_deep_color_png(start, path, where)
    _refuse_what_would_lose_bits(start, where)
    if known == "WebP" and start[12:16] == b"VP8X":
        # Pillow takes memory for two canvases before it says how large they are.
        width, height = (1 + int.from_bytes(start[place : place + 3], "little") for place in (24, 27))
        check_unpacked(path, 4 * width * height, where, "pixels", peak=_DECODER["WEBP"] * width * height)
    with _errors(where, known), _own_limits(), path.open("rb") as file, _open(file, formats) as image:
        if known == "PNG" and image.mode == "L" and start[24] < 8 and "transparency" in image.info:
            # Pillow spreads gray of 2 and 4 bits over a byte, but not the one that is transparent.
            image.info["transparency"] *= 255 // (2 ** start[24] - 1)
        _check(image, path, where)
        frames, notes = getattr(image, "n_frames", 1), []
        if frames > 1 and image.format != "MPO":  # an MPO: a photo, then extras
            raise SoftmineError(
                f"{where}: it is animated, with {frames} frames; save one as an image, or "
                + ("convert it to GIF, PNG or MP4 to " if image.format in ("WEBP", "AVIF") else "")
                + "fit all as a video"
            )
        if frames > 1:
            notes.append(f"read the first of its {frames} images, the photo; the others are left out")
        if known == "PNG" and start[24] < 8 and start[25] == 0:
            notes.append(f"its grays of {start[24]} bit{'s' * (start[24] > 1)} became ones of 8")
        orientation = _orientation(image)
        if orientation in range(2, 9):
            notes.append(turned(orientation))
        if known == "PNG" and b"cICP" in start:
            notes.append("its cICP chunk, which says how its colors are coded, is left out")
        elif (
            "icc_profile" not in image.info and abs(image.info.get("gamma", _SRGB_GAMMA) - _SRGB_GAMMA) > 1e-3
        ):
            notes.append(f"its gamma of {image.info['gamma']:.3g} is left out")
        data = _to_data(image, where, notes, _decode_deep_png(path, where) if deep else None)
        return replace(data, pixels=orient(np.asarray(data.pixels), orientation))


def read_tiff_page(path: Path, where: str, page: int, content: bytes | None = None) -> ImageData:
    """Pixels (H, W) or (H, W, C) of one page of a TIFF, or of ``content`` instead of what is in it.

    Raises:
        SoftmineError: the page is damaged or too large.
    """
    with _errors(where, "TIFF"), _own_limits(), contextlib.ExitStack() as stack:
        opened = stack.enter_context(path.open("rb")) if content is None else io.BytesIO(content)
        image = stack.enter_context(_open(opened, ("TIFF",)))
        image.seek(page)
        _check(image, path, where)
        # Pillow turns TIFFs upright by itself.
        orientation = _orientation(image)
        return _to_data(image, where, [turned(orientation)] if orientation in range(2, 9) else [])


def _check(image: PIL.Image.Image, path: Path, where: str) -> None:
    """Refuse an image that takes more memory than its file can justify."""
    check_size(image.height, image.width, where)
    # Colors of a palette, and gray that has a transparent value, become more than they are.
    channels = 4 if image.mode in ("P", "PA") or "transparency" in image.info else len(image.getbands())
    size = 4 if image.mode in ("I", "F") else 2 if image.mode.startswith("I;") else 1
    pixels, result = image.height * image.width, channels * size
    held = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;") else 4)
    # Decoders need memory beside what they fill, then that is beside what is made of it.
    peak = max(held + _DECODER.get(image.format or "", 0), held + result, 2 * result)
    check_unpacked(path, pixels * result, where, "pixels", peak=pixels * peak)


@contextmanager
def _errors(where: str, known: str | None) -> Iterator[None]:
    """Turn what Pillow raises into one sentence; ``known``: the format the first bytes claim."""
    try:
        yield
    except (SoftmineError, MemoryError):
        raise
    except Exception as error:
        if known is None and isinstance(error, PIL.UnidentifiedImageError):
            raise SoftmineError(
                f"{where}: it is not an image of a known format; convert it to PNG, TIFF or NPY"
            ) from error
        raise SoftmineError(
            f"{where}: it is a truncated or damaged {known or 'image'}; get a complete copy"
        ) from error


def _open(file: io.BytesIO | io.BufferedReader, formats: tuple[str, ...]) -> PIL.Image.Image:
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


def _to_data(
    image: PIL.Image.Image, where: str, notes: list[str], deep: np.ndarray | None = None
) -> ImageData:
    """The pixels of an image as they are learned, or ``deep`` ones, and what it says of their colors."""
    if deep is None:
        image.load()
    mode, key, profile = image.mode, image.info.get("transparency"), image.info.get("icc_profile")
    array = _to_array(image, where) if deep is None else deep
    channels = array.shape[2] if array.ndim == 3 else 1
    if deep is None:
        colors = {1: "gray", 2: "gray and opacity", 3: "RGB", 4: "RGBA"}[channels]
        if mode in _SAID:
            notes.append(f"its {_SAID[mode]} became {colors}")
        elif key is not None:
            notes.append("its transparent color became opacity")
        if mode == "RGBX":
            notes.append("its fourth channel is left out")
    profile = fitting_profile(profile, 3 if channels >= 3 else 1, notes)
    return ImageData(array, icc_profile=profile, notes=tuple(notes))


def _to_array(image: PIL.Image.Image, where: str) -> np.ndarray:
    mode, key, target = image.mode, image.info.get("transparency"), ""
    if key is not None and mode in ("1", "L", "P", "RGB"):
        target = "LA" if mode in ("1", "L") else "RGBA"
    elif mode in _CONVERT:
        target = _CONVERT[mode]
    elif mode not in ("L", "LA", "RGB", "RGBA", "F", "I") and not mode.startswith("I;16"):
        raise SoftmineError(f"{where}: its colors are {mode}; convert it to RGB")
    array = _convert(image, target)
    if mode == "I":
        array = _fit_uint16(array, where)
    if key is not None and mode.startswith("I"):
        # Pillow knows no gray of 16 bits with opacity.
        array = np.stack((array, np.where(array == key, 0, 65535).astype(array.dtype)), -1)
    return array


def _convert(image: PIL.Image.Image, target: str) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of an image in the mode ``target``, or its own; large ones band by band, which takes no memory for a second."""
    if image.width * image.height <= _SMALL:
        return np.array(image.convert(target) if target and target != image.mode else image)
    array, rows = np.empty(0), max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        band = np.asarray(part.convert(target) if target else part)
        if top == 0:
            array = np.empty((image.height, *band.shape[1:]), band.dtype)
        array[top : top + len(band)] = band
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


def _is_deep_color_png(start: bytes, path: Path, where: str) -> bool:
    """Whether a PNG has more than one channel of 16 bits, which Pillow would cut to 8."""
    if len(start) < 33 or start[12:16] != b"IHDR":
        raise SoftmineError(f"{where}: its PNG header is truncated or damaged; get a complete copy")
    width, height, depth, color = struct.unpack(">IIBB", start[16:26])
    check_size(height, width, where)
    # Pillow leaves rows black that are not there.
    bits = depth * {2: 3, 4: 2, 6: 4}.get(color, 1)
    if height * (width * bits // 8) > DEFLATE_MOST * path.stat().st_size:
        raise SoftmineError(f"{where}: it is a truncated or damaged PNG; get a complete copy")
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
