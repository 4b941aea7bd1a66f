"""The run folder: what a run writes, and where.

``config.json`` (settings, versions, seed, device, data fingerprint), ``status.json``, ``metrics.jsonl`` (a line an
evaluation), ``checkpoints/step-*.safetensors``, ``images/`` and ``report.html``. Every file appears whole or not at
all, so a run that is killed at any moment can be resumed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from softmine.domain import SoftmineError
from softmine.training.files import remove_leftovers, write_json, write_json_lines

KEPT_CHECKPOINTS = 2


class RunFolder:
    """A run's folder on disk.

    Use ``create`` for a new run and ``open`` for one that exists.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config
        self.metrics: list[dict[str, Any]] = []

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        """Makes the folder, with its ``config.json`` in it from the first moment it exists.

        Raises:
            SoftmineError: it exists and is not empty, or it cannot be written.
        """
        check_free(path)
        starting = path.with_name(f".{path.name}.starting-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            starting.mkdir()
            (starting / "checkpoints").mkdir()
            (starting / "images").mkdir()
            write_json(starting / "config.json", config)
            starting.replace(path)
        except OSError as error:
            shutil.rmtree(starting, ignore_errors=True)
            raise SoftmineError(f"cannot write the run folder {path}: {error.strerror}") from error
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Opens a run's folder and clears what a killed process left behind.

        Raises:
            SoftmineError: there is no run in the folder, or its ``config.json`` is damaged.
        """
        file = path / "config.json"
        if not path.exists():
            raise SoftmineError(f"there is no run at {path}: the folder does not exist")
        if not file.is_file():
            raise SoftmineError(f"{path} is no run folder: it holds no config.json")
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            config = None
        if not isinstance(config, dict) or config.get("schema") != 1 or "settings" not in config:
            raise SoftmineError(f"{file} is not the config.json of a softmine run: it cannot be resumed")
        return cls(path, config)

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of ``step`` belongs."""
        return self.path / "checkpoints" / f"step-{step:08d}.safetensors"

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def drop_old_checkpoints(self) -> None:
        """Keeps the newest two."""
        for old in self.checkpoints[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)

    def image(self, name: str) -> Path:
        """Path of a picture in the run folder."""
        return self.path / "images" / name

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Adds one evaluation to ``metrics.jsonl``."""
        self.metrics.append(line)
        write_json_lines(self.path / "metrics.jsonl", self.metrics)

    def rewind(self, step: int) -> None:
        """Readies the folder for going on from ``step``: later evaluations and leftovers go."""
        for folder in ("checkpoints", "images"):
            (self.path / folder).mkdir(exist_ok=True)
        remove_leftovers(self.path)
        file = self.path / "metrics.jsonl"
        self.metrics = []
        if file.exists():
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            self.metrics = [line for line in lines if line["step"] <= step]
            write_json_lines(file, self.metrics)

    def set_config(self, config: dict[str, Any]) -> None:
        """Replaces ``config.json``."""
        self.config = config
        write_json(self.path / "config.json", config)

    def set_status(
        self, state: str, step: int, seconds: float, message: str = "", **more: float | None
    ) -> None:
        """Replaces ``status.json``; ``state`` is running, finished, interrupted or stopped-nan."""
        status = {"state": state, "step": step, "seconds": round(seconds, 3), "message": message}
        write_json(self.path / "status.json", {**status, **more})


def check_free(path: Path) -> None:
    """Raises SoftmineError unless ``path`` can become a new folder: absent or empty, under a writable parent."""
    if path.is_dir():
        if any(path.iterdir()):
            raise SoftmineError(
                f"the folder {path} exists and is not empty: choose another --out, or continue with --resume {path}"
            )
    elif path.exists():
        raise SoftmineError(f"cannot write the folder {path}: a file of that name exists")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise SoftmineError(f"cannot write the folder {path}: {parent} is not a writable folder")
