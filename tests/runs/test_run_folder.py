import json
import os
from pathlib import Path

import pytest

from softmine.errors import SoftmineError
from softmine.runs.files import check_free, make_folder
from softmine.runs.run_folder import RunFolder

SIGNAL = {"name": "picture", "path": None, "fingerprint": "0"}
CONFIG = {"schema": 1, "settings": {}, "signal": SIGNAL}


def test_an_empty_folder_stays_the_same_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    node = (tmp_path / "there").stat().st_ino
    run = RunFolder.create(tmp_path / "link", CONFIG)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").stat().st_ino == node
    assert RunFolder.open(run.path).config == CONFIG
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"config.json", "checkpoints", "images"}


@pytest.mark.parametrize("name", [".", "", "new/..", "new/../new", "deep/er/run", "n" * 255])
def test_names(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = RunFolder.create(Path(name), CONFIG)
    assert RunFolder.open(run.path).config == CONFIG


def test_a_name_that_is_too_long_leaves_nothing(tmp_path):
    path = tmp_path / "new" / ("n" * 300)
    for function in (check_free, make_folder, RunFolder.open):
        with pytest.raises(SoftmineError, match=r"cannot|no run"):
            function(path)
        with pytest.raises(SoftmineError, match="cannot"):
            function(tmp_path / ("n" * 300))
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_starts_go(tmp_path):
    gone = 2**22 + 1  # above the largest process number of Linux
    names = [f".run.starting-{gone}", f".run.starting-{os.getpid()}", f".run.starting-{os.getppid()}"]
    names += [f".running.starting-{gone}", ".run.starting-thesis"]
    for name in names:
        (tmp_path / name).mkdir()
    RunFolder.create(tmp_path / "run", CONFIG)
    assert {path.name for path in tmp_path.iterdir()} == {"run", *names[2:]}


def test_discarding_takes_away_what_was_made_and_nothing_else(tmp_path):
    run = RunFolder.create(tmp_path / "new" / "run", CONFIG)
    run.set_status("running", 0, 0.0)
    run.discard()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    run = RunFolder.create(tmp_path / "there", CONFIG)
    (tmp_path / "there" / "thesis.txt").touch()
    run.discard()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "damage",
    [
        {"signal": None},
        {"signal": {**SIGNAL, "path": 3}},
        {"signal": {"name": "picture"}},
        {"settings": [1]},
        {"schema": "1"},
    ],
)
def test_a_damaged_config_is_refused(tmp_path, damage):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.set_config({**CONFIG, **damage})
    with pytest.raises(SoftmineError, match=r"is not the config\.json of a softmine run"):
        RunFolder.open(run.path)


def test_damaged_lines_are_left_out_and_later_ones_rewound(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    for step in (1, 2, 3):
        run.add_metrics({"step": step, "psnr": float("inf"), "ssim": None})
    file = run.path / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 4, "psn')
    run.rewind(2)
    assert [line["step"] for line in run.metrics] == [1, 2]
    assert [json.loads(line)["psnr"] for line in file.read_text().splitlines()] == [None, None]
