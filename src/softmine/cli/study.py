"""``softmine study``: comparisons with a name."""

from __future__ import annotations

import difflib

from softmine.cli.compare import compare_command
from softmine.cli.series import series_command
from softmine.errors import SoftmineError
from softmine.runs.interrupt import Interrupted
from softmine.study.studies import STUDIES


def study_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine study`` and returns the exit code; without a name it lists the studies."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_listing())
        return 0
    name, *rest = arguments
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"the studies are {', '.join(STUDIES)}"
        raise SoftmineError(f"unknown study '{name}': {hint}")
    if STUDIES[name].varies:
        return series_command(name, STUDIES[name], rest, interrupted)
    return compare_command("image", rest, interrupted, name=name, study=STUDIES[name])


def _listing() -> str:
    width = max(map(len, STUDIES))
    return "\n".join(
        [
            "Comparisons with a name: their samplers and settings are flags of softmine compare that you can change.",
            "",
            *(f"  softmine study {name:{width}}   {study.text}" for name, study in STUDIES.items()),
            "",
            "Each takes a PATH and the flags of softmine compare image:  softmine study alpha --help",
            "noise and sizes make one comparison after the other, each in a folder of its own, and one table of all.",
        ]
    )
