"""Pictures as signals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import Box, Cells, Coords, SoftmineError, Values
from softmine.signals.fingerprint import hash_array, hash_file
from softmine.signals.grid import as_they_come, centres, check_coords, gather, shift, to_buffer, to_numpy
from softmine.signals.image import builtin, maps
from softmine.signals.image import files as image_files
from softmine.signals.image.bilinear import fits_loop, look_up, look_up_in_memory
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import DTYPES, check_layout, value_range
from softmine.signals.synthetic.fractal import Fractal

LOAD_BYTES = 512 * 2**20
"""Uncompressed files up to this size are loaded into memory, larger ones are memory-mapped."""
EDGE_PIXELS = 2**28
"""Pictures outside memory with more pixels are not read whole for a map of their edges."""


class Image(torch.nn.Module):
    """A picture that answers at any coordinates, by bilinear look-up.

    Pixels are kept as their file stores them and become floats a batch at a time. Pixels in memory
    are a buffer, so ``.to(device)`` moves them (they are not part of the ``state_dict``); pixels
    that stay in their file, or are computed, are made where a batch needs them and sent to its device.

    Args:
        pixels: the picture, shape (H, W) or (H, W, C) with 1 to 4 channels; uint8, uint16, float16,
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
        value_range: raw values that map to 0 and to 1: the range of an integer type; for floats
            (0, 1) when all values lie in it, else (min, max).
        in_memory: whether the pixels are in memory, or stay in their file, or are computed.

    Raises:
        SoftmineError: the pixels are not a picture, or some are NaN or infinite.

    Example:
        >>> image = Image(np.array([[0, 255]], dtype=np.uint8))
        >>> image(torch.tensor([[0.5, 0.25], [0.5, 0.5]]))
        tensor([[0.0000],
                [0.5000]])
    """

    pixels: Tensor
    size: Tensor

    def __init__(
        self,
        pixels: np.ndarray | Tensor | MappedImage | Fractal,
        name: str = "image",
        *,
        path: Path | None = None,
        fingerprint: str | None = None,
        copy: bool = True,
    ) -> None:
        super().__init__()
        where = f"cannot read {path}" if path else f"cannot use the pixels of {name!r}"
        self.name, self.path = name, path
        self.source = pixels if isinstance(pixels, (MappedImage, Fractal)) else None
        given = pixels if isinstance(pixels, Fractal) else _to_array(pixels, where)
        self.shape = check_layout(given.shape, given.dtype, where)
        self.dtype = given.dtype.name
        array = None if isinstance(given, Fractal) else given.reshape(self.shape)
        self.channels = self.shape[2]
        self.domain = Box(self.shape[:2])
        if fingerprint is None:
            fingerprint = (
                given.fingerprint if isinstance(given, Fractal) else hash_array(given.reshape(self.shape))
            )
        self.fingerprint = fingerprint
        if self.source is not None:
            self.value_range = self.source.value_range(where)
        else:
            assert array is not None
            self.value_range = value_range(array, where)
        low, high = self.value_range
        self._zero, self._span = low, high - low
        # Ranges that float32 cannot divide by, or values finer than it resolves.
        extreme = max(abs(low), self._span, 1 / self._span) > 1e30
        self._work = torch.float64 if extreme or self.dtype == "float64" else torch.float32
        stored = torch.empty(0)
        if self.source is None and array is not None:
            stored = to_buffer(array, copy)
            self._zero -= shift(array.dtype)
        self.register_buffer("pixels", stored, persistent=False)
        self.register_buffer("size", torch.tensor(self.shape[:2]), persistent=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, in_memory: bool | None = None) -> Image:
        """Read a picture file: PNG, JPEG, WebP, BMP, PPM, TIFF, EXR, NPY and their like.

        The format is told by the content, not by the file's name. Alpha is kept as a channel.

        Args:
            path: the file.
            in_memory: whether to load an uncompressed TIFF or NPY into memory or leave it in its
                file; by default what is larger than ``LOAD_BYTES`` stays there.

        Raises:
            SoftmineError: the file is missing, damaged or not one picture; the message says which
                file, what is wrong with it and what to do.
        """
        path = Path(path)
        pixels = image_files.read(path)
        if isinstance(pixels, MappedImage):
            if in_memory is None:
                in_memory = pixels.view.nbytes <= LOAD_BYTES
            pixels = pixels.load() if in_memory else pixels
        elif in_memory is False:
            raise SoftmineError(
                f"cannot read {path} from where it lies: only an uncompressed TIFF or an NPY file "
                "can be memory-mapped; leave in_memory out"
            )
        return cls(pixels, path.stem, path=path, fingerprint=hash_file(path), copy=False)

    @classmethod
    def builtin(cls, name: str = "astronaut") -> Image:
        """A picture by name (see ``softmine.signals.image.builtin``): one of scikit-image's, or ``fractal-WIDTHxHEIGHT``.

        The fractal is computed where it is asked, so that it may be larger than memory.

        Raises:
            SoftmineError: there is none of that name.
        """
        return cls(builtin.load(name), name)

    @property
    def in_memory(self) -> bool:
        """Whether the pixels are in memory, or stay in their file, or are computed."""
        return self.source is None

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.shape}, dtype={self.dtype}, in_memory={self.in_memory}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at unit coordinates (N, 2), in [0, 1] and in the dtype of ``coords``.

        Pixel (i, j) has its centre at ((i + 0.5)/H, (j + 0.5)/W); values are linear between
        centres, constant beyond the outermost ones, and differentiable with respect to ``coords``.
        NaN coordinates give NaN.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, 2).
        """
        check_coords(coords, 2, "a picture is asked at float (row, column)")
        work = torch.promote_types(coords.dtype, self._work)
        follow = coords.requires_grad and torch.is_grad_enabled()
        if follow and self.source is None and fits_loop(coords, self.pixels):
            raw = (self.shape[:2], self.pixels, self._zero, self._span)
            return look_up_in_memory(coords, *raw, work).to(coords.dtype)
        size = self.size.to(coords.device)
        cells = None
        here = self.source is not None or coords.device.type == "cpu"
        if here and not follow and as_they_come(coords):
            # A quarter of the look-ups, each of which may read a file or compute a pixel; on a GPU it would wait.
            position = (coords.to(work) * size - 0.5).clamp(min=0).minimum(size - 1)
            cells = centres(position, size, coords.dtype)
        if cells is not None:
            values = self._gather(cells, work)
        else:
            values = look_up(coords, size, lambda cells: self._gather(cells, work), work)
        return ((values - self._zero) / self._span).to(coords.dtype)

    def _gather(self, cells: Cells, work: torch.dtype) -> Values:
        if self.source is not None:
            values = self.source.gather(cells.numpy(force=True), self._numpy_work)
            return torch.from_numpy(values).to(cells.device, work)
        return gather(self.pixels, cells, work)

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "rows width channels"]:
        """Rows [start, stop) as float32 in [0, 1], shape (stop - start, W, C).

        Raises:
            SoftmineError: the rows are not all in the picture.
        """
        height, width, _ = self.shape
        if not 0 <= start <= stop <= height:
            raise SoftmineError(f"rows {start} to {stop} are not all in {self.name!r}, which has {height}")
        if self.source is not None:
            return self._to_unit(self.source.rows(start, stop, self._numpy_work))
        block = self.pixels[start * width : stop * width].numpy(force=True)
        return self._to_unit(block.astype(self._numpy_work).reshape(-1, width, self.channels))

    def preview(self, max_side: int) -> Float[np.ndarray, "h w c"]:
        """A small version as float32 in [0, 1], its longer side at most ``max_side`` pixels.

        Averaged when the picture is in memory; pixels picked from a grid when it is not.

        Raises:
            SoftmineError: ``max_side`` is below 1.
        """
        if self.source is None:
            return maps.preview(self, max_side)
        return self._sample(*maps.preview_shape(*self.shape[:2], max_side))

    def _sample(self, h: int, w: int) -> Float[np.ndarray, "h w c"]:
        """Pixels from an even grid, float32 in [0, 1], where they are not in memory."""
        assert self.source is not None
        height, width, _ = self.shape
        rows = (2 * np.arange(h) + 1) * height // (2 * h)
        columns = (2 * np.arange(w) + 1) * width // (2 * w)
        return self._to_unit(self.source.sample(rows, columns, self._numpy_work))

    def edges(self, max_cells: int = 2**20) -> Float[Tensor, "h w"]:
        """Sobel magnitude of the grey picture on at most ``max_cells`` equal cells, on the CPU.

        Read in blocks of rows, so it takes little memory at any size. Of a picture that is not in memory and has more
        than ``EDGE_PIXELS`` pixels, and of a computed one with more than ``max_cells``, one pixel a cell is read instead.
        Transparent pixels count as black.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        most = max_cells if isinstance(self.source, Fractal) else EDGE_PIXELS
        if self.source is None or self.domain.cells <= most or max_cells < 1:
            return maps.edges(self, max_cells)
        return maps.edges(Image(self._sample(*maps.edges_shape(self.domain.shape, max_cells))), max_cells)

    def to_raw(self, values: Float[np.ndarray, ...]) -> np.ndarray:
        """Values in [0, 1], any shape, as the picture's file would store them.

        Integers and booleans are rounded, and clipped to their type's range; NaN becomes 0.
        Floats are clipped to what their type holds.
        """
        dtype = np.dtype(self.dtype)
        low, high = self.value_range
        raw = values.astype(self._numpy_work) * (high - low) + low
        if dtype.kind == "f":
            limit = np.finfo(dtype).max
            return np.clip(raw, -limit, limit).astype(dtype)
        return np.rint(np.clip(np.nan_to_num(raw), low, high)).astype(dtype)

    @property
    def _numpy_work(self) -> np.dtype:
        return np.dtype(np.float64 if self._work == torch.float64 else np.float32)

    def _to_unit(self, raw: np.ndarray) -> np.ndarray:
        raw -= self._zero
        raw /= self._span
        return raw.astype(np.float32, copy=False)


def _to_array(pixels: np.ndarray | Tensor | MappedImage, where: str) -> np.ndarray:
    if isinstance(pixels, MappedImage):
        return pixels.view
    if isinstance(pixels, Tensor):
        return to_numpy(pixels, DTYPES, where)
    return np.asarray(pixels)
