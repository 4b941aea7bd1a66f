"""The ``softmine`` command."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence

from softmine.errors import SoftmineError

COMMANDS: dict[tuple[str, ...], str] = {
    ("fit", "image"): "fit a neural field to a picture",
    ("compare", "image"): "compare samplers on a picture, honestly",
    ("report",): "write the report of run folders again",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 diverged, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Read when torch is loaded, which is why nothing above imports it. Idle OpenMP threads otherwise spin for so
    # long that one other busy process makes a training step several times slower, not twice.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        return _run(words)
    except SoftmineError as error:
        print(f"softmine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("softmine: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; there is nobody to tell.
        sys.stderr.close()
        return 1
    except MemoryError:
        print("softmine: out of memory: use a smaller --batch-size or --log2-table-size", file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"softmine {version('softmine')}")
        return 0
    for command in COMMANDS:
        if tuple(words[: len(command)]) == command:
            return _function(command)(words[len(command) :])
    asked_for_help = any(word in ("-h", "--help") for word in words)
    plain = [word for word in words if not word.startswith("-")]
    if plain and not any(command[: len(plain)] == tuple(plain) for command in COMMANDS):
        raise SoftmineError(_unknown(plain))
    print(_overview(tuple(plain)), file=sys.stdout if asked_for_help or not words else sys.stderr)
    return 0 if asked_for_help or not words else 2


def _function(command: tuple[str, ...]) -> Callable[[list[str]], int]:
    # Imported when called: help and mistakes should not wait for torch.
    if command == ("fit", "image"):
        from softmine.cli.fit import fit_image_command

        return fit_image_command
    if command == ("compare", "image"):
        from softmine.cli.compare import compare_image_command

        return compare_image_command
    from softmine.cli.report import report_command

    return report_command


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
            "Without a PATH, fit and compare use a built-in picture: try  softmine fit image",
            "Each command explains itself:  softmine fit image --help",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
