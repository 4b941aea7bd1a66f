"""Images of a run: the target, its reconstruction, the error, and where the samples fell."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Pillow

from softmine.runs.files import replacing, write_json
from softmine.runs.task import Array, Output, Reconstruction
from softmine.training.record import SampleRecord

MAP_SIDE = 960
EARLY = 0.1
STRETCHES = ("early", "middle", "late")
"""Of a run, whose samples are shown apart."""
COLOR_MAPS = {"error": "magma", "samples": "RdBu_r"}
"""What is drawn in which of matplotlib's color maps."""
NOT_MEASURED = (0.44, 0.50, 0.56)
"""The color of maps of errors and samples where there is nothing to measure or to draw, slate gray, which is none of theirs."""
DENSITY_RANGE = 8.0
"""Times the mean density that gets the last color; the first is for one over that."""

Map = Float[np.ndarray, "h w"]
Bytes = UInt8[np.ndarray, "..."]
Rgb = UInt8[np.ndarray, "h w 3"]


def to_bytes(values: Array) -> Bytes:
    """Values in [0, 1] as uint8 of the same shape, rounded; what lies outside is clipped, NaN is 0."""
    return (np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)


def error_colors(error: Map, scale: float) -> Rgb:
    """Errors (h, w) from black, none, to the brightest color at ``scale``; NaN, what is not measured, is slate gray."""
    colors = matplotlib.colormaps[COLOR_MAPS["error"]](
        np.clip(np.nan_to_num(error) / scale, 0, 1), bytes=True
    )
    return np.where(np.isnan(error)[..., None], to_bytes(np.array(NOT_MEASURED)), colors[..., :3])


def density_colors(density: Map) -> Rgb:
    """Samples relative to uniform ones, (h, w), on a logarithmic scale: an eighth is blue, one white, eight times red.

    NaN, where no sample can fall, is slate gray.
    """
    shade = np.log2(np.clip(np.nan_to_num(density), 1 / DENSITY_RANGE, DENSITY_RANGE)) / np.log2(
        DENSITY_RANGE
    )
    colors = matplotlib.colormaps[COLOR_MAPS["samples"]](0.5 + 0.5 * shade, bytes=True)
    return np.where(np.isnan(density)[..., None], to_bytes(np.array(NOT_MEASURED)), colors[..., :3])


def error_scale(result: Reconstruction) -> float:
    """The error that gets the brightest color: the 99.5th percentile, or the least that is to be told apart."""
    error = result.error
    error = error[::4, ::4] if error.size > 2**22 else error
    measured = error[~np.isnan(error)]
    return max(float(np.percentile(measured, 99.5)) if measured.size else 0.0, result.least_error)


def write_error(error: Array, path: Path, scale: float) -> None:
    """Writes an error map (h, w), averaged down to at most 960 pixels a side; ``scale`` gets the brightest color."""
    factor = max(1, math.ceil(max(error.shape) / MAP_SIDE))
    measured = ~np.isnan(error)
    if measured.all():
        small = block_mean(error, factor)
    else:
        share = block_mean(measured.astype(np.float32), factor)
        total = block_mean(np.where(measured, error, 0), factor)
        small = np.where(share > 0, total / np.where(share > 0, share, 1), np.nan)
    _save(Pillow.fromarray(error_colors(small, scale)), path)


def write_samples(record: SampleRecord, folder: Path, prefix: str = "samples") -> list[dict[str, Any]]:
    """Writes maps of where the samples fell early, in the middle and late; returns file, label and steps of each.

    A map shows samples a cell relative to uniform ones over what holds data, on a logarithmic scale: an eighth as many is
    full blue, as many is white, eight times as many is full red; without data it is slate gray. A run too short for three
    stretches has fewer maps.
    """
    entries, held = [], record.held
    for name, (first, last, counts) in _phases(record):
        shown = _as_image(density(counts, held))
        height, width = shown.shape
        enlarge = max(1, MAP_SIDE // 2 // max(height, width))
        image = Pillow.fromarray(density_colors(shown)).resize(
            (width * enlarge, height * enlarge), Pillow.Resampling.NEAREST
        )
        file = f"{prefix}_{name}.png"
        _save(image, folder / file)
        label = f"{stretch_label(name)}: steps {first:,} to {last:,}"
        entries.append({"file": file, "label": label, "steps": [first, last]})
    return entries


def stretch_label(name: str) -> str:
    """The stretch of a run that the name of a map's file ends in, in words.

    Example:
        >>> stretch_label("early"), stretch_label("middle-late"), stretch_label("early-middle-late")
        ('early', 'middle and late', 'all that were counted')
    """
    parts = name.split("-")
    return "all that were counted" if len(parts) == len(STRETCHES) else " and ".join(parts)


def write_images(result: Reconstruction, outputs: list[Output], record: SampleRecord, folder: Path) -> None:
    """Writes all images of a fit, and ``images.json`` that explains them and names its other files."""
    if result.target is not None:
        write_image(result.target, folder / "target.png", result.icc_profile)
    write_image(result.values, folder / "reconstruction.png", result.icc_profile)
    scale = error_scale(result)
    write_error(result.error, folder / "error.png", scale)
    samples = write_samples(record, folder)
    write_json(
        folder / "images.json",
        {
            "samples": samples,
            "density_range": [1 / DENSITY_RANGE, DENSITY_RANGE],
            "error_scale": scale,
            "color_maps": COLOR_MAPS,
            "reconstruction_note": result.note,
            "reduced_to": result.reduced_to,
            "outputs": [asdict(output) for output in outputs],
        },
    )


def write_image(values: Array, path: Path, icc_profile: bytes | None = None) -> None:
    """Writes values (h, w, C) in [0, 1] as an 8-bit PNG: grey, grey and alpha, RGB or RGBA, with the profile of its colors."""
    pixels = to_bytes(values)
    _save(Pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), path, icc_profile)


def block_mean(values: Array, factor: int) -> Array:
    """Means over blocks of ``factor`` x ``factor``; the last block of an axis may be smaller."""
    if factor == 1:
        return values
    heights, widths = (np.diff(np.append(np.arange(0, size, factor), size)) for size in values.shape)
    return _block_sum(values, factor) / np.multiply.outer(heights, widths)


def _block_sum(values: Array, factor: int) -> Array:
    rows, columns = (np.arange(0, size, factor) for size in values.shape)
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)


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
    # Of a short run they may be one stretch, which is shown once.
    found: dict[tuple[int, int], tuple[list[str], Array]] = {}
    for name, part in zip(STRETCHES, (early, middle, late), strict=True):
        counts = np.sum([counts for _, _, counts in part], 0)
        found.setdefault((part[0][0], part[-1][1]), ([], counts))[0].append(name)
    return [("-".join(names), (*steps, counts)) for steps, (names, counts) in found.items()]


def density(counts: Array, held: Array) -> Array:
    """Samples relative to uniform ones, of the shape of the grid, pooled until a cell holds enough of them to mean something.

    Args:
        counts: samples in each cell of a grid.
        held: how much of the signal with data lies in each; where there is none, the density is NaN.
    """
    empty, factor = held == 0, 1
    rate = counts.sum() / max(held.sum(), 1)
    counts, held = np.asarray(counts, np.float64), np.asarray(held, np.float64)
    while counts.ndim == 2 and counts.sum() < 4 * np.count_nonzero(held) and max(counts.shape) > 8:
        factor *= 2
        counts, held = _block_sum(counts, 2), _block_sum(held, 2)
    relative = counts / np.maximum(held * rate, 1e-9)
    if factor > 1:
        relative = relative.repeat(factor, 0).repeat(factor, 1)[: empty.shape[0], : empty.shape[1]]
    return np.where(empty, np.nan, relative)


def _as_image(density: Array) -> Array:
    """A density on 1 to 4 axes as an image (h, w): a line as a strip, a volume as its slices side by side."""
    if density.ndim == 1:
        return np.broadcast_to(density, (max(1, len(density) // 12), len(density)))
    if density.ndim == 2:
        return density
    slices = density.reshape(-1, *density.shape[-2:])
    across = math.ceil(math.sqrt(len(slices) * slices.shape[1] / slices.shape[2]))
    down = math.ceil(len(slices) / across)
    blank = np.ones((down * across - len(slices), *slices.shape[1:]))
    tiles = np.concatenate([slices, blank]).reshape(down, across, *slices.shape[1:])
    return tiles.transpose(0, 2, 1, 3).reshape(down * slices.shape[1], across * slices.shape[2])


def _save(image: Pillow.Image, path: Path, icc_profile: bytes | None = None) -> None:
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", compress_level=3, icc_profile=icc_profile)
