"""How a file asks for its frames to be turned and mirrored: a display matrix (ISO/IEC 14496-12, 8.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import av


class Upright:
    """Turns frames as their file asks for.

    Attributes:
        askew: whether it asks for another turn than a quarter, or for a stretch.
        turned: whether some frame was turned or mirrored.
    """

    def __init__(self) -> None:
        self.askew = self.turned = False
        self._rotation: int | None = None
        self._matrix: np.ndarray | None = None

    def __call__(self, frame: av.VideoFrame, pixels: np.ndarray) -> np.ndarray:
        """The pixels (H, W, C) of a frame, upright."""
        # Frames whose side data were looked at are freed late, which costs a seventh of the time. All have the same matrix.
        if frame.rotation != self._rotation:
            self._rotation, self._matrix = frame.rotation, _matrix_of(frame)
            if self._matrix is not None:
                self.askew |= is_askew(self._matrix)
                self.turned |= changes(self._matrix)
        return pixels if self._matrix is None else turn(pixels, self._matrix)


def _matrix_of(frame: av.VideoFrame) -> np.ndarray | None:
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return None
    return np.frombuffer(bytes(found), np.int32).reshape(3, 3)[:2, :2].astype(np.float64)


def turn(frame: np.ndarray, matrix: Float[np.ndarray, "2 2"]) -> np.ndarray:
    """A frame (H, W, C) in the orientation of eight that is nearest to a matrix.

    Args:
        frame: as it is stored.
        matrix: a pixel (x, y), to the right and down, goes to (x, y) @ matrix, but for a shift. All zeros ask for nothing.
    """
    (a, b), (c, d) = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        # Rows become columns.
        frame, a, d = frame.swapaxes(0, 1), c, b
    return frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def is_askew(matrix: Float[np.ndarray, "2 2"]) -> bool:
    """Whether a matrix is none of the eight: it turns by another angle, or stretches."""
    (a, b), (c, d) = np.abs(matrix)
    large, small = ((a, d), (b, c)) if a + d >= b + c else ((b, c), (a, d))
    return bool(max(small) > 1e-3 * max(large) or abs(large[0] - large[1]) > 1e-3 * max(large))


def changes(matrix: Float[np.ndarray, "2 2"]) -> bool:
    """Whether ``turn`` by a matrix does not leave frames as they are."""
    (a, b), (c, d) = matrix
    return bool(abs(b) + abs(c) > abs(a) + abs(d) or a < 0 or d < 0)
