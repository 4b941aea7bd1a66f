"""Where results go when nobody says."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path


def default_folder(*words: str) -> Path:
    """A folder under ``runs/`` that does not exist yet, named by ``words`` and the time."""
    # Names of files can be long, and more is added to them here.
    name = "-".join([*(word[:60] for word in words), datetime.now().strftime("%Y%m%d-%H%M%S")])
    folder, count = Path("runs") / name, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{name}-{count}"
    return folder
