"""``softmine view``: a run, a training with the viewer beside it, and every mistake before a page is opened."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from scene_files import write_blender
from softmine.cli.main import main


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    np.save(folder / "picture.npy", np.random.default_rng(0).random((24, 24)).astype(np.float32))
    words = ["fit", "image", str(folder / "picture.npy"), "--out", str(folder / "run"), "--steps", "3"]
    assert main([*words, "--batch-size", "64", "--log2-table-size", "8"]) == 0
    return folder / "run"


MAIN = "import sys; from softmine.cli.main import main; sys.exit(main(sys.argv[1:]))"


def started(*words):
    """The command in a process of its own, and the address it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "view", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("viewer: "):
            return process, line.split()[1], lines
    raise AssertionError(process.communicate()[1])


def ended(process):
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    return process.returncode


def served(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return b"<html" in answer.read().lower()


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_a_picture_run_is_shown_until_ctrl_c(picture_run):
    before = sorted(path.name for path in picture_run.rglob("*"))
    process, address, _ = started(picture_run, "--port", 0)
    assert served(address)
    assert ended(process) == 130
    assert sorted(path.name for path in picture_run.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_a_taken_port_is_said_aloud(picture_run):
    first, address, _ = started(picture_run, "--port", 0)
    port = address.rpartition(":")[2]
    second, other, lines = started(picture_run, "--port", port)
    assert served(other)
    assert other != address
    assert lines[0].startswith(f"port {port} is taken, so this is ")
    assert ended(first) == ended(second) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_training_with_the_viewer_beside_it(tmp_path):
    run, scene = tmp_path / "run", write_blender(tmp_path / "scene")
    settings = ["--batch-size", 64, "--log2-table-size", 8, "--steps", 4, "--evaluations", 1]
    process, address, lines = started("nerf", scene, "--out", run, "--port", 0, "--device", "cpu", *settings)
    assert served(address)
    for line in process.stdout:
        lines.append(line)
        if line.startswith("trained; the page stays open"):
            break
    assert served(address)
    # The training is done, and its end is what the exit code tells.
    assert ended(process) == 0
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert re.match("softmine view nerf .*--port 0", json.loads((run / "config.json").read_text())["command"])
    process, address, _ = started(run, "--port", 0, "--device", "cpu")
    assert served(address)
    time.sleep(1)
    assert ended(process) == 130


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no run at nowhere"),
        ([], "RUN is missing"),
        (["image"], r"trains radiance fields only \(softmine view nerf PATH\): for an image"),
        (["{run}", "--port", "70000"], "--port is 70000"),
        (["{run}", "--host", "192.0.2.1"], r"cannot listen on --host 192\.0\.2\.1"),
        (["{run}", "--device", "abacus"], "unknown device 'abacus'"),
        (["{run}", "--prot", "8080"], "did you mean --port"),
        (["nerf", "--host", "192.0.2.1", "--out", "{new}"], "cannot listen on --host"),
        (["nerf", "--port", "-5", "--out", "{new}"], "--port is -5"),
    ],
)
def test_mistakes(picture_run, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    words = [word.format(run=picture_run, new=tmp_path / "new") for word in words]
    assert main(["view", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("softmine: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "message"), [("audio", "a run on an audio clip"), ("tea", "a run on 'tea'")]
)
def test_other_kinds_are_refused(picture_run, tmp_path, capsys, kind, message):
    config = json.loads((picture_run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "task": kind}))
    assert main(["view", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "softmine fit nerf and softmine fit image" in error


def test_a_run_without_a_checkpoint(picture_run, tmp_path, capsys):
    (tmp_path / "config.json").write_text((picture_run / "config.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({"state": "failed"}))
    assert main(["view", str(tmp_path)]) == 2
    assert "has no checkpoint yet: train it first" in capsys.readouterr().err


def test_without_viser_the_extra_is_named(picture_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", str(picture_run)]) == 2
    assert "pip install 'softmine[view]'" in capsys.readouterr().err
