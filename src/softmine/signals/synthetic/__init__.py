"""Signals that need no file: computed, the same every time."""
