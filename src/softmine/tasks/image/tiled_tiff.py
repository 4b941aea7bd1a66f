"""A reconstruction of any size as a tiled TIFF with smaller versions of itself, in little memory.

The field is evaluated a strip of rows at a time. A band of tiles is all that is kept; what smaller versions are made of
waits in files without a name on the disk of the result, which end with the process, however that ends.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn

from softmine.runs.files import replacing
from softmine.runs.task import Array, Report, silent
from softmine.signals import Image, tiff_tags
from softmine.signals.grid import Number
from softmine.tasks.grids import rows_of
from softmine.training.evaluation import decibels

TILE = 512
"""Pixels along each side of a tile."""
STRIP = 2**18
"""Pixels of a strip, about."""
_BASE_SHARE = 0.9
"""Of the work: the rest is for the smaller versions."""

Bands = Iterator[Array]


def write_tiled(
    field: nn.Module, image: Image, path: Path, device: torch.device, report: Report = silent
) -> float:
    """Writes ``field`` at every pixel of ``image``, as the image's own type, and returns its PSNR in dB over all pixels.

    A BigTIFF with deflated tiles of 512 x 512 pixels. Its SubIFDs hold versions of half, a quarter ... of the size, each
    pixel the mean of four (of fewer at an odd edge), down to one tile; so viewers show any part at once. Truth values
    become 0 and 255. Needs memory for some bands of 512 rows, and as much disk again as a quarter of the values takes.

    Args:
        field: what was trained.
        image: what it was trained on.
        path: the file, which appears when it is complete.
        device: where the field is.
        report: called with the share done.

    Raises:
        SoftmineError: the file cannot be written.
    """
    import tifffile

    sizes = pyramid(image.shape[0], image.shape[1])
    channels = image.channels
    dtype = np.dtype(np.uint8) if image.dtype == "bool" else np.dtype(image.dtype)
    total = _Error()

    with (
        ExitStack() as halves,
        replacing(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=True) as file,
    ):
        bands = _from_field(field, image, dtype, device, total, lambda share: report(_BASE_SHARE * share))
        for level, (height, width) in enumerate(sizes):
            last = level + 1 == len(sizes)
            gap = None if image.valid is None or _needs_mask(image) else image.gap
            half = None if last else halves.enter_context(tempfile.TemporaryFile(dir=path.parent))
            file.write(
                _tiles(bands if half is None else _halved(bands, half, gap)),
                shape=(height, width, channels) if channels > 1 else (height, width),
                dtype=dtype,
                tile=(TILE, TILE),
                compression="zlib",
                **image.layout,
                **(said(image) if level == 0 else {}),
                subifds=len(sizes) - 1 if level == 0 else 0,
                subfiletype=1 if level else 0,
                metadata=None,
            )
            report(_BASE_SHARE + (1 - _BASE_SHARE) * (level + 1) / len(sizes))
            if half is not None:
                bands = _from_file(half, (*sizes[level + 1], channels), dtype)
        _write_mask(file, image)
    return decibels(total.sum / (image.domain.valid * channels))


def write_plain(raw: Array, image: Image, path: Path) -> None:
    """Writes stored values (H, W, C) as a plain TIFF that says of them what the file of ``image`` said."""
    import tifffile

    with tifffile.TiffWriter(path) as file:
        metadata = None if image.valid is not None and _needs_mask(image) else {}
        file.write(
            raw[..., 0] if raw.shape[-1] == 1 else raw, metadata=metadata, **image.layout, **said(image)
        )
        _write_mask(file, image)


def said(image: Image) -> dict[str, Any]:
    """What a TIFF of an image's pixels says of them besides, as arguments of tifffile."""
    nodata = image.nodata
    if nodata is None and image.valid is not None and not _needs_mask(image):
        nodata = math.nan
    tags = image.tags if nodata is None else (*image.tags, *tiff_tags.nodata_tag(nodata))
    return {"extratags": tags, "iccprofile": image.icc_profile}


def _needs_mask(image: Image) -> bool:
    """Whether no stored value can mean "no data"."""
    return image.nodata is None and np.dtype(image.dtype).kind != "f"


def _write_mask(file: Any, image: Image) -> None:
    """Adds a transparency mask where pixels hold no data and no stored value says so."""
    if image.valid is not None and _needs_mask(image):
        file.write(image.valid.numpy(), photometric="mask", subfiletype=4, metadata=None)


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes (rows, columns) of all versions of an image: each half of the one before, until one tile holds it."""
    sizes = [(height, width)]
    while max(sizes[-1]) > TILE:
        rows, columns = sizes[-1]
        sizes.append(((rows + 1) // 2, (columns + 1) // 2))
    return sizes


class _Error:
    """Sum of squared errors so far."""

    sum = 0.0


def _from_field(
    field: nn.Module, image: Image, dtype: np.dtype, device: torch.device, total: _Error, report: Report
) -> Bands:
    """Bands (rows, W, C) of up to 512 rows of the field, as the file stores their values; adds to the error."""
    height, width, channels = image.shape
    for top in range(0, height, TILE):
        bottom = min(top + TILE, height)
        band = np.empty((bottom - top, width, channels), dtype)
        for start, stop, values in rows_of(field, range(top, bottom), (height, width), device, STRIP):
            known = None if image.valid is None else image.valid[start:stop].numpy()
            apart = np.square(values - image.rows(start, stop))
            total.sum += float((apart if known is None else apart[known]).sum(dtype=np.float64))
            raw = image.to_raw(values, known)
            band[start - top : stop - top] = raw * np.uint8(255) if raw.dtype == bool else raw
            report(stop / height)
        yield band


def _halved(bands: Bands, half: IO[bytes], gap: Number | None) -> Bands:
    """The bands as they come, after a version of half their size has been added to a file."""
    for band in bands:
        half.write((halve(band) if gap is None else halve_known(band, gap)).tobytes())
        yield band


def _from_file(file: IO[bytes], shape: tuple[int, int, int], dtype: np.dtype) -> Bands:
    """Bands (rows, W, C) of up to 512 rows of a file of plain values, which is closed after the last."""
    height, width, channels = shape
    file.seek(0)
    for top in range(0, height, TILE):
        rows = min(TILE, height - top)
        content = file.read(rows * width * channels * dtype.itemsize)
        yield np.frombuffer(content, dtype).reshape(rows, width, channels)
    file.close()


def _tiles(bands: Bands) -> Iterator[Array]:
    """Whole tiles (512, 512, C) or (512, 512), in order; what they hold beyond the image repeats its edge."""
    for band in bands:
        for left in range(0, band.shape[1], TILE):
            tile = band[:, left : left + TILE]
            rows, columns, channels = tile.shape
            # A copy even where nothing is missing: TIFF writers compress the memory as it lies.
            tile = np.pad(tile, ((0, TILE - rows), (0, TILE - columns), (0, 0)), mode="edge")
            yield tile if channels > 1 else tile[..., 0]


def halve(band: Array) -> Array:
    """Means over 2 x 2 pixels of (rows, W, C), rounded where values are whole; fewer at an odd edge."""
    rows, width, _ = band.shape
    whole = band.dtype.kind == "u"
    if rows % 2 or width % 2:
        band = np.pad(band, ((0, rows % 2), (0, width % 2), (0, 0)), mode="edge")
    # Wide enough for the sum of four, and no wider: bands of large images are what memory goes to.
    wide = np.promote_types(band.dtype, np.float32)
    if whole:
        wide = np.dtype(f"u{2 * band.dtype.itemsize}")
    total = np.add(band[0::2, 0::2], band[0::2, 1::2], dtype=wide)
    total += band[1::2, 0::2]
    total += band[1::2, 1::2]
    if whole:
        total += 2
        total >>= 2
    else:
        total /= 4
    return total.astype(band.dtype)


def halve_known(band: Array, gap: Number) -> Array:
    """``halve`` of pixels that are ``gap`` in no channel, where it means "no data"; ``gap`` where none of four is."""
    known = ~(np.isnan(band) if gap != gap else band == gap).any(-1, keepdims=True)
    wide = np.where(known, band, 0).astype(np.float64)
    odd = ((0, band.shape[0] % 2), (0, band.shape[1] % 2), (0, 0))
    total, count = (
        sum(whole[down::2, across::2] for down in range(2) for across in range(2))
        for whole in (np.pad(wide, odd), np.pad(known, odd).astype(np.int64))
    )
    mean = total / np.maximum(count, 1)
    mean = np.where(count > 0, mean if band.dtype.kind == "f" else np.rint(mean), gap)
    return mean.astype(band.dtype)
