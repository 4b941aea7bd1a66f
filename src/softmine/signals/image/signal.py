"""Images as signals."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import Coords, SoftmineError, Values
from softmine.signals.files import hash_array, hash_file
from softmine.signals.grid import (
    GridSignal,
    Number,
    Survey,
    as_stored,
    block_ranges,
    coarse_shape,
    declare_nodata,
    range_text,
    runs_eagerly,
    to_numpy,
    unstored_note,
)
from softmine.signals.image import files
from softmine.signals.image.bilinear import fits_loop, look_up, look_up_in_memory
from softmine.signals.image.data import ImageData
from softmine.signals.image.maps import Pool, fill_gaps, gray, sobel
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import DTYPES, check_layout, survey_pixels
from softmine.signals.memmap import stays_in_file
from softmine.signals.synthetic import fractal
from softmine.signals.synthetic.formulas import find
from softmine.signals.synthetic.fractal import Fractal

_ROUNDING = 1e-5
EDGE_PIXELS = 2**28
"""Images outside memory with more pixels are not read whole for a map of their edges."""
PHOTOS = {
    **{name: name for name in ("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass")},
    **{name: name for name in ("gravel", "moon", "page", "retina", "rocket", "text")},
    "hubble": "hubble_deep_field",
}
"""Images that scikit-image carries in its wheel: our names, and theirs in ``skimage.data``."""


class Image(GridSignal):
    """An image, linear between its pixels (bilinear look-up).

    Where there is no data (NaN, or the value that the file declares for it, in any channel, of unsigned integers in all; what a mask in the file, or a
    masked array, leaves out), the domain is masked, as of a ``Volume``: such pixels are never trained on or measured. The
    weights of the other pixels around a coordinate are scaled to a sum of 1; where none of those with a weight holds data, the
    value is 0.

    Args:
        pixels: the image, shape (H, W) or (H, W, C) with 1 to 4 channels; integers, floats or bool.
        name: what to call it in reports.
        nodata: a stored value that means "no data", beside NaN.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.
        copy: whether to copy the pixels; if not, they must not be changed afterwards.

    Attributes:
        shape: (H, W, C).
        channels: C.
        domain: ``Box((H, W))``, masked where there is no data; coordinates are (row, column).
        valid: which pixels hold data, bool (H, W); None where all do.
        dtype: name of the stored type, such as ``uint8``.
        value_range: stored values that map to 0 and to 1: the type's range for uint8, and for uint16 unless a value of it means
            "no data"; for floats (0, 1) when all values lie in it; for all else (min, max).
        in_memory: whether the pixels are in memory, or stay in their file, or are computed.
        notes: what was chosen, converted or left out when the file was read, one sentence each.
        read_notes: those of the reader alone.
        icc_profile: of its colors, where the file has one.
        layout: how tifffile is to write such pixels.
        tags: what a TIFF of its pixels says besides, as its file did.

    Raises:
        SoftmineError: the pixels are not an image, some are infinite, or none holds data.

    Example:
        >>> image = Image(np.array([[0, 255]], dtype=np.uint8))
        >>> image(torch.tensor([[0.5, 0.25], [0.5, 0.5]]))
        tensor([[0.0000],
                [0.5000]])
    """

    takes: ClassVar[str] = "an image takes float (row, column)"

    def __init__(
        self,
        pixels: np.ndarray | Tensor | MappedImage | Fractal | ImageData,
        name: str = "image",
        *,
        nodata: Number | None = None,
        path: Path | None = None,
        fingerprint: str | None = None,
        copy: bool = True,
    ) -> None:
        where = f"cannot read {path}" if path else f"cannot use the pixels of {name!r}"
        if isinstance(pixels, Fractal):
            data, source, array, shape, dtype = (
                ImageData(np.empty(0)),
                pixels,
                None,
                pixels.shape,
                pixels.dtype,
            )
            found, fingerprint = Survey(0.0, 255.0), fingerprint or pixels.fingerprint
        else:
            data = pixels if isinstance(pixels, ImageData) else _to_data(pixels, nodata, where)
            source = data.pixels if isinstance(data.pixels, MappedImage) else None
            array = data.pixels.view if isinstance(data.pixels, MappedImage) else data.pixels
            shape, dtype = check_layout(array.shape, array.dtype, where), array.dtype
            array = array.reshape(shape)
            nodata = as_stored(data.nodata, dtype)
            look = source.survey if source else partial(survey_pixels, array)
            found = look(where, nodata, data.mask)
            fingerprint = fingerprint or hash_array(array)
        values = (found.low, found.high)
        super().__init__(
            name,
            shape,
            dtype,
            values,
            path=path,
            fingerprint=fingerprint,
            stored=array if source is None else None,
            copy=copy,
            source=source,
            mask=found.valid,
            nodata=nodata,
            notes=(*data.notes, *unstored_note(data.nodata, nodata, dtype), *found.notes),
        )
        if not (dtype.kind == "b" or values == (0.0, 1.0) or values == (0.0, float(_top(dtype)))):
            self.notes.append(f"values from {range_text(*values)} count as 0 to 1")
        self.read_notes, self.icc_profile, self.tags = data.notes, data.icc_profile, data.tags
        self.layout = data.layout or _usual_layout(shape[2])

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, in_memory: bool | None = None, nodata: Number | None = None
    ) -> Image:
        """Read an image file: PNG, JPEG, WebP, BMP, PPM, TIFF, EXR, NPY and their like.

        The format follows from the content, not by the file's name. Alpha is kept as a channel.

        Args:
            path: the file.
            in_memory: whether to load an uncompressed TIFF or NPY into memory or leave it in its file; by default what
                is larger than ``softmine.signals.memmap.LOAD_BYTES`` stays there.
            nodata: a stored value that means "no data", instead of the one that the file declares.

        Raises:
            SoftmineError: the file is missing, damaged or not one image; the message says which
                file, what is wrong with it and what to do.
        """
        path = Path(path)
        data = files.read_data(path)
        mapped = data.pixels if isinstance(data.pixels, MappedImage) else None
        stays = stays_in_file(
            path, mapped and mapped.mapped, in_memory, "an uncompressed TIFF or an NPY file"
        )
        if mapped and not stays:
            data = replace(data, pixels=mapped.load())
        array = data.pixels.view if isinstance(data.pixels, MappedImage) else data.pixels
        data = declare_nodata(data, nodata, array.dtype)
        return cls(data, path.stem, path=path, fingerprint=hash_file(path), copy=False)

    @classmethod
    def builtin(cls, name: str = "astronaut") -> Image:
        """An image that needs no file and no network: one of ``PHOTOS``, or ``fractal-WIDTHxHEIGHT``.

        The fractal is computed where it is evaluated, so that it may be larger than memory.

        Raises:
            SoftmineError: there is none of that name, or not of that size.
        """
        computed = Fractal.named(name)
        if computed is not None:
            return cls(computed, name)
        theirs = find("image", name, PHOTOS | {fractal.NAME: ""})
        import skimage.data

        return cls(getattr(skimage.data, theirs)(), name)

    def _look_up(self, coords: Coords, work: torch.dtype) -> Values:
        if self.valid is not None or not (coords.requires_grad and torch.is_grad_enabled()):
            return super()._look_up(coords, work)
        zero = self._zero
        if self.in_memory and fits_loop(coords, self.stored):
            height, width, _ = self.shape
            zero -= self._shift
            return look_up_in_memory(coords, (height, width), self.stored, zero, self._span, work)
        if torch.compiler.is_compiling() or runs_eagerly(coords):
            size = self.size.to(coords.device)
            return (look_up(coords, size, lambda cells: self._gather(cells, work), work) - zero) / self._span
        return super()._look_up(coords, work)

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "rows width channels"]:
        """Rows [start, stop) as float32 in [0, 1], shape (stop - start, W, C); NaN where there is no data.

        Raises:
            SoftmineError: the rows are not all in the image.
        """
        height = self.shape[0]
        if not 0 <= start <= stop <= height:
            raise SoftmineError(f"rows {start} to {stop} are not all in {self.name!r}, which has {height}")
        if self.in_memory:
            block = self._to_unit(self._block((slice(start, stop),)))
        else:
            block = self._to_unit(self.source.rows(start, stop, self._numpy_work))
        if self.valid is not None:
            block[~self.valid[start:stop].numpy()] = np.nan
        return block

    def preview(self, max_side: int) -> Float[np.ndarray, "h w c"]:
        """A small version as float32 in [0, 1], its longer side at most ``max_side`` pixels.

        Averaged when the image is in memory, over what holds data; pixels picked from a grid when it is not. NaN where there is
        no data.

        Raises:
            SoftmineError: ``max_side`` is below 1.
        """
        if max_side < 1:
            raise SoftmineError(f"a preview needs max_side of at least 1, not {max_side}")
        height, width, channels = self.shape
        scale = min(1.0, max_side / max(height, width))
        small = max(1, round(height * scale)), max(1, round(width * scale))
        if not self.in_memory:
            return self._sample(*small)
        if scale == 1.0:
            return self.rows(0, height)
        pool, known = Pool(height, width, *small, channels), Pool(height, width, *small, 1)
        for start, stop in block_ranges(self.shape, 0):
            rows = self.rows(start, stop)
            if self.valid is not None:
                known.add(start, self.valid[start:stop, :, None].numpy().astype(np.float32))
                rows = np.nan_to_num(rows, copy=False)
            pool.add(start, rows)
        if self.valid is None:
            return pool.total
        # Shares below are rounding.
        return np.where(known.total > _ROUNDING, pool.total / known.total.clip(_ROUNDING), np.float32(np.nan))

    def edges(self, max_cells: int = 2**20) -> Float[Tensor, "h w"]:
        """Sobel magnitude of the gray image on at most ``max_cells`` equal cells, on the CPU.

        The operator is that of ``skimage.filters.sobel``: a step from black to white along an axis gives 1 over the
        square root of 2. Transparent pixels count as black; where there is no data there are no edges, nor beside it. The image is read in blocks of rows, so it takes little
        memory at any size. Of an image that is not in memory and has more than ``EDGE_PIXELS`` pixels, and of a computed
        one with more than ``max_cells``, one pixel a cell is read instead.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        height, width, _ = self.shape
        h, w = coarse_shape((height, width), max_cells)
        most = max_cells if isinstance(self.source, Fractal) else EDGE_PIXELS
        if not self.in_memory and height * width > most:
            sample = self._sample(h, w)
            return torch.zeros(h, w) if np.isnan(sample).any(-1).all() else Image(sample).edges(max_cells)
        pool = Pool(height, width, h, w, 1)
        for start, stop in block_ranges(self.shape, 0):
            above, below = max(0, start - 1), min(height, stop + 1)
            block = gray(self.rows(above, below))
            block = np.pad(block, ((int(above == start), int(below == stop)), (1, 1)), mode="edge")
            if self.valid is None:
                pool.add(start, sobel(block)[..., None])
                continue
            magnitude = sobel(fill_gaps(block))
            pool.add(start, np.where(self.valid[start:stop].numpy(), magnitude, 0)[..., None])
        return torch.from_numpy(pool.total[..., 0])

    def _sample(self, h: int, w: int) -> Float[np.ndarray, "h w c"]:
        """Pixels from an even grid, float32 in [0, 1], where they are not in memory; NaN where there is no data."""
        height, width, _ = self.shape
        rows = (2 * np.arange(h) + 1) * height // (2 * h)
        columns = (2 * np.arange(w) + 1) * width // (2 * w)
        sample = self._to_unit(self.source.sample(rows, columns, self._numpy_work))
        if self.valid is not None:
            sample[~self.valid[rows][:, columns].numpy()] = np.nan
        return sample


def _to_data(pixels: np.ndarray | Tensor | MappedImage, nodata: Number | None, where: str) -> ImageData:
    """Pixels as a reader hands them over; where a masked array is masked, there is no data."""
    if isinstance(pixels, MappedImage):
        return ImageData(pixels, nodata)
    if isinstance(pixels, Tensor):
        return ImageData(to_numpy(pixels, DTYPES, where), nodata)
    mask = None
    if isinstance(pixels, np.ma.MaskedArray):
        mask = np.logical_not(np.ma.getmaskarray(pixels))
        mask = np.asarray(mask.all(-1)) if mask.ndim == 3 else mask
    return ImageData(np.asarray(pixels), nodata, mask)


def _top(dtype: np.dtype) -> int:
    return np.iinfo(dtype).max if dtype.kind in "iu" else 1


def _usual_layout(channels: int) -> dict[str, Any]:
    """How tifffile is to store an image of 1 to 4 channels, the last of 2 and of 4 being opacity."""
    return {
        "photometric": "rgb" if channels >= 3 else "minisblack",
        "extrasamples": ["unassalpha"] if channels in (2, 4) else None,
        "planarconfig": "contig" if channels > 1 else None,
    }
