"""The run folder: what a run writes, and where.

``config.json`` (settings, versions, seed, device, data fingerprint), ``status.json``, ``metrics.jsonl`` (a line an
evaluation), ``checkpoints/step-*.safetensors``, ``images/`` and ``report.html``. Every file appears whole or not at
all, so a run that is killed at any moment can be resumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from softmine.errors import SoftmineError
from softmine.runs import files

KEPT_CHECKPOINTS = 2
PARTS = ("checkpoints", "images")


class RunFolder:
    """A run's folder on disk.

    Use ``create`` for a new run and ``open`` for one that exists.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config
        self.metrics: list[dict[str, Any]] = []
        self.is_new = False
        self._made: list[Path] = []

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        """Makes the folder, with its ``config.json`` in it from the first moment it exists.

        A folder that is there already and empty stays (it may be a mount point, or under a parent that cannot be
        written), and its ``config.json`` is the first thing in it.

        Raises:
            SoftmineError: it exists and is not empty, or it cannot be written.
        """
        path = files.resolved(path)
        files.check_free(path)

        def fill(folder: Path) -> None:
            files.write_json(folder / "config.json", config)
            for part in PARTS:
                (folder / part).mkdir()

        run = cls(path, config)
        run.is_new = True
        run._made = files.make_folder(path, fill)
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Opens the folder of a run, and changes nothing in it; call ``rewind`` before resuming.

        Raises:
            SoftmineError: there is no run in the folder, or its ``config.json`` is damaged.
        """
        path = files.resolved(path)
        config = read_description(path, "config.json", "run")
        if config is None:
            raise SoftmineError(
                f"{path / 'config.json'} is not the config.json of a softmine run: it cannot be resumed"
            )
        return cls(path, config)

    def discard(self) -> None:
        """Takes away a new run that never trained: what ``create`` made, and nothing else."""
        files.take_away(self.path, ("config.json", "status.json", "metrics.jsonl", *PARTS), self._made)

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of ``step`` belongs."""
        return self.path / "checkpoints" / f"step-{step:08d}.safetensors"

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"), key=_step_of)

    @property
    def done(self) -> int:
        """The step of the newest checkpoint, from which the run would resume; 0 without one."""
        found = self.checkpoints
        return _step_of(found[-1]) if found else 0

    def drop_old_checkpoints(self) -> None:
        """Keeps the newest two."""
        for old in self.checkpoints[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Adds one evaluation to ``metrics.jsonl``."""
        self.metrics.append(line)
        files.write_json_lines(self.path / "metrics.jsonl", self.metrics)

    def rewind(self, step: int) -> None:
        """Readies the folder for resuming from ``step``: later evaluations, damaged lines and leftovers are removed."""
        for part in PARTS:
            (self.path / part).mkdir(exist_ok=True)
        files.remove_leftovers(self.path)
        self.metrics = [line for line in self.read_metrics() if line["step"] <= step]
        if (self.path / "metrics.jsonl").exists():
            files.write_json_lines(self.path / "metrics.jsonl", self.metrics)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The evaluations in ``metrics.jsonl``, which another process may be writing; without damaged lines."""
        try:
            text = (self.path / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return [line for each in text.splitlines() if (line := _evaluation(each))]

    def set_config(self, config: dict[str, Any]) -> None:
        """Replaces ``config.json``."""
        self.config = config
        files.write_json(self.path / "config.json", config)

    def set_status(
        self, state: str, step: int, seconds: float, message: str = "", **more: float | None
    ) -> None:
        """Replaces ``status.json``; ``state`` is running, finished, interrupted, stopped-nan or failed."""
        status = {"state": state, "step": step, "seconds": round(seconds, 3), "message": message}
        files.write_json(self.path / "status.json", {**status, **more})


def _step_of(checkpoint: Path) -> int:
    number = checkpoint.stem.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def read_description(folder: Path, name: str, noun: str) -> dict[str, Any] | None:
    """The file that describes a run or a comparison, None where it lacks what resuming needs.

    Args:
        folder: of the run or comparison.
        name: of the file.
        noun: what the folder should be of, for messages.

    Raises:
        SoftmineError: there is no such folder or file.
    """
    file = folder / name
    try:
        if not folder.exists():
            raise SoftmineError(f"there is no {noun} at {folder}: the folder does not exist")
        if not file.is_file():
            raise SoftmineError(f"{folder} is no {noun} folder: it holds no {name}")
    except OSError as error:
        raise files.unusable(f"open the {noun}", folder, error) from error
    files.refuse_links(folder)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    signal = found.get("signal") if isinstance(found, dict) else None
    if (
        not isinstance(signal, dict)
        or found.get("schema") != 1
        or not isinstance(found.get("settings"), dict)
    ):
        return None
    texts = isinstance(signal.get("name"), str) and isinstance(signal.get("fingerprint"), str)
    return found if texts and isinstance(signal.get("path"), (str, type(None))) else None


def _evaluation(text: str) -> dict[str, Any] | None:
    """One line of ``metrics.jsonl``; None where it is damaged, as a line cut by a full disk is."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(line, dict) and isinstance(line.get("step"), int) and {"psnr", "ssim"} <= line.keys()
    return line if whole else None
