"""What is fitted: signals read files, return values at ``signal(coords)`` and know their domain."""

from __future__ import annotations

from softmine.signals.audio import Audio
from softmine.signals.image import Image
from softmine.signals.protocols import HasEdges, HasSamplerDefaults, Signal
from softmine.signals.shape import Shape
from softmine.signals.video import Video
from softmine.signals.volume import Volume

__all__ = ["Audio", "HasEdges", "HasSamplerDefaults", "Image", "Shape", "Signal", "Video", "Volume"]
