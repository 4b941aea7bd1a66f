import io

from rich.console import Console

from softmine.study import interleave
from softmine.study.interleave import MatrixProgress


def test_time_left_is_from_this_processs_own_pace(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(interleave.time, "monotonic", lambda: now[0])
    progress = MatrixProgress(Console(file=io.StringIO()), total=10, before=4)
    assert progress.overview(0.0) == " 40%  4/10 runs  ETA ..."
    now[0] += 30
    # One and a half of the six runs that were left took 30 s.
    assert progress.overview(1.5) == " 55%  4/10 runs  ETA 1:30"
    progress.finished(2)
    now[0] += 10
    assert progress.overview(0.0) == " 60%  6/10 runs  ETA 1:20"


def test_without_a_terminal_lines_are_printed_and_the_live_line_is_not():
    out = io.StringIO()
    with MatrixProgress(Console(file=out), total=2) as progress:
        progress.show(0.5, "only for terminals")
        progress.print(1.0, "step 10")
    assert out.getvalue().startswith(" 50%  0/2 runs  ETA ")
    assert "step 10" in out.getvalue()
    assert "terminals" not in out.getvalue()
