import io

import pytest
from rich.console import Console

from softmine.runs import progress
from softmine.runs.progress import QUIET, Progress


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_what_takes_long_is_told_now_and_then(clock):
    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=False), steps=None) as shown:
        for second in range(100):
            clock[0] = 1000.0 + second
            shown.wait(f"writing {second}%")
    assert out.getvalue().splitlines() == ["writing 31%", "writing 62%", "writing 93%"]


def test_what_is_quick_is_not_told_at_all(clock):
    out = io.StringIO()
    shown = Progress(Console(file=out, force_terminal=False), steps=None)
    # Long after it was made, as the end of a run is.
    clock[0] += 100 * QUIET
    with shown:
        shown.wait("writing 0%")
        clock[0] += QUIET / 2
        shown.wait("writing 100%")
    assert out.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_all_of_it_in_one_line(clock):
    out = Terminal()
    with Progress(Console(file=out, force_terminal=True, width=80), steps=None) as shown:
        shown.wait("writing 1%")
        shown.wait("writing 2%")
    assert "writing 1%" in out.getvalue()
    assert "writing 2%" in out.getvalue().split("\n")[0]


@pytest.mark.parametrize(
    ("out", "kind"), [(Terminal(), "dumb"), (io.StringIO(), "xterm")], ids=["dumb terminal", "log"]
)
def test_where_no_line_can_be_redrawn_lines_are_printed(monkeypatch, out, kind):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", kind)
    with Progress(Console(file=out, width=80), steps=10) as shown:
        shown.evaluated(5, 50, 1.0, 0.5, 20.0)
    assert "step 5/10" in out.getvalue()
    assert "\x1b" not in out.getvalue()
