"""Decoded frames: in memory while they are few, else in a temporary file without a name."""

from __future__ import annotations

import io
import shutil
import tempfile
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from softmine.domain import SoftmineError

LOAD_BYTES = 512 * 2**20
"""Frames up to this many bytes in all are kept in memory, more are memory-mapped."""

Frames = UInt8[np.ndarray, "frames height width 3"]
"""RGB frames, shape (F, H, W, 3)."""


class FrameStore:
    """Frames of one size, added one by one, as one array.

    Beyond ``LOAD_BYTES`` they go to a file in the system's folder for temporary files, which has no name where the
    system can do that (elsewhere it goes when it is closed): whatever ends the process, nothing is left behind, and
    nothing is ever written beside the video. A cache between runs would save a second per hundred frames of HD and
    cost a gigabyte of disk for every three of such seconds.

    Args:
        where: how an error begins: ``cannot read film.mp4``.
        shape: (H, W) of the frames.
        expected: how many frames there will be, as far as is known, or 0.

    Raises:
        SoftmineError: what is expected does not fit on the disk.
    """

    def __init__(self, where: str, shape: tuple[int, int], expected: int) -> None:
        self.where, self.shape, self.count = where, shape, 0
        self._file: BinaryIO = io.BytesIO()
        size = expected * shape[0] * shape[1] * 3
        if size > LOAD_BYTES:
            if size > shutil.disk_usage(tempfile.gettempdir()).free:
                raise self._full(size)
            self._file = tempfile.TemporaryFile(prefix="softmine-")  # noqa: SIM115

    def add(self, frame: UInt8[np.ndarray, "height width 3"]) -> None:
        """Takes the next frame.

        Raises:
            SoftmineError: it has another size than the first, or the disk is full.
        """
        if frame.shape[:2] != self.shape:
            (height, width), (h, w) = self.shape, frame.shape[:2]
            raise SoftmineError(
                f"{self.where}: its frames change from {width} x {height} to {w} x {h} pixels at frame {self.count} "
                "(counted from 0); re-encode it at one size"
            )
        try:
            if isinstance(self._file, io.BytesIO) and self._file.tell() + frame.nbytes > LOAD_BYTES:
                self._spill(self._file)
            self._file.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            raise self._full((self.count + 1) * frame.nbytes) from error
        self.count += 1

    def finish(self) -> Frames:
        """All frames, (F, H, W, 3), an ``np.memmap`` where they are in a file; at least one was added."""
        shape = (self.count, *self.shape, 3)
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), np.uint8).reshape(shape)
        with self._file as file:
            # A private map may be written as far as torch knows, which warns of memory that it may not.
            return np.memmap(file, np.uint8, "c", shape=shape)

    def close(self) -> None:
        """Gives memory or disk back."""
        self._file.close()

    def _spill(self, memory: io.BytesIO) -> None:
        """Continues in a file, with what is in memory at its beginning."""
        file = tempfile.TemporaryFile(prefix="softmine-")  # noqa: SIM115
        try:
            file.write(memory.getbuffer())
        except BaseException:
            file.close()
            raise
        self._file = file

    def _full(self, size: int) -> SoftmineError:
        return SoftmineError(
            f"{self.where}: its frames need {size / 1e9:.1f} GB or more in {tempfile.gettempdir()}, which has "
            f"{shutil.disk_usage(tempfile.gettempdir()).free / 1e9:.1f} GB left; make room, name another folder in "
            "TMPDIR, or read fewer or smaller frames"
        )
