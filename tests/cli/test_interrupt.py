"""Ctrl-C at any moment: one line, exit code 130, and no folder or one that can be resumed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from softmine.runs.interrupt import at_once, interruptible, stop_if

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")

# The timer starts right before main, so that a slow start of Python itself is not what is tested.
START = """
import os, signal, sys, threading
from softmine.cli.main import main
timer = threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), int(sys.argv[2])))
timer.daemon = True
timer.start()
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("command", ["fit", "compare"])
@pytest.mark.parametrize(
    ("delay", "kind"),
    [(0.01, signal.SIGINT), (0.6, signal.SIGTERM), (1.3, signal.SIGINT), (2.2, signal.SIGINT)],
)
def test_at_start(tmp_path, command, delay, kind):
    np.save(tmp_path / "picture.npy", np.random.default_rng(0).random((24, 24)).astype(np.float32))
    run = tmp_path / "new" / "run"
    words = [command, "image", str(tmp_path / "picture.npy"), "--out", str(run), "--seconds", "60"]
    words += ["--log2-table-size", "8"] + (["--batch-size", "64"] if command == "fit" else [])
    done = subprocess.run(
        [sys.executable, "-c", START, str(delay), str(int(kind)), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    if not run.exists():
        printed = [line for line in done.stderr.splitlines() if "compiling kernels" not in line]
        assert len(printed) == 1
        assert printed[0].startswith("softmine: interrupted")
        assert not run.parent.exists()
    elif command == "fit":
        assert json.loads((run / "status.json").read_text())["state"] == "interrupted"


def test_a_second_signal_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interrupted:
        stop_if(interrupted)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            stop_if(interrupted)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_signal_stops_at_once_where_nothing_would_be_left():
    with interruptible() as interrupted:
        with pytest.raises(KeyboardInterrupt), at_once(interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), at_once(interrupted):
            pytest.fail("went in after the signal")


def test_afterwards_the_first_signal_is_noted_again():
    with interruptible() as interrupted:
        with at_once(interrupted):
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()


def test_within_and_after_an_inner_one_the_first_signal_still_stops_at_once():
    with interruptible() as interrupted:
        with at_once(interrupted):
            with at_once(interrupted):
                pass
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            interrupted.count = 0  # else the end of this stops too
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()


def test_whoever_is_told_by_another_function_is_asked_before_and_after():
    answers = [False, True]
    done = []
    with pytest.raises(KeyboardInterrupt), at_once(lambda: answers.pop(0)):
        done.append("read")
    assert done == ["read"]


def outcome(code, *words, modules=None):
    """Exit code and what a new Python prints that runs ``code``; ``modules`` is a folder to import from."""
    path = os.pathsep.join([*([] if modules is None else [str(modules)]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )
    return done.returncode, done.stdout, done.stderr


IMPORT = """
from softmine.runs.interrupt import at_once, interruptible
with interruptible() as interrupted, at_once(interrupted):
    import takes_long
"""


def test_in_the_middle_of_an_import_the_process_ends_without_an_exception(tmp_path):
    (tmp_path / "takes_long.py").write_text(
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(600)\n"
        "finally:\n    print('went through here')\n"
    )
    assert outcome(IMPORT, modules=tmp_path) == (130, "", "softmine: interrupted\n")


SLOW = """
import os, signal, sys, time
from softmine.cli.main import main
from softmine.signals import Image
def slow(path):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)
Image.read = slow
"""
READ = SLOW + 'sys.exit(main(["fit", "image", "picture.png", "--out", sys.argv[1]]))'
HOST = SLOW + 'print("answered", main(["fit", "image", "picture.png", "--out", sys.argv[1]]))'


def test_ctrl_c_does_not_wait_for_a_file_to_be_read(tmp_path):
    assert outcome(READ, str(tmp_path / "new" / "run")) == (130, "", "softmine: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_runs_a_command_while_it_is_imported_gets_its_answer(tmp_path):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "host.py").write_text(HOST)
    expected = (0, "answered 130\n", "softmine: interrupted\n")
    assert outcome("import host", str(tmp_path / "new" / "run"), modules=folder) == expected
    assert list(tmp_path.iterdir()) == [folder]


def test_but_not_in_the_middle_of_an_import_of_its_own(tmp_path):
    (tmp_path / "host.py").write_text(IMPORT)
    (tmp_path / "takes_long.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(600)\n"
    )
    code = "try:\n import host\nfinally:\n print('went through here')"
    assert outcome(code, modules=tmp_path) == (130, "", "softmine: interrupted\n")
