"""Command lines are checked against a table of flags before the parser sees them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from tyro.conf import Positional, arg

from softmine.cli.parse import parse
from softmine.errors import SoftmineError


@dataclass(frozen=True)
class Command:
    """A command."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    steps: Annotated[int | None, arg(metavar="N")] = None
    rate: float = 1.0
    batch_sizes: tuple[int, ...] = (1,)
    snap: bool = True


def read(*words):
    return parse(Command, "softmine command", words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["r"], {}),
        (["r", "--steps", "3", "--steps=4"], {"steps": 4}),
        (["--steps", "None", "r"], {"steps": None}),
        (["--rate", "-1e-3", "r"], {"rate": -1e-3}),
        (["r", "--batch_sizes", "2", "3"], {"batch_sizes": (2, 3)}),
        (["r", "--batch-sizes", "--no-snap"], {"batch_sizes": (), "snap": False}),
        (["--no-snap", "--snap", "r"], {"snap": True}),
        (["--", "-r"], {"run": Path("-r")}),
        (["-5"], {"run": Path("-5")}),
        (["-"], {"run": Path("-")}),
    ],
)
def test_good_command_lines_are_read(words, expected):
    assert read(*words) == Command(**{"run": Path("r"), **expected})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "RUN is missing"),
        (["r", "s", "t"], "unexpected 's, t': give one RUN at most"),
        (["r", "--stps", "3"], "unknown flag '--stps': did you mean --steps?"),
        (["r", "-x"], "unknown flag '-x': the flags are --steps, --rate, --batch-sizes, --snap, --no-snap"),
        (["r", "--steps"], "--steps needs a value"),
        (["r", "--steps", "--rate", "1"], "--steps needs a value"),
        (["r", "--steps", "1.5"], "--steps is '1.5', but it takes a whole number"),
        (["r", "--rate="], "--rate is '', but it takes a number"),
        (["r", "--steps", "3", "--steps", "x"], "--steps is 'x'"),
        (["--batch-sizes", "2", "r"], "--batch-sizes is 'r', but it takes whole numbers"),
        (["r", "--snap=3"], "--snap takes no value"),
    ],
)
def test_mistakes_are_named_with_where_help_is(words, message):
    with pytest.raises(SoftmineError) as error:
        read(*words)
    assert message in str(error.value)
    assert str(error.value).endswith("(see softmine command --help)")


@pytest.mark.parametrize("words", [["--help"], ["-h", "--stps"], ["--steps", "--help"]])
def test_help_comes_before_mistakes(words, capsys):
    with pytest.raises(SystemExit) as stop:
        read(*words)
    assert stop.value.code == 0
    assert "--batch-sizes" in capsys.readouterr().out
