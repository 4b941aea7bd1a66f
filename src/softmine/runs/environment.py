"""Versions that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Versions of softmine, torch, numpy and Python."""
    packages = {name: metadata.version(name) for name in ("softmine", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}
