"""Loads the images of a scene as the training wants them: uint8, premultiplied, averaged down."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Bool, UInt8

from softmine.errors import SoftmineError
from softmine.radiance.scenes.scene import View
from softmine.signals.image import files as image_files
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import orient, turned

_ORIENTATION = 0x0112
_ORIENTED_BY = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""What a PNG may keep its orientation in, as EXIF's own chunk, ImageMagick's text or XMP."""
_TURNS = tuple(turned(each) for each in range(2, 9))
_BAND = 2**17
"""Pixels that are floats at a time: few enough to stay in the cache."""


def reduce(pixels: np.ndarray, view: View, downscale: int, has_alpha: bool) -> UInt8[np.ndarray, "h w c"]:
    """Stored pixels of a view as RGB or premultiplied RGBA, averaged over blocks of ``downscale`` x ``downscale`` pixels.

    Color is multiplied by opacity before it is averaged, else the color of what is transparent would show at the
    border of what is not. Rows and columns that fill no block are cut off.

    Raises:
        SoftmineError: the image is not of its camera's size, or not of 8 or 16 bits.
    """
    camera, where = view.camera, str(view.image or view.name)
    height, width = pixels.shape[:2]
    if (height // downscale, width // downscale) != (camera.height, camera.width):
        raise SoftmineError(
            f"{where} is {width} x {height} pixels, which at downscale {downscale} is not the "
            f"{camera.width} x {camera.height} of its camera; use the images the cameras were estimated from"
        )
    parts = []
    step = max(1, _BAND // (width * downscale))
    for start in range(0, camera.height, step):
        rows = pixels[start * downscale : min(start + step, camera.height) * downscale]
        parts.append(_shrink(_premultiply(rows, has_alpha, where), downscale, camera.width))
    return np.concatenate(parts)


def read_photo(view: View) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels (H, W) or (H, W, C) of a view as they are stored, in the order that its camera was estimated from, and notes on them.

    Raises:
        SoftmineError: the image is damaged.
    """
    if view.image:
        return _read(view.image, view.upright)
    assert view.pixels is not None
    return view.pixels, ()


def read_pixels(view: View) -> np.ndarray:
    """The pixels of ``read_photo``."""
    return read_photo(view)[0]


def load_mask(view: View, downscale: int) -> Bool[np.ndarray, "h w"] | None:
    """Which pixels of a view count, or None for all: those of whose block no pixel is left out.

    By its mask, what is 0 is left out, whatever the mask's largest value is; by its mask of what moves, all but 0; and by its
    lens, what lies beyond the circle that it shows. Masks larger than their images have a block for each pixel, too.

    Raises:
        SoftmineError: a mask is damaged, or not of the image's size.
    """
    valid = view.camera.image_circle()
    height, width = view.camera.height, view.camera.width
    for path, moving, factor in ((view.mask, False, view.mask_factor), (view.dynamic_mask, True, 1)):
        if path is None:
            continue
        mask = _read_mask(path, (height, width), downscale, factor) ^ moving
        side = downscale * factor
        # The last blocks of a larger mask may not be whole, as its image's sides are rounded.
        lacks = [
            (0, max(0, size * side - has)) for size, has in zip((height, width), mask.shape, strict=True)
        ]
        mask = np.pad(mask, lacks, constant_values=True) if factor > 1 else mask
        blocks = mask[: height * side, : width * side].reshape(height, side, width, side)
        kept = np.asarray(blocks.all((1, 3)))
        valid = kept if valid is None else valid & kept
    return valid


def _read_mask(path: Path, size: tuple[int, int], downscale: int, factor: int = 1) -> Bool[np.ndarray, "h w"]:
    """Where a mask is not 0, at ``factor`` times the size of its image."""

    def fits(mask: np.ndarray) -> bool:
        side = downscale * factor
        off = [has - own * side for has, own in zip(mask.shape, size, strict=False)]
        return all(-factor < each < side + factor - 1 for each in off)

    mask, _ = _read(path)
    if not fits(mask):
        mask, _ = _read(path, upright=True)
    if not fits(mask):
        raise SoftmineError(
            f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels, which is not "
            + ("the size of its image; " if factor == 1 else f"{factor} times the size of its image; ")
            + "a mask has a pixel for each of the image's"
        )
    if mask.ndim == 2:
        mask = mask[..., None]
    if mask.shape[2] in (2, 4):
        mask, opacity = mask[..., :-1], mask[..., -1] > 0
        # Where all has one color, what it says it says by its opacity; else what is transparent is out, too.
        return opacity if mask.min() == mask.max() and not opacity.all() else (mask.max(-1) > 0) & opacity
    mask = mask.max(-1)
    # What JPEG makes of 0 is not 0 everywhere.
    return mask > (mask.max() / 2 if path.suffix.lower() in (".jpg", ".jpeg") else 0)


def _read(path: Path, upright: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels in the order they are stored in, which most cameras are estimated from, or as EXIF says is ``upright``; and notes.

    Turns are not among the notes: whether they are undone is for the camera to say.
    """
    data = image_files.read_data(path)
    pixels = data.pixels.load() if isinstance(data.pixels, MappedImage) else data.pixels
    notes = tuple(note for note in data.notes if note not in _TURNS)
    turn = 1 if upright else orientation(path)
    # Quarter turns are undone by each other, every other turn by itself.
    return orient(pixels, {6: 8, 8: 6}.get(turn, turn)) if turn != 1 else pixels, notes


def orientation(path: Path) -> int:
    """By EXIF, 1 to 8, wherever an image keeps it; 1, upright, where there is none that is valid."""
    with path.open("rb") as file:
        start = file.read(8)
    if start == b"\x89PNG\r\n\x1a\n":
        content = path.read_bytes()
        if not any(kept in content for kept in _ORIENTED_BY):
            return 1  # Pillow would decode all of it to learn that
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        with PIL.Image.open(path) as image:
            return valid_orientation(image)
    return 1


def valid_orientation(image: PIL.Image.Image) -> int:
    """What an open image's EXIF says of its orientation, 1 to 8; 1 where it says nothing valid."""
    with contextlib.suppress(Exception):  # broken EXIF data turns nothing
        found = int(image.getexif().get(_ORIENTATION, 1))
        return found if 1 <= found <= 8 else 1
    return 1


def _premultiply(pixels: np.ndarray, has_alpha: bool, where: str) -> np.ndarray:
    """Float32 RGB, or RGBA with color times opacity, in [0, 255]."""
    if pixels.dtype.name not in ("uint8", "uint16", "bool"):
        raise SoftmineError(f"{where}: its values are {pixels.dtype.name}; save it with 8 or 16 bits a color")
    top = 1 if pixels.dtype.kind == "b" else np.iinfo(pixels.dtype).max
    values = pixels.astype(np.float32)
    if top != 255:
        values *= np.float32(255 / top)
    if values.ndim == 2:
        values = values[..., None]
    channels = values.shape[2]
    color = values[..., :3] if channels >= 3 else np.repeat(values[..., :1], 3, -1)
    if not has_alpha:
        return color
    if channels in (1, 3):
        return np.concatenate((color, np.full_like(values[..., :1], 255.0)), -1)
    opacity = values[..., -1:]
    out = np.concatenate((color, opacity), -1)
    share = opacity[..., 0] / 255
    for channel in range(3):
        out[..., channel] *= share
    return out


def _shrink(values: np.ndarray, factor: int, width: int) -> UInt8[np.ndarray, "h w c"]:
    values = values[:, : width * factor]
    if factor > 1:
        channels = values.shape[2]
        # Rows first, whole and contiguous: in one call numpy takes many times as long.
        values = (
            values.reshape(-1, factor, width * factor * channels).sum(1).reshape(-1, width, factor, channels)
        )
        values = sum(values[:, :, step] for step in range(factor)) * np.float32(1 / factor**2)
    return np.rint(values).astype(np.uint8)
