"""Telling a person what is wrong. Imports nothing that takes time."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from softmine.errors import ArgumentError, SoftmineWarning
from softmine.formatting import printable
from softmine.runs.os_errors import sentence


def flag(name: str) -> str:
    """The flag for an argument of the library."""
    return "--" + name.replace("_", "-")


def message_of(error: BaseException) -> str | None:
    """What a person is told of an error, its arguments written as flags; None for one that is a bug."""
    return error.naming(flag) if isinstance(error, ArgumentError) else sentence(error)


def complain(message: str) -> None:
    """Prints one line to standard error, where there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"softmine: {printable(' '.join(message.splitlines()))}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Within, warnings of softmine are told as errors are: one line on standard error, without the place in the code."""
    before = warnings.showwarning

    def tell(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, SoftmineWarning):
            complain(str(message))
        else:
            before(message, category, *rest, **more)

    warnings.showwarning = tell
    try:
        yield
    finally:
        warnings.showwarning = before


@contextlib.contextmanager
def compiling_told() -> Iterator[None]:
    """Within, says once on standard error that kernels are compiled, which may take as long as a short run, if they are."""
    try:
        from numba.core import event
    except ImportError:  # nothing is compiled then
        yield
        return

    class Told(event.Listener):
        told = False

        def on_start(self, event: Any) -> None:
            if not self.told:
                self.told = True
                complain("compiling kernels, once on this machine")

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Told()):
        yield


def send_nowhere() -> None:
    """Points standard output at nothing, so that nothing fails when Python flushes it at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
