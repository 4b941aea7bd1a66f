"""The ``softmine`` command."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from softmine.cli.complain import complain, message_of, send_nowhere, warnings_told
from softmine.errors import SoftmineError
from softmine.runs.interrupt import INTERRUPTED, Interrupted, at_once, interruptible
from softmine.tasks import KINDS

COMMANDS: dict[tuple[str, ...], str] = {
    **{("fit", kind): f"fit a neural field to {it.name}" for kind, it in KINDS.items()},
    **{
        ("compare", kind): f"compare samplers on {it.name}, at equal time and equal steps"
        for kind, it in KINDS.items()
    },
    ("study",): "ready-made comparisons: alpha, langevin, reinit, warmup, peers, noise, sizes",
    ("export",): "write the surface that a run has learned as a mesh, or as points",
    ("render",): "render the views of a radiance field, or a flight through it",
    ("view",): "look at a run in the browser, or at a radiance field while it trains",
    ("report",): "write the report of run folders again",
}
"""What each does. A command is the function ``NAME_command`` of the module ``NAME``; the kind is its first argument."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 diverged, 2 bad input or no room, 130 interrupted."""
    # First of all, because loading torch takes seconds and does not bear an exception in its middle.
    with interruptible() as interrupted, warnings_told():
        words = list(sys.argv[1:] if arguments is None else arguments)
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal cannot show must not end a run. Streams put in place by others may not know how.
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
        # Read when torch is loaded, which is why nothing above imports it. Idle OpenMP threads otherwise spin for so
        # long that one other busy process makes a training step several times slower, not twice.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        try:
            return _run(words, interrupted)
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has left; there is nobody to tell.
            send_nowhere()
            return 1
        except Exception as error:
            message = message_of(error)
            if message is None:
                raise
            complain(message)
            return 2


def _run(words: list[str], interrupted: Interrupted) -> int:
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"softmine {version('softmine')}")
        return 0
    for command in COMMANDS:
        if tuple(words[: len(command)]) == command:
            with at_once(interrupted):
                function = _function(command)
            return function(words[len(command) :], interrupted)
    asked_for_help = any(word in ("-h", "--help") for word in words)
    plain = [word for word in words if not word.startswith("-")]
    if plain and not any(command[: len(plain)] == tuple(plain) for command in COMMANDS):
        raise SoftmineError(_unknown(plain))
    print(_overview(tuple(plain)), file=sys.stdout if asked_for_help or not words else sys.stderr)
    return 0 if asked_for_help or not words else 2


def _function(command: tuple[str, ...]) -> Callable[[list[str], Interrupted], int]:
    # Imported when called: help and mistakes should not wait for torch.
    name, *kind = command
    module = importlib.import_module(f"softmine.cli.{name}")
    return partial(getattr(module, f"{name}_command"), *kind)


def _unknown(words: list[str]) -> str:
    names = [" ".join(command) for command in COMMANDS]
    given = " ".join(words[:2])
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
    hint = f"did you mean 'softmine {near[0]}'?" if near else f"the commands are {', '.join(names)}"
    return f"unknown command '{given}': {hint}"


def _overview(start: tuple[str, ...]) -> str:
    chosen = {command: text for command, text in COMMANDS.items() if command[: len(start)] == start}
    width = max(len(" ".join(command)) for command in chosen)
    lines = [f"  softmine {' '.join(command):{width}}   {text}" for command, text in chosen.items()]
    return "\n".join(
        [
            "Train neural fields faster by choosing where to train.",
            "",
            "Commands:",
            *lines,
            "",
            "Without a PATH, fit and compare use a built-in signal: try  softmine fit image",
            "Each command explains itself:  softmine fit image --help",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
