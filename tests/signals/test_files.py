"""What the readers of all kinds of files refuse first."""

import io
import os

import numpy as np
import pytest

from softmine.errors import SoftmineError
from softmine.signals.files import START, check_file, npy_header


def test_the_first_bytes_are_returned(tmp_path):
    path = tmp_path / "file"
    for content in (b"a", bytes(range(256)) * 40):
        path.write_bytes(content)
        assert check_file(path, "sound", "cannot read it") == content[:START]


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("", "it is a folder; name one sound file in it"),
        ("missing", "there is no such file; check the path"),
        ("pipe", "it is not an ordinary file; copy it to one"),
        ("empty", r"it is empty \(0 bytes\); get a complete copy"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(SoftmineError, match=f"^cannot read it: {reason}$"):
            check_file(tmp_path / name, "sound", "cannot read it")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"a")
    path.chmod(0)
    with pytest.raises(SoftmineError, match="you are not permitted to"):
        check_file(path, "sound", "cannot read it")


def test_an_array_begins_where_its_header_ends():
    array = np.arange(6.0).reshape(2, 3, order="F")
    file = io.BytesIO()
    np.save(file, np.asfortranarray(array))
    file.seek(0)
    assert npy_header(file, "cannot read it") == ((2, 3), "F", np.dtype(float))
    assert file.read() == array.tobytes("F")


def test_a_damaged_header_is_refused():
    for content in (b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x09\x00" + b" " * 99):
        with pytest.raises(SoftmineError, match=r"^cannot read it: its NPY header is truncated"):
            npy_header(io.BytesIO(content), "cannot read it")
