import json
import os

import pytest

from softmine.errors import SoftmineError
from softmine.runs.files import (
    check_free,
    remove_leftovers,
    replacing,
    write_json,
    write_json_lines,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def write_half():
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_the_system_refuses_names_the_file(tmp_path):
    with pytest.raises(SoftmineError, match=r"cannot write .*absent.a\.txt: No such file"):
        write_text(tmp_path / "absent" / "a.txt", "text")


def test_numbers_that_json_cannot_hold_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5], "path": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "x": None,
        "y": [None, 1.5],
        "path": str(tmp_path),
    }


def test_json_lines(tmp_path):
    write_json_lines(tmp_path / "a.jsonl", [{"a": 1}, {"a": 2}])
    assert (tmp_path / "a.jsonl").read_text() == '{"a": 1}\n{"a": 2}\n'


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "images").mkdir()
    left = tmp_path / "images" / ".a.png.tmp"
    left.touch()
    kept = tmp_path / "images" / "a.png"
    kept.touch()
    remove_leftovers(tmp_path)
    assert kept.exists()
    assert not left.exists()


def test_a_folder_is_refused_before_any_work_and_the_question_leaves_nothing(tmp_path, monkeypatch):
    check_free(tmp_path / "new" / "run")
    assert not list(tmp_path.iterdir())

    def full(path, mode=0o777):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(SoftmineError, match=r"cannot write the folder .*run: No space left on device"):
        check_free(tmp_path / "new" / "run")
