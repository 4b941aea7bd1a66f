"""What libsndfile leaves out of a file without a word is said."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from softmine.domain import SoftmineError
from softmine.signals import Audio
from softmine.signals.audio.remarks import left_out
from softmine.tasks.audio.task import AudioTask

RATE = 16_000


def tone(seconds, hertz):
    return (0.5 * np.sin(np.arange(int(seconds * RATE)) * 2 * np.pi * hertz / RATE)).astype(np.float32)


KEPT = {
    ".ogg": ["its Vorbis is kept and written as float32"],
    ".opus": ["its Opus is kept and written as float32"],
    ".mp3": ["its MPEG Layer III is kept and written as float32"],
}


def chained(tmp_path, name, **options):
    """Two recordings, one behind the other in one file; the path."""
    content = b""
    for seconds, hertz in ((1, 440), (2, 660)):
        soundfile.write(tmp_path / name, tone(seconds, hertz), RATE, **options)
        content += (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff"])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_ordinary_clip_needs_no_words(tmp_path, name, channels):
    options = {"format": "OGG", "subtype": "OPUS"} if name.endswith("opus") else {}
    for seconds in (0.03, 1.5):
        samples = np.stack([tone(seconds, 440)] * channels, -1)
        soundfile.write(tmp_path / name, samples, RATE, **options)
        audio = Audio.read(tmp_path / name)
        assert audio.notes == KEPT.get(Path(name).suffix, [])
        assert audio.shape == samples.shape


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_every_kind_of_mpeg_frame_is_counted(tmp_path, rate, mode):
    noise = np.random.default_rng(0).standard_normal((rate, 2)).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "a.mp3", noise, rate, bitrate_mode=mode)
    assert Audio.read(tmp_path / "a.mp3").notes == KEPT[".mp3"]
    whole = (tmp_path / "a.mp3").read_bytes()
    tags = b"TAG".ljust(128, b"\0") + b"ID3\x04\0\0" + bytes([0, 0, 1, 2]) + bytes(130)
    (tmp_path / "a.mp3").write_bytes(whole + tags + whole)
    note, _ = Audio.read(tmp_path / "a.mp3").notes
    count, _, words = note.partition(" ")
    assert words == "samples behind its first recording left out"
    assert rate < int(count.replace(",", "")) < 1.3 * rate + 6 * 1152


@pytest.mark.parametrize(("name", "options"), [("a.ogg", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"}), ("a.flac", {})])  # fmt: skip
def test_recordings_behind_the_first_are_said_to_be_left_out(tmp_path, name, options):
    audio = Audio.read(chained(tmp_path, name, **options))
    assert audio.shape == (RATE, 1)
    words = "the first of its 2 recordings, which follow each other in the file"
    notes = [words, *KEPT.get(Path(name).suffix, [])]
    assert audio.notes == notes
    task = AudioTask(audio)
    assert task.size().endswith(f"at 16,000 Hz; {'; '.join(notes)}")
    assert task.describe()["notes"] == notes


@pytest.mark.parametrize(
    ("subtype", "note"),
    [
        ("PCM_16", None),
        ("PCM_32", None),
        ("FLOAT", None),
        ("DOUBLE", None),
        ("PCM_24", "its Signed 24 bit PCM is kept and written as int32"),
        ("PCM_U8", "its Unsigned 8 bit PCM is kept and written as int16"),
        ("ULAW", "its U-Law is kept and written as float32"),
    ],
)
def test_other_bits_than_those_that_are_written_are_said(tmp_path, subtype, note):
    soundfile.write(tmp_path / "a.wav", tone(0.1, 440), RATE, subtype=subtype)
    assert Audio.read(tmp_path / "a.wav").notes == ([note] if note else [])


def test_streams_beside_each_other_are_said(tmp_path):
    path = chained(tmp_path, "a.ogg")
    first = path.read_bytes()
    # A page of another stream that begins with the first.
    page = b"OggS\0\2" + bytes(8) + struct.pack("<III", 7, 0, 0) + b"\1\5hello"
    path.write_bytes(page + first)
    # Whether libsndfile decodes such a file differs from version to version.
    assert left_out(path, "OGG", RATE, "") == [
        "one of its 2 streams",
        "the first of its 2 recordings, which follow each other in the file",
    ]


def test_loop_points_are_said_to_be_left_out(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, 440), RATE)
    loop = struct.pack("<9I6I", 0, 0, 62500, 60, 0, 0, 0, 1, 0, 0, 0, 100, 5000, 0, 0)
    content = path.read_bytes() + b"smpl" + struct.pack("<I", len(loop)) + loop
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert Audio.read(path).notes == ["its loop points and markers left out"]


def test_a_recording_that_broke_off_is_no_short_one(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, 440), RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 16_000)
    path.write_bytes(content)
    audio = Audio.read(path)
    assert audio.shape == (8000, 1)
    assert audio.notes == ["16,000 bytes behind its samples, of which its header does not tell, left out"]
    content[40:44] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(SoftmineError, match=r"it has no samples .*repair its header"):
        Audio.read(path)


def test_samples_beyond_full_scale_are_not_cut(tmp_path):
    loud = tone(1, 440) * 8
    soundfile.write(tmp_path / "a.wav", loud, RATE, subtype="FLOAT")
    audio = Audio.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(audio.stored.numpy()[:, 0], loud)
    assert audio.peak == np.abs(loud).max() > 3.9
