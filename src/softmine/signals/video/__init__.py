"""Videos as signals, and how their files are read."""

from softmine.signals.video.signal import Video

__all__ = ["Video"]
