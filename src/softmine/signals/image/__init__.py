"""Images as signals, and how their files are read."""

from softmine.signals.image.signal import Image

__all__ = ["Image"]
