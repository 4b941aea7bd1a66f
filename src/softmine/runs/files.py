"""Files and folders that appear whole or not at all, and new ones only where nothing is lost. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softmine.checks import leads_out
from softmine.errors import ArgumentError, SoftmineError
from softmine.runs.os_errors import shortened

TEMPORARY = ".tmp"
OWN = ("config.json", "status.json", "metrics.jsonl", "results.json", "checkpoints", "images")
"""What is read and written again in the folder of a run or comparison; all else is only ever put in the place of something."""
_FIRST = f".config.json{TEMPORARY}"
"""What a start that was killed may leave in the folder of a run: it is of no worth."""
_STEM = 40
"""Characters of a folder's name that its starting folder repeats, so that a long name stays possible."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; what is written there takes its place when the block ends well.

    Raises:
        SoftmineError: the file cannot be written; says which and why.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        # A link of that name would lead what is written to wherever it points.
        temporary.unlink(missing_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # A write to a full disk names no file by itself.
            raise SoftmineError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a binary file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file; numbers that are not finite become null."""
    write_text(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def write_json_lines(path: Path, values: list[dict[str, Any]]) -> None:
    """Writes one JSON object a line."""
    lines = [json.dumps(_plain(value), allow_nan=False) for value in values]
    write_text(path, "".join(line + "\n" for line in lines))


def refuse_links(folder: Path) -> None:
    """Raises SoftmineError where what softmine reads or writes in the folder of a run or comparison lies outside of it."""
    try:
        own = [folder / name for name in OWN]
        for path in (*own, *(path for part in own if part.is_dir() for path in part.iterdir())):
            if leads_out(path, folder):
                raise SoftmineError(
                    f"{path} is a link that leads out of {folder}: put the file or folder itself there"
                )
    except OSError as error:
        raise unusable("look into", folder, error) from error


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files that a killed process left in ``folder`` and below."""
    for leftover in folder.rglob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def resolved(path: Path) -> Path:
    """The same folder without ``..``, which would need folders that are not made yet."""
    return path.resolve() if ".." in path.parts else path


def check_free(path: Path) -> None:
    """Raises SoftmineError unless ``path`` can become a new folder: absent or empty, and writable."""
    path = resolved(path)
    try:
        _check_free(path)
    except OSError as error:
        raise unusable("write the folder", path, error) from error


def make_folder(path: Path, fill: Callable[[Path], None] = lambda folder: None) -> list[Path]:
    """Makes a new folder with what ``fill`` writes into it: all of it appears at once, unless it exists and is empty.

    Returns:
        The folders that were made, outermost first.

    Raises:
        SoftmineError: it cannot be made; nothing is left behind then.
    """
    starting = path.with_name(f"{_starting(path)}{os.getpid()}") if path.name else path
    made: list[Path] = []
    try:
        if path.is_dir():
            (path / _FIRST).unlink(missing_ok=True)
            fill(path)
            return []
        for parent in _missing(path.parent):
            parent.mkdir(exist_ok=True)
            made.append(parent)
        _remove_stale(path)
        starting.mkdir()
        fill(starting)
        starting.replace(path)
        return [*made, path]
    except BaseException as error:
        if starting != path:
            shutil.rmtree(starting, ignore_errors=True)
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise unusable("write the folder", path, error) from error
        raise


def take_away(path: Path, names: Iterable[str], made: Sequence[Path]) -> None:
    """Undoes ``make_folder``: deletes what is called ``names`` in ``path``, then the folders that it ``made``."""
    with contextlib.suppress(OSError):
        for name in names:
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            else:
                (path / name).unlink(missing_ok=True)
        for folder in reversed(made):
            folder.rmdir()


def unusable(what: str, path: Path, error: OSError) -> SoftmineError:
    """The sentence for a path that the system refuses."""
    return SoftmineError(f"cannot {what} {shortened(str(path))}: {error.strerror or error}")


def _check_free(path: Path) -> None:
    if path.is_dir():
        if any(entry.name != _FIRST for entry in path.iterdir()):
            raise ArgumentError(
                "the folder {folder} exists and is not empty: choose another {out}, or continue with {resume} {folder}",
                folder=path,
            )
        if not os.access(path, os.W_OK | os.X_OK):
            raise SoftmineError(f"cannot write the folder {path}: it is not writable")
        return
    if path.exists() or path.is_symlink():
        raise SoftmineError(f"cannot write the folder {path}: a file of that name exists")
    missing = _missing(path)
    parent = missing[0].absolute().parent if missing else path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise SoftmineError(f"cannot write the folder {path}: {parent} is not a writable folder")
    longest = os.pathconf(parent, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    for folder in missing:
        if len(os.fsencode(folder.name)) > longest:
            short = shortened(str(path))
            raise SoftmineError(
                f"cannot write the folder {short}: a name in it has more than {longest} characters"
            )
    # Permissions do not tell everything (/proc, a full or read-only disk): only making one does, before a run's work.
    Path(tempfile.mkdtemp(prefix=".", dir=parent)).rmdir()


def _missing(path: Path) -> list[Path]:
    """The folders that must be made for ``path`` to exist, outermost first."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    return missing[::-1]


def _starting(path: Path) -> str:
    return f".{path.name[:_STEM]}.starting-"


def _remove_stale(path: Path) -> None:
    """Deletes what starts of the same name left beside ``path`` when they were killed."""
    start = _starting(path)
    # A parent may be writable and yet not readable.
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if entry.name.startswith(start) and not _is_running(entry.name[len(start) :]):
                shutil.rmtree(entry, ignore_errors=True)


def _is_running(process: str) -> bool:
    if not process.isdecimal():
        return True  # none of ours
    # In a container every process may get the same number. On Windows os.kill would end the process.
    if int(process) == os.getpid() or os.name == "nt":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
