"""The one error that people are meant to read."""

from __future__ import annotations


class SoftmineError(ValueError):
    """Something the caller can put right; its message says what is wrong, where, and what to do."""
