"""Videos as signals."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from softmine.domain import SoftmineError
from softmine.signals.files import hash_array, hash_file
from softmine.signals.grid import GridSignal, coarse_shape
from softmine.signals.image.maps import Pool, gray, sobel
from softmine.signals.memmap import advise
from softmine.signals.synthetic.formulas import find, moving_discs
from softmine.signals.video import files as video_files


class Video(GridSignal):
    """A video, linear between its pixels in time, row and column. Time is counted in frames.

    Args:
        frames: shape (F, H, W, 3), uint8; not to be changed afterwards. An ``np.memmap`` stays where it is.
        name: what to call it in reports.
        rate: frames a second, for films that are written.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.
        notes: what reading it left out or assumed, a line each.

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

    takes: ClassVar[str] = "a video takes float (time, row, column)"

    def __init__(
        self,
        frames: np.ndarray,
        name: str = "video",
        *,
        rate: Fraction = video_files.FALLBACK_RATE,
        path: Path | None = None,
        fingerprint: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise SoftmineError(
                f"cannot use the frames of {name!r}: they are {frames.dtype} of shape {frames.shape}, but a video is "
                "uint8 of shape (frames, height, width, 3)"
            )
        mapped = isinstance(frames, np.memmap)
        super().__init__(
            name,
            frames.shape,
            frames.dtype,
            (0.0, 255.0),
            path=path,
            fingerprint=fingerprint or hash_array(frames),
            stored=None if mapped else frames,
            copy=False,
            source=np.asarray(frames) if mapped else None,
        )
        self.rate, self.notes = rate, list(notes)
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

        All frames are decoded at once, into memory up to ``store.LOAD_BYTES``, else into a memory-mapped
        temporary file.

        Args:
            path: the file.
            downscale: width and height are divided by this; pixels are averaged.
            frames: first frame, and the one after the last, or None for all that follow.
            report: receives the share that is decoded, 0 to 1.

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
            notes=decoded.notes,
        )

    @classmethod
    def builtin(cls, name: str = "discs") -> Video:
        """A clip of textured discs that move before a gradient: 32 frames of 160 x 120, always the same.

        Raises:
            SoftmineError: there is none of that name.
        """
        return cls(find("video", name, {"discs": moving_discs})(), name)

    def frame(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """One frame as it is stored, (H, W, 3), uint8, on the CPU; not to be changed."""
        return self.stored.view(self.shape)[index].numpy(force=True) if self.in_memory else self.source[index]

    def release(self) -> None:
        """Gives memory of a map that was read through back to the system."""
        if not self.in_memory:
            advise(self.source, "MADV_DONTNEED")

    def edges(self, max_cells: int = 2**20) -> Float[Tensor, "frames h w"]:
        """Magnitude of the gray video's gradient in space and time, on at most ``max_cells`` equal cells, on the CPU.

        In space it is Sobel's, averaged over a cell's rows and columns (see ``Image.edges``); in time the difference
        of the two neighboring frames, in the same units: a cut from black to white gives 1 over the square root of
        2, as a step in space does. Of the frames in a cell only the middle one is looked at, so it takes three frames
        of memory, and time for as many frames as there are cells along the first axis.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        if max_cells not in self._edges:
            self._edges[max_cells] = self._find_edges(max_cells)
        return self._edges[max_cells]

    def _find_edges(self, max_cells: int) -> Float[Tensor, "frames h w"]:
        count, height, width, _ = self.shape
        cells, h, w = coarse_shape(self.shape[:3], max_cells)
        result = np.empty((cells, h, w), np.float32)
        for cell in range(cells):
            middle = (2 * cell + 1) * count // (2 * cells)
            before, now, after = (
                gray(self.frame(index).astype(np.float32) / np.float32(255))
                for index in (max(middle - 1, 0), middle, min(middle + 1, count - 1))
            )
            space = sobel(np.pad(now, 1, mode="edge"))
            magnitude = np.sqrt(np.square(space) + np.square(after - before) / 2)
            pool = Pool(height, width, h, w, 1)
            pool.add(0, magnitude[..., None])
            result[cell] = pool.total[..., 0]
            self.release()
        return torch.from_numpy(result)

    def _read(self, cells: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return self.source.reshape(-1, 3)[cells].astype(dtype)
