"""What is fitted: signals that read files, answer ``signal(coords)`` and know their domain."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from softmine.domain import Box, Coords, Values
from softmine.signals.audio import Audio
from softmine.signals.image import Image
from softmine.signals.shape import Shape
from softmine.signals.video import Video
from softmine.signals.volume import Volume

__all__ = ["Audio", "Image", "Shape", "Signal", "Video", "Volume"]


@runtime_checkable
class Signal(Protocol):
    """What training needs to know of a signal.

    Attributes:
        name: what to call it in reports.
        channels: numbers it has at each coordinate, C.
        domain: where its coordinates live.
        fingerprint: a hash of its content, the same wherever the content is the same.
    """

    name: str
    channels: int
    domain: Box
    fingerprint: str

    def __call__(self, coords: Coords) -> Values:
        """Values (N, C) in [0, 1] at unit coordinates (N, D)."""
        ...
