"""Audio clips as signals, and how their files are read."""

from softmine.signals.audio.signal import Audio

__all__ = ["Audio"]
