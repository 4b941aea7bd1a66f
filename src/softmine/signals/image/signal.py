"""Images as signals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import Coords, SoftmineError, Values
from softmine.signals.files import hash_array, hash_file
from softmine.signals.grid import GridSignal, block_ranges, coarse_shape, runs_eagerly, to_numpy
from softmine.signals.image import files
from softmine.signals.image.bilinear import fits_loop, look_up, look_up_in_memory
from softmine.signals.image.maps import Pool, gray, sobel
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import DTYPES, check_layout, value_range
from softmine.signals.memmap import stays_in_file
from softmine.signals.synthetic import fractal
from softmine.signals.synthetic.formulas import find
from softmine.signals.synthetic.fractal import Fractal

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

    Args:
        pixels: the image, shape (H, W) or (H, W, C) with 1 to 4 channels; uint8, uint16, float16,
            float32, float64 or bool.
        name: what to call it in reports.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.
        copy: whether to copy the pixels; if not, they must not be changed afterwards.

    Attributes:
        shape: (H, W, C).
        channels: C.
        domain: ``Box((H, W))``; coordinates are (row, column).
        dtype: name of the stored type, such as ``uint8``.
        value_range: stored values that map to 0 and to 1: the range of an integer type; for floats
            (0, 1) when all values lie in it, else (min, max).
        in_memory: whether the pixels are in memory, or stay in their file, or are computed.

    Raises:
        SoftmineError: the pixels are not an image, or some are NaN or infinite.

    Example:
        >>> image = Image(np.array([[0, 255]], dtype=np.uint8))
        >>> image(torch.tensor([[0.5, 0.25], [0.5, 0.5]]))
        tensor([[0.0000],
                [0.5000]])
    """

    takes: ClassVar[str] = "an image takes float (row, column)"

    def __init__(
        self,
        pixels: np.ndarray | Tensor | MappedImage | Fractal,
        name: str = "image",
        *,
        path: Path | None = None,
        fingerprint: str | None = None,
        copy: bool = True,
    ) -> None:
        where = f"cannot read {path}" if path else f"cannot use the pixels of {name!r}"
        source = pixels if isinstance(pixels, (MappedImage, Fractal)) else None
        if isinstance(pixels, Fractal):
            array, shape, dtype = None, pixels.shape, pixels.dtype
            fingerprint = fingerprint or pixels.fingerprint
        else:
            array = _to_array(pixels, where)
            shape, dtype = check_layout(array.shape, array.dtype, where), array.dtype
            array = array.reshape(shape)
            fingerprint = fingerprint or hash_array(array)
        if source is not None:
            values = source.value_range(where)
        else:
            assert array is not None
            values = value_range(array, where)
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
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, in_memory: bool | None = None) -> Image:
        """Read an image file: PNG, JPEG, WebP, BMP, PPM, TIFF, EXR, NPY and their like.

        The format follows from the content, not by the file's name. Alpha is kept as a channel.

        Args:
            path: the file.
            in_memory: whether to load an uncompressed TIFF or NPY into memory or leave it in its file; by default what
                is larger than ``softmine.signals.memmap.LOAD_BYTES`` stays there.

        Raises:
            SoftmineError: the file is missing, damaged or not one image; the message says which
                file, what is wrong with it and what to do.
        """
        path = Path(path)
        pixels = files.read(path)
        mapped = pixels if isinstance(pixels, MappedImage) else None
        stays = stays_in_file(
            path, mapped and mapped.mapped, in_memory, "an uncompressed TIFF or an NPY file"
        )
        if mapped and not stays:
            pixels = mapped.load()
        return cls(pixels, path.stem, path=path, fingerprint=hash_file(path), copy=False)

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
        if not (coords.requires_grad and torch.is_grad_enabled()):
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
        """Rows [start, stop) as float32 in [0, 1], shape (stop - start, W, C).

        Raises:
            SoftmineError: the rows are not all in the image.
        """
        height = self.shape[0]
        if not 0 <= start <= stop <= height:
            raise SoftmineError(f"rows {start} to {stop} are not all in {self.name!r}, which has {height}")
        if self.in_memory:
            return self._to_unit(self._block((slice(start, stop),)))
        return self._to_unit(self.source.rows(start, stop, self._numpy_work))

    def preview(self, max_side: int) -> Float[np.ndarray, "h w c"]:
        """A small version as float32 in [0, 1], its longer side at most ``max_side`` pixels.

        Averaged when the image is in memory; pixels picked from a grid when it is not.

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
        pool = Pool(height, width, *small, channels)
        for start, stop in block_ranges(self.shape, 0):
            pool.add(start, self.rows(start, stop))
        return pool.total

    def edges(self, max_cells: int = 2**20) -> Float[Tensor, "h w"]:
        """Sobel magnitude of the gray image on at most ``max_cells`` equal cells, on the CPU.

        The operator is that of ``skimage.filters.sobel``: a step from black to white along an axis gives 1 over the
        square root of 2. Transparent pixels count as black. The image is read in blocks of rows, so it takes little
        memory at any size. Of an image that is not in memory and has more than ``EDGE_PIXELS`` pixels, and of a computed
        one with more than ``max_cells``, one pixel a cell is read instead.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        height, width, _ = self.shape
        h, w = coarse_shape((height, width), max_cells)
        most = max_cells if isinstance(self.source, Fractal) else EDGE_PIXELS
        if not self.in_memory and height * width > most:
            return Image(self._sample(h, w)).edges(max_cells)
        pool = Pool(height, width, h, w, 1)
        for start, stop in block_ranges(self.shape, 0):
            above, below = max(0, start - 1), min(height, stop + 1)
            block = gray(self.rows(above, below))
            block = np.pad(block, ((int(above == start), int(below == stop)), (1, 1)), mode="edge")
            pool.add(start, sobel(block)[..., None])
        return torch.from_numpy(pool.total[..., 0])

    def _sample(self, h: int, w: int) -> Float[np.ndarray, "h w c"]:
        """Pixels from an even grid, float32 in [0, 1], where they are not in memory."""
        height, width, _ = self.shape
        rows = (2 * np.arange(h) + 1) * height // (2 * h)
        columns = (2 * np.arange(w) + 1) * width // (2 * w)
        return self._to_unit(self.source.sample(rows, columns, self._numpy_work))


def _to_array(pixels: np.ndarray | Tensor | MappedImage, where: str) -> np.ndarray:
    if isinstance(pixels, MappedImage):
        return pixels.view
    if isinstance(pixels, Tensor):
        return to_numpy(pixels, DTYPES, where)
    return np.asarray(pixels)
