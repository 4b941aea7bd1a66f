"""What went wrong outside of softmine, in one sentence: memory, disks, permissions. Imports no torch."""

from __future__ import annotations

import os

from softmine.errors import SoftmineError

_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "defaultcpuallocator")
_LONGEST = 160


def sentence(error: BaseException) -> str | None:
    """One sentence for people about an error they can do something about; None for any other, which is a bug."""
    if isinstance(error, SoftmineError):
        return str(error)
    if out_of_memory(error):
        cause = first_line(error)
        return "out of memory: choose a smaller batch size, table or resolution" + (
            f" ({cause})" if cause else ""
        )
    if isinstance(error, OSError):
        return about_file(error)
    # By name, so that it needs no import; its text names the cause but not the file.
    if type(error).__name__ == "SafetensorError":
        return f"cannot read or write a checkpoint: {first_line(error)}"
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device: torch says so in several ways."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _MEMORY)


def about_file(error: OSError) -> str:
    """The cause of a failed file operation and the path, where the system names one."""
    cause = error.strerror or first_line(error) or type(error).__name__
    cause = cause[:1].lower() + cause[1:]
    if error.filename is None:
        return f"the system refused: {cause}"
    return f"cannot use {shortened(os.fsdecode(os.fspath(error.filename)))}: {cause}"


def shortened(path: str) -> str:
    """A path that fits into a sentence."""
    return path if len(path) <= _LONGEST else f"{path[: _LONGEST // 2]}...{path[-_LONGEST // 4 :]}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut where it rambles."""
    lines = str(error).strip().splitlines()
    return lines[0][:_LONGEST].rstrip(" .") if lines else ""
