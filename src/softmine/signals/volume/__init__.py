"""Volumes as signals, and how their files are read."""

from softmine.signals.volume.signal import Volume

__all__ = ["Volume"]
