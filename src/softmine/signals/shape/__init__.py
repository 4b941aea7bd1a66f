"""Shapes as signals, and how their files are read."""

from softmine.signals.shape.signal import BAND, Shape

__all__ = ["BAND", "Shape"]
