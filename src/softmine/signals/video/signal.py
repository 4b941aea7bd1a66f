"""Videos as signals."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from softmine.domain import Box, Cells, Coords, SoftmineError, Values
from softmine.signals.fingerprint import hash_array, hash_file
from softmine.signals.grid import centres, check_coords, corners, gather
from softmine.signals.image import maps
from softmine.signals.memmap import advise
from softmine.signals.synthetic.discs import moving_discs
from softmine.signals.synthetic.names import find
from softmine.signals.video import files as video_files


class Video(torch.nn.Module):
    """A video that answers at any coordinates, by trilinear look-up.

    Frames are kept as 8-bit RGB and become floats a batch at a time. Frames in memory are a buffer, so
    ``.to(device)`` moves them (they are not part of the ``state_dict``); frames in a memory map are read where a
    batch needs them and sent to its device. Time is counted in frames, whatever the time between them.

    Args:
        frames: shape (F, H, W, 3), uint8; not to be changed afterwards. An ``np.memmap`` that may be written (mode ``c``)
            stays where it is.
        name: what to call it in reports.
        rate: frames a second, for films that are written.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.

    Attributes:
        shape: (F, H, W, 3).
        channels: 3.
        domain: ``Box((F, H, W))``; coordinates are (time, row, column).

    Raises:
        SoftmineError: the frames are not uint8 of shape (F, H, W, 3), or there are none.

    Example:
        >>> video = Video(np.array([[[[0, 0, 0]]], [[[255, 255, 0]]]], dtype=np.uint8))
        >>> video(torch.tensor([[0.25, 0.5, 0.5], [0.5, 0.5, 0.5]]))
        tensor([[0.0000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000]])
    """

    pixels: Tensor
    size: Tensor

    def __init__(
        self,
        frames: np.ndarray,
        name: str = "video",
        *,
        rate: Fraction = video_files.FALLBACK_RATE,
        path: Path | None = None,
        fingerprint: str | None = None,
    ) -> None:
        super().__init__()
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise SoftmineError(
                f"cannot use the frames of {name!r}: they are {frames.dtype} of shape {frames.shape}, but a video is "
                "uint8 of shape (frames, height, width, 3)"
            )
        self.name, self.path, self.rate = name, path, rate
        count, height, width, _ = frames.shape
        self.shape = (count, height, width, 3)
        self.channels = 3
        self.domain = Box((count, height, width))
        self.fingerprint = fingerprint or hash_array(frames)
        if not frames.flags.writeable or not frames.flags.c_contiguous:
            frames = np.array(frames, order="C")  # torch warns of memory it may not write
        flat = torch.from_numpy(frames).view(-1, 3)
        # Buffers move to the device of the field, for which frames in a map are too many.
        self._mapped = frames if isinstance(frames, np.memmap) else None
        self._outside = flat if self._mapped is not None else None
        stored = flat if self._mapped is None else torch.empty(0)
        self.register_buffer("pixels", stored, persistent=False)
        self.register_buffer("size", torch.tensor(self.shape[:3]), persistent=False)
        self._edges: dict[int, Tensor] = {}

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        downscale: int = 1,
        frames: tuple[int, int | None] | None = None,
        *,
        report: Callable[[float], None] = lambda share: None,
    ) -> Video:
        """Read a video file: MP4, MOV, MKV, WebM, AVI, GIF and what else PyAV reads (``softmine[video]``).

        All frames are decoded at once, into memory up to ``video_store.LOAD_BYTES``, else into a memory-mapped
        temporary file.

        Args:
            path: the file.
            downscale: width and height are divided by this; pixels are averaged.
            frames: first frame, and the one after the last, or None for all that follow.
            report: is told the share that is decoded, 0 to 1.

        Raises:
            SoftmineError: the file is missing, damaged or no video, or PyAV is; the message says which file, what is
                wrong and what to do.
        """
        path = Path(path)
        decoded = video_files.read(path, downscale=downscale, frames=frames or (0, None), report=report)
        fingerprint = hash_file(path)
        if downscale != 1 or frames:
            fingerprint = hashlib.sha256(f"{fingerprint} {downscale} {frames}".encode()).hexdigest()
        return cls(
            decoded.frames,
            path.stem,
            rate=decoded.rate,
            path=path,
            fingerprint=fingerprint,
        )

    @classmethod
    def builtin(cls, name: str = "discs") -> Video:
        """A clip of textured discs that move before a gradient: 32 frames of 160 x 120, always the same.

        Raises:
            SoftmineError: there is none of that name.
        """
        return cls(find("video", name, {"discs": moving_discs})(), name)

    @property
    def in_memory(self) -> bool:
        """Whether the frames are in memory, or in a memory-mapped temporary file."""
        return self._mapped is None

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.shape}, in_memory={self.in_memory}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, 3) at unit coordinates (N, 3), in [0, 1] and in the dtype of ``coords``.

        Pixel (k, i, j) has its centre at ((k + 0.5)/F, (i + 0.5)/H, (j + 0.5)/W); values are linear between centres,
        in time too, constant beyond the outermost ones, and differentiable with respect to ``coords``. NaN
        coordinates give NaN.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, 3).
        """
        check_coords(coords, 3, "a video is asked at float (time, row, column)")
        points = coords if self.in_memory else coords.cpu()
        points = points.to(torch.promote_types(coords.dtype, torch.float32))
        size = self.size.to(points.device)
        position = (points * size - 0.5).clamp(min=0).minimum(size - 1)
        # That is a sixth of the time. A GPU would have to be waited for, and is fast enough without.
        cells = centres(position, size) if position.device.type == "cpu" else None
        values = self._between(position, size) if cells is None else self._gather(cells, position.dtype)
        return (values / 255).to(coords.device, coords.dtype)

    def frame(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """One frame as it is stored, (H, W, 3), uint8, on the CPU; not to be changed."""
        _, height, width, _ = self.shape
        pixels = self.pixels if self._outside is None else self._outside
        return pixels.view(-1, height, width, 3)[index].numpy(force=True)

    def release(self) -> None:
        """Gives memory of a map that was read through back to the system."""
        if self._mapped is not None:
            advise(self._mapped, "MADV_DONTNEED")

    def edges(self, max_cells: int = 2**20) -> Float[Tensor, "frames h w"]:
        """Magnitude of the grey video's gradient in space and time, on at most ``max_cells`` equal cells, on the CPU.

        In space it is Sobel's, averaged over a cell's rows and columns (see ``Image.edges``); in time the difference
        of the two neighbouring frames, in the same units: a cut from black to white gives 1 over the square root of
        2, as a step in space does. Of the frames in a cell only the middle one is looked at, so it takes three frames
        of memory, and time for as many frames as there are cells along the first axis.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        if max_cells < 1:
            raise SoftmineError(f"an edge map needs max_cells of at least 1, not {max_cells}")
        if max_cells not in self._edges:
            self._edges[max_cells] = self._find_edges(max_cells)
        return self._edges[max_cells]

    def _find_edges(self, max_cells: int) -> Float[Tensor, "frames h w"]:
        count, height, width, _ = self.shape
        cells, h, w = _coarse_shape(self.shape[:3], max_cells)
        result = np.empty((cells, h, w), np.float32)
        for cell in range(cells):
            middle = (2 * cell + 1) * count // (2 * cells)
            before, now, after = (
                maps.grey(self.frame(index).astype(np.float32) / np.float32(255))
                for index in (max(middle - 1, 0), middle, min(middle + 1, count - 1))
            )
            space = maps.sobel(np.pad(now, 1, mode="edge"))
            magnitude = np.sqrt(np.square(space) + np.square(after - before) / 2)
            pool = maps.Pool(height, width, h, w, 1)
            pool.add(0, magnitude[..., None])
            result[cell] = pool.total[..., 0]
            self.release()
        return torch.from_numpy(result)

    def _between(self, position: Coords, size: Tensor) -> Values:
        """Linear between the eight centres around each position (N, 3), in pixels."""
        cells, fraction = corners(position, size)
        values = self._gather(cells.view(-1), position.dtype).view(*cells.shape, 3)
        in_time, down, across = fraction.unbind(1)
        values = torch.lerp(values[..., 0, :, :], values[..., 1, :, :], across)
        values = torch.lerp(values[:, 0], values[:, 1], down)
        return torch.lerp(values[0], values[1], in_time)

    def _gather(self, cells: Cells, work: torch.dtype) -> Values:
        return gather(self.pixels if self._outside is None else self._outside, cells, work)


def _coarse_shape(shape: tuple[int, int, int], max_cells: int) -> tuple[int, ...]:
    """As many cells as ``max_cells`` allows, with the aspect of ``shape`` where no axis is too short for that."""
    coarse, room = list(shape), max_cells
    order = sorted(range(3), key=lambda axis: shape[axis])
    for done, axis in enumerate(order):
        rest = math.prod(shape[other] for other in order[done:])
        share = min(1.0, (room / rest) ** (1 / (3 - done)))
        # A hair more, because the root of a cube may come out just below it.
        coarse[axis] = min(max(1, math.floor(shape[axis] * share + 1e-9)), room)
        room //= coarse[axis]
    return tuple(coarse)
