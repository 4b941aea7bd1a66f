"""Pictures of a run: the target, its reconstruction, the error, and where the samples fell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from torch import nn

from softmine.signals import Image
from softmine.training.evaluation import decibels, values_at
from softmine.training.files import replacing, write_json
from softmine.training.record import SampleRecord

FULL_SIZE = 2**25
REDUCED_SIDE = 2048
MAP_SIDE = 960
BLOCK = 2**18
DENSITY_RANGE = 8.0
EARLY = 0.1

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reconstruction:
    """A field on a pixel grid: ``values`` and ``target`` (h, w, C) in [0, 1]; ``full`` when it has every pixel."""

    values: Array
    target: Array
    full: bool

    @property
    def error(self) -> Array:
        """Mean absolute error over channels, (h, w)."""
        return np.abs(self.values - self.target).mean(-1)

    @property
    def psnr(self) -> float:
        """In dB for a peak of 1."""
        return decibels(float(np.square(self.values - self.target).mean(dtype=np.float64)))


def reconstruct(
    field: nn.Module,
    image: Image,
    device: torch.device,
    *,
    most_pixels: int = FULL_SIZE,
    report: Callable[[float], None] = lambda share: None,
) -> Reconstruction:
    """Evaluates ``field`` at every pixel, or on a reduced grid where there are more than ``most_pixels``.

    ``report`` is told the share that is done.
    """
    rows, columns, channels = image.shape
    full = rows * columns <= most_pixels
    reduce = 1.0 if full else min(1.0, REDUCED_SIDE / max(rows, columns))
    shape = (max(1, round(rows * reduce)), max(1, round(columns * reduce)))
    values = np.empty((*shape, channels), np.float32)
    target = np.empty_like(values)
    block = max(1, BLOCK // shape[1])
    across = (torch.arange(shape[1], dtype=torch.float64) + 0.5) / shape[1]
    for start in range(0, shape[0], block):
        stop = min(start + block, shape[0])
        down = (torch.arange(start, stop, dtype=torch.float64) + 0.5) / shape[0]
        coords = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1).reshape(-1, 2).float()
        part = (stop - start, shape[1], channels)
        values[start:stop] = values_at(field, coords, device).clamp_(0, 1).numpy().reshape(part)
        if full:
            target[start:stop] = image.rows(start, stop)
        else:
            target[start:stop] = values_at(image, coords, device).numpy().reshape(part)
        report(stop / shape[0])
    return Reconstruction(values, target, full)


def write_reconstruction(result: Reconstruction, image: Image, folder: Path) -> str:
    """Writes ``target.png``, ``reconstruction.png`` and, for more than 8 bits, ``reconstruction.tif``; says its size."""
    write_picture(result.target, folder / "target.png")
    write_picture(result.values, folder / "reconstruction.png")
    if result.full and image.dtype != "uint8":
        import tifffile

        raw = image.to_raw(result.values)
        with replacing(folder / "reconstruction.tif") as temporary:
            tifffile.imwrite(temporary, raw[..., 0] if image.channels == 1 else raw)
    height, width = result.values.shape[:2]
    return "every pixel" if result.full else f"reduced to {width} x {height}"


def error_scale(error: Array) -> float:
    """The error that gets the brightest colour: the 99.5th percentile, at least one step of 8 bits."""
    return max(float(np.percentile(error[::4, ::4] if error.size > 2**22 else error, 99.5)), 1 / 255)


def write_error(error: Array, path: Path, scale: float) -> None:
    """Writes an error map (h, w), averaged down to at most 960 pixels a side; ``scale`` gets the brightest colour."""
    small = block_mean(error, max(1, math.ceil(max(error.shape) / MAP_SIDE)))
    colours = matplotlib.colormaps["magma"](np.clip(small / scale, 0, 1), bytes=True)[..., :3]
    _save(Pillow.fromarray(colours), path)


def write_samples(record: SampleRecord, folder: Path, prefix: str = "samples") -> list[dict[str, Any]]:
    """Writes maps of where the samples fell early, in the middle and late; returns file, label and steps of each.

    A map shows samples a cell relative to uniform on a logarithmic scale: an eighth as many is full blue, as many is
    white, eight times as many is full red.
    """
    entries = []
    for name, (first, last, counts) in _phases(record):
        density = _density(counts)
        shade = np.log2(np.clip(density, 1 / DENSITY_RANGE, DENSITY_RANGE)) / np.log2(DENSITY_RANGE)
        colours = matplotlib.colormaps["RdBu_r"](0.5 + 0.5 * shade, bytes=True)[..., :3]
        height, width = record.grid.shape
        enlarge = max(1, MAP_SIDE // 2 // max(height, width))
        picture = Pillow.fromarray(colours).resize(
            (width * enlarge, height * enlarge), Pillow.Resampling.NEAREST
        )
        file = f"{prefix}_{name}.png"
        _save(picture, folder / file)
        entries.append(
            {"file": file, "label": f"{name}: steps {first:,} to {last:,}", "steps": [first, last]}
        )
    return entries


def write_pictures(result: Reconstruction, image: Image, record: SampleRecord, folder: Path) -> None:
    """Writes all pictures of a fit, and ``images.json`` that explains them."""
    note = write_reconstruction(result, image, folder)
    scale = error_scale(result.error)
    write_error(result.error, folder / "error.png", scale)
    samples = write_samples(record, folder)
    write_json(
        folder / "images.json",
        {
            "samples": samples,
            "density_range": [1 / DENSITY_RANGE, DENSITY_RANGE],
            "error_scale": scale,
            "reconstruction_note": note,
        },
    )


def write_picture(values: Array, path: Path) -> None:
    """Writes values (h, w, C) in [0, 1] as an 8-bit PNG: grey, grey and alpha, RGB or RGBA."""
    pixels = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    _save(Pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), path)


def block_mean(values: Array, factor: int) -> Array:
    """Means over blocks of ``factor`` x ``factor``; the last block of an axis may be smaller."""
    if factor == 1:
        return values
    rows = np.arange(0, values.shape[0], factor)
    columns = np.arange(0, values.shape[1], factor)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    heights = np.diff(np.append(rows, values.shape[0]))
    widths = np.diff(np.append(columns, values.shape[1]))
    return sums / np.multiply.outer(heights, widths)


def _phases(record: SampleRecord) -> list[tuple[str, tuple[int, int, Array]]]:
    """Early, middle and late stretches of the record, each merged from what was counted."""
    stretches = [
        (first, last, counts.numpy()) for first, last, counts in record.stretches if counts.sum() > 0
    ]
    if not stretches:
        return []
    end = stretches[-1][1]
    early = [s for s in stretches if s[1] <= EARLY * end] or stretches[:1]
    middle = [s for s in stretches if s[0] < 0.55 * end and s[1] > 0.45 * end] or stretches[-1:]
    late = [s for s in stretches if s[0] >= 0.9 * end] or stretches[-1:]
    merged = []
    for name, part in (("early", early), ("middle", middle), ("late", late)):
        merged.append((name, (part[0][0], part[-1][1], sum(counts for _, _, counts in part))))
    return merged


def _density(counts: Array) -> Array:
    """Counts relative to their mean, pooled until a cell holds enough of them to mean something."""
    shape = counts.shape
    factor = 1
    while counts.sum() / counts.size < 4 and max(counts.shape) > 8:
        factor *= 2
        counts = block_mean(counts.reshape(shape) if factor == 2 else counts, 2)
    density = counts / max(counts.mean(), 1e-9)
    grown = density.repeat(factor, 0).repeat(factor, 1)
    return grown[: shape[0], : shape[1]]


def _save(picture: Pillow.Image, path: Path) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", compress_level=3)
