"""Fitting an image."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softmine.domain import Values
from softmine.runs.files import replacing
from softmine.runs.task import Array, Output, Reconstruction, Report, mean_error, silent
from softmine.signals import Image
from softmine.tasks.evaluation import CellEvaluator, More, psnr, ssim
from softmine.tasks.grids import centers, grid_coords, rows_of
from softmine.tasks.image.crops import crop, parse_size
from softmine.tasks.image.tiled_tiff import write_plain, write_tiled
from softmine.tasks.signal_task import SignalTask, parse_corruption, read_with_gaps, without_data
from softmine.training import evaluation as rules
from softmine.training.evaluation import values_at

DEFAULT = "astronaut"
FULL_SIZE = 2**25
SMALL_SIZE = 2**21
"""Pixels up to which a reconstruction has every pixel, for a run and for a comparison."""
TIFF_SIZE = 2**28
"""Pixels up to which a larger one is written as a TIFF unasked: a core evaluates some 2 million a second."""
REDUCED_SIDE = 2048
BLOCK = 2**18
TILES, TILE = 16, 64
"""Of a large image, SSIM is measured on so many tiles of so many pixels a side."""
SEEN = 512
"""Rows and columns, at most, that tell which values an image outside memory has."""


@dataclass(frozen=True)
class Options:
    """What only images take.

    Attributes:
        full_tiff: write every pixel as a tiled TIFF also for more than 268 million of them, which takes minutes.
        crop: the part of the middle to fit, as ``512`` or ``HEIGHTxWIDTH``; None for all.
        corrupt: how to make the image dirty, as ``outliers=0.05``; None to leave it clean.
        nodata: the stored value that means "no data"; None for the one that the file declares.
    """

    full_tiff: bool = False
    crop: str | None = None
    corrupt: str | None = None
    nodata: float | None = None


def read(path: str | None, options: Options, report: Report = silent) -> ImageTask:
    """The image that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None."""
    del report
    parse_corruption(options.corrupt, "image")
    if options.crop is not None:
        parse_size(options.crop)
    image = read_with_gaps(Image, path, DEFAULT, options.nodata)
    return ImageTask(image if options.crop is None else crop(image, options.crop), options)


class ImageTask(SignalTask[Image]):
    """An image to be fitted (see ``runs/task.py``)."""

    kind = "image"
    unit = "pixels"

    def __init__(self, image: Image, options: Options | None = None) -> None:
        self.options = options or Options()
        super().__init__(image, parse_corruption(self.options.corrupt, self.kind))

    def size(self) -> str:
        """As in ``768 x 512 RGB uint8``; what was chosen, converted or left out in reading follows."""
        height, width, channels = self.signal.shape
        colors = {1: "gray", 2: "gray and alpha", 3: "RGB", 4: "RGBA"}[channels]
        words = f"{width} x {height} {colors} {self.signal.dtype}{without_data(self.signal)}"
        return "; ".join([words, *self.notes]) + self.dirt

    @functools.cached_property
    def notes(self) -> list[str]:
        """What was chosen, converted or left out in reading, and where quality is flattered by values that do not occur."""
        return [*self.signal.notes, *_unused_range(self.clean)]

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its image."""
        image = self.signal
        found = super().describe() | {
            "dtype": image.dtype,
            "value_range": list(image.value_range),
            "notes": self.notes,
        }
        if image.domain.masked:
            found["measured"] = {"cells": image.domain.valid, "unit": "pixels with data"}
        return found

    @property
    def measured_unit(self) -> str:
        """What the cells are called that quality is measured in."""
        words = super().measured_unit
        return words if self.signal.valid is None else words.replace(self.unit, "pixels with data", 1)

    def make_evaluator(self, device: torch.device) -> CellEvaluator:
        """PSNR and SSIM; of an image of more than 2^20 pixels the latter on 16 tiles of 64 x 64, always the same."""
        image = self.clean_on(device)
        rows, columns, channels = image.shape
        if image.domain.cells <= rules.ALL:
            return CellEvaluator(
                image,
                self.measured_unit,
                device,
                measures="PSNR and SSIM",
                more=_similarity((rows, columns, channels), valid=image.valid),
            )
        height, width = min(TILE, rows), min(TILE, columns)
        _, random = rules.evaluated_cells(image.domain)
        tiles, known = [], []
        for _ in range(TILES):
            top = torch.randint(rows - height + 1, (), generator=random)
            left = torch.randint(columns - width + 1, (), generator=random)
            cells = (top + torch.arange(height))[:, None] * columns + left + torch.arange(width)
            tiles.append(image.domain.centers(cells.flatten()))
            if image.valid is not None:
                known.append(image.valid[top : top + height, left : left + width].numpy())
        return CellEvaluator(
            image,
            self.measured_unit,
            device,
            more=_tile_similarity((height, width, channels), known),
            beside=torch.cat(tiles),
            beside_words=f", SSIM over {TILES} tiles of {TILE} x {TILE}",
        )

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Reconstruction:
        """``field`` at every pixel, or on a reduced grid where there are too many."""
        image = self.clean_on(device)
        rows, columns, _ = image.shape
        full = rows * columns <= (SMALL_SIZE if small else FULL_SIZE)
        values, target, valid = _on_grid(field, image, device, full, report)
        height, width = values.shape[:2]
        note = "every pixel" if full else f"reduced to {width} x {height}"
        if not (small or full or self._tiled):
            note += ", --full-tiff writes every pixel"
        error = mean_error(values, target)
        reduced = None if full else (width, height)
        if valid is None:
            quality = psnr(values, target) if full else None
        else:
            quality = psnr(values[valid], target[valid]) if full else None
            error = np.where(valid, error, np.nan)
            values, target = _clear(values, valid), _clear(target, valid)
            note += ", clear where there is no data"
        return Reconstruction(
            values, target, error, quality, note, reduced_to=reduced, icc_profile=image.icc_profile
        )

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """``reconstruction.tif`` with the image's own values, where they are finer than 8 bits, some are missing or they are too
        many for a PNG.

        Where the image has no data, neither has the reconstruction, in the same words. The last is tiled and holds smaller versions of itself; see ``tasks/image/tiled_tiff.py``.
        """
        image = self.clean_on(device)
        if self._tiled:
            quality = write_tiled(field, image, folder / "reconstruction.tif", device, report)
            label = f"every pixel, {self.size()}, PSNR {quality:.2f} dB"
            return [Output("reconstruction.tif", label)]
        if result.psnr is None or (image.dtype == "uint8" and image.valid is None and image.nodata is None):
            return []
        valid = None if image.valid is None else image.valid.numpy()
        raw = image.to_raw(result.values[..., : image.channels], valid)
        with replacing(folder / "reconstruction.tif") as temporary:
            write_plain(raw, image, temporary)
        return [Output("reconstruction.tif", f"reconstruction as {image.dtype}")]

    @property
    def _tiled(self) -> bool:
        """Whether every pixel is written, though too many for a PNG."""
        pixels = self.signal.domain.cells
        return pixels > FULL_SIZE and (pixels <= TIFF_SIZE or self.options.full_tiff)


def _similarity(shape: tuple[int, int, int], valid: Tensor | None) -> More:
    """A function that gives the SSIM of an image of a shape (h, w, C), from values (M, C) of its pixels with data."""
    if valid is None:
        return _tile_similarity(shape, [], 1)
    known = valid.numpy()

    def measure(prediction: Values, target: Values) -> dict[str, float | None]:
        images = []
        for values in (prediction, target):
            image = np.zeros(shape, np.float32)
            image[known] = values.numpy()
            images.append(image)
        return {"ssim": ssim(*images, valid=known)}

    return measure


def _tile_similarity(shape: tuple[int, int, int], known: list[Array], tiles: int = TILES) -> More:
    """A function that gives the mean SSIM of images of a shape (h, w, C), which are the last of its values (M, C).

    Args:
        shape: of each.
        known: which pixels of each hold data, (h, w); none where all do.
        tiles: how many there are.
    """

    def measure(prediction: Values, target: Values) -> dict[str, float | None]:
        count = tiles * shape[0] * shape[1]
        pairs = zip(
            *(values[-count:].view(tiles, *shape).numpy() for values in (prediction, target)),
            known or [None] * tiles,
            strict=True,
        )
        found = (ssim(values, wanted, valid=valid) for values, wanted, valid in pairs)
        scores = [score for score in found if score is not None]
        return {"ssim": sum(scores) / len(scores) if scores else None}

    return measure


def _unused_range(image: Image) -> tuple[str, ...]:
    """A note on an image of whole numbers that count by their type's range and fill less than half of it.

    Of one that is not in memory some rows and columns tell.
    """
    dtype = np.dtype(image.dtype)
    top = np.iinfo(dtype).max if dtype.kind == "u" else 0
    if image.value_range != (0.0, float(top)):
        return ()
    if image.in_memory:
        low, high = image.stored_range()
    else:
        seen = image.preview(SEEN)
        low, high = (round(float(end) * top) for end in (np.nanmin(seen), np.nanmax(seen)))
    if not 0 < high - low < top / 2:
        return ()
    gain = 20 * math.log10(top / (high - low))
    about = "" if image.in_memory else "about "
    return (
        f"0 to {top:,} count as 0 to 1, but its values lie between {about}{low:,} and {high:,}: PSNR is {gain:.0f} dB higher than "
        "over that range",
    )


def _clear(values: Array, valid: Array) -> Array:
    """Values (h, w, C) with an opacity of 0, and 0 for all else, where ``valid`` (h, w) is False."""
    if values.shape[-1] in (1, 3):
        values = np.concatenate((values, np.ones_like(values[..., :1])), -1)
    return np.where(valid[..., None], values, np.float32(0))


def _on_grid(
    field: nn.Module, image: Image, device: torch.device, full: bool, report: Report
) -> tuple[Array, Array, Array | None]:
    """Values of the field and of the image, each (h, w, C), and where the latter holds data, (h, w); None is everywhere."""
    rows, columns, channels = image.shape
    reduce = 1.0 if full else min(1.0, REDUCED_SIDE / max(rows, columns))
    height, width = max(1, round(rows * reduce)), max(1, round(columns * reduce))
    values = np.empty((height, width, channels), np.float32)
    target = np.empty_like(values)
    for start, stop, part in rows_of(field, range(height), (height, width), device, BLOCK):
        values[start:stop] = part
        if full:
            target[start:stop] = image.rows(start, stop)
        else:
            coords = grid_coords(centers(height, start, stop), centers(width))
            target[start:stop] = values_at(image, coords, device).numpy().reshape(part.shape)
        report(stop / height)
    if image.valid is None:
        return values, target, None
    if full:
        return values, target, image.valid.numpy()
    across = [(2 * np.arange(n) + 1) * size // (2 * n) for n, size in ((height, rows), (width, columns))]
    return values, target, image.valid[across[0]][:, across[1]].numpy()
