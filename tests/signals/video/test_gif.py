"""GIF files whose frames do not say how long they last."""

import re

import numpy as np
import PIL.Image
import pytest

from softmine.signals.video import Video
from softmine.signals.video.gif import delays, notes, rate

TIMES = re.compile(rb"\x21\xf9\x04(.)(..)(.)\x00", re.DOTALL)
"""The block before a frame that says how long it stays."""


def write(path, durations):
    random = np.random.default_rng(0)
    frames = [PIL.Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in durations]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return path


@pytest.mark.parametrize(
    ("times", "expected"),
    [([100] * 5, 10), ([100, 100, 500, 100, 100], 50 / 9), ([40, 40, 40], 25)],
)
def test_times_are_those_of_the_file(tmp_path, times, expected):
    path = write(tmp_path / "a.gif", times)
    assert delays(path) == [each // 10 for each in times]
    video = Video.read(path)
    assert float(video.rate) == pytest.approx(expected)
    assert not any("assumed" in note or "left out" in note for note in video.notes)


@pytest.mark.parametrize("delay", [0, 1])
def test_a_time_that_is_assumed_is_said(tmp_path, delay):
    path = write(tmp_path / "a.gif", [100] * 5)
    content = TIMES.sub(
        lambda found: b"\x21\xf9\x04%b%b%b\x00" % (found[1], bytes([delay, 0]), found[3]), path.read_bytes()
    )
    path.write_bytes(content)
    video = Video.read(path)
    assert (video.shape[0], video.rate) == (5, 10)
    assert video.notes == ["5 of its 5 frames do not say how long they last: a tenth of a second is assumed"]


def test_frames_that_are_lost_are_said(tmp_path):
    path = write(tmp_path / "a.gif", [100] * 3)
    path.write_bytes(TIMES.sub(b"", path.read_bytes()))
    assert delays(path) == [None] * 3
    video = Video.read(path)
    found = video.shape[0]
    lost = [note for note in video.notes if "left out" in note]
    assert len(lost) == (found < 3)
    assert not lost or lost[0].startswith(f"{3 - found} of its 3 frames left out")


def test_what_is_cut_is_not_lost():
    assert notes([10, 10], None) == []
    assert notes([10, 10], 1)[0].startswith("1 of its 2 frames left out")
    assert rate([10, None, 1]) == 10
