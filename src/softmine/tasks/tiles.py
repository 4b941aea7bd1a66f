"""A reconstruction of any size as a tiled TIFF with smaller versions of itself, in little memory.

The field is asked a strip of rows at a time. A band of tiles is all that is kept; what smaller versions are made of
waits in temporary files beside the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from softmine.signals import Image
from softmine.training.evaluation import decibels, values_at
from softmine.training.files import replacing
from softmine.training.task import Array, Report, silent

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
    """Writes ``field`` at every pixel of ``image``, as the picture's own type, and returns its PSNR in dB over all pixels.

    A BigTIFF with deflated tiles of 512 x 512 pixels. Its SubIFDs hold versions of half, a quarter ... of the size, each
    pixel the mean of four (of fewer at an odd edge), down to one tile; so viewers show any part at once. Truth values
    become 0 and 255. Needs memory for some bands of 512 rows, and as much disk again as a quarter of the values takes.

    Args:
        field: what was trained.
        image: what it was trained on.
        path: the file, which appears when it is complete.
        device: where the field is.
        report: told how far it is.

    Raises:
        SoftmineError: the file cannot be written.
    """
    import tifffile

    sizes = pyramid(image.shape[0], image.shape[1])
    channels = image.channels
    dtype = np.dtype(np.uint8) if image.dtype == "bool" else np.dtype(image.dtype)
    total = _Error()

    with (
        replacing(path) as temporary,
        tempfile.TemporaryDirectory(prefix=".levels-", dir=path.parent) as folder,
        tifffile.TiffWriter(temporary, bigtiff=True) as file,
    ):
        bands = _from_field(field, image, device, total, lambda share: report(_BASE_SHARE * share))
        for level, (height, width) in enumerate(sizes):
            with (Path(folder) / f"{level}").open("wb") as half:
                last = level + 1 == len(sizes)
                file.write(
                    _tiles(bands if last else _halved(bands, half)),
                    shape=(height, width, channels) if channels > 1 else (height, width),
                    dtype=dtype,
                    tile=(TILE, TILE),
                    compression="zlib",
                    photometric="rgb" if channels >= 3 else "minisblack",
                    extrasamples=["unassalpha"] if channels in (2, 4) else None,
                    planarconfig="contig" if channels > 1 else None,
                    subifds=len(sizes) - 1 if level == 0 else 0,
                    subfiletype=1 if level else 0,
                    metadata=None,
                )
            report(_BASE_SHARE + (1 - _BASE_SHARE) * (level + 1) / len(sizes))
            if not last:
                bands = _from_file(Path(folder) / f"{level}", (*sizes[level + 1], channels), dtype)
    return decibels(total.sum / (image.domain.cells * channels))


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes (rows, columns) of all versions of a picture: each half of the one before, until one tile holds it."""
    sizes = [(height, width)]
    while max(sizes[-1]) > TILE:
        rows, columns = sizes[-1]
        sizes.append(((rows + 1) // 2, (columns + 1) // 2))
    return sizes


class _Error:
    """Sum of squared errors so far."""

    sum = 0.0


def _from_field(
    field: nn.Module, image: Image, device: torch.device, total: _Error, report: Callable[[float], None]
) -> Bands:
    """Bands (rows, W, C) of up to 512 rows of the field, as the picture stores its values."""
    height, width, channels = image.shape
    block = max(1, STRIP // width)
    across = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    for top in range(0, height, TILE):
        strips = []
        bottom = min(top + TILE, height)
        for start in range(top, bottom, block):
            stop = min(start + block, bottom)
            down = (torch.arange(start, stop, dtype=torch.float64) + 0.5) / height
            coords = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1).reshape(-1, 2).float()
            values = values_at(field, coords, device).clamp_(0, 1).numpy().reshape(-1, width, channels)
            total.sum += float(np.square(values - image.rows(start, stop)).sum(dtype=np.float64))
            raw = image.to_raw(values)
            strips.append(raw.astype(np.uint8) * np.uint8(255) if raw.dtype == bool else raw)
            report(stop / height)
        yield np.concatenate(strips)


def _halved(bands: Bands, half: IO[bytes]) -> Bands:
    """The bands as they come, after a version of half their size has been added to a file."""
    for band in bands:
        half.write(halve(band).tobytes())
        yield band


def _from_file(path: Path, shape: tuple[int, int, int], dtype: np.dtype) -> Bands:
    """Bands (rows, W, C) of up to 512 rows of a file of plain values, which is deleted after the last."""
    height, width, channels = shape
    with path.open("rb") as file:
        for top in range(0, height, TILE):
            rows = min(TILE, height - top)
            band = np.fromfile(file, dtype, rows * width * channels)
            yield band.reshape(rows, width, channels)
    path.unlink()


def _tiles(bands: Bands) -> Iterator[Array]:
    """Whole tiles (512, 512, C) or (512, 512), in order; what they hold beyond the picture repeats its edge."""
    for band in bands:
        rows, width, channels = band.shape
        band = np.pad(band, ((0, TILE - rows), (0, -width % TILE), (0, 0)), mode="edge")
        for left in range(0, width, TILE):
            tile = band[:, left : left + TILE]
            # Contiguous, because TIFF writers compress the memory as it lies.
            yield np.ascontiguousarray(tile if channels > 1 else tile[..., 0])


def halve(band: Array) -> Array:
    """Means over 2 x 2 pixels of (rows, W, C), rounded where values are whole; fewer at an odd edge."""
    rows, width, _ = band.shape
    whole = band.dtype.kind in "ub"
    band = np.pad(band, ((0, rows % 2), (0, width % 2), (0, 0)), mode="edge")
    # Wide enough for the sum of four.
    wide = band.astype(np.uint32) if whole else band.astype(np.promote_types(band.dtype, np.float32))
    total = wide[0::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 0::2] + wide[1::2, 1::2]
    return ((total + 2) // 4 if whole else total / 4).astype(band.dtype)
