"""Sound files of many formats come in as they were saved; broken ones are refused in a sentence."""

import struct
import sys

import numpy as np
import pytest
import soundfile

from softmine.domain import SoftmineError
from softmine.signals import Audio
from softmine.signals.audio import files as audio_files
from softmine.signals.audio import signal as module

WAVE = (np.sin(np.arange(30_000) * 0.05) * 9000).astype(np.int16)
STEREO = np.stack((WAVE, WAVE[::-1] // 2), 1)


@pytest.mark.parametrize(
    ("name", "subtype", "dtype"),
    [
        ("a.wav", "PCM_16", "int16"),
        ("a.wav", "PCM_24", "int32"),
        ("a.wav", "PCM_32", "int32"),
        ("a.wav", "FLOAT", "float32"),
        ("a.wav", "DOUBLE", "float64"),
        ("a.flac", "PCM_16", "int16"),
        ("a.flac", "PCM_24", "int32"),
        ("a.aiff", "PCM_16", "int16"),
        ("a.caf", "PCM_16", "int16"),
    ],
)
@pytest.mark.parametrize("samples", [WAVE, STEREO])
def test_lossless_formats_come_in_exactly_and_in_their_type(tmp_path, name, subtype, dtype, samples):
    given = samples if subtype.startswith("PCM") else samples / 32768
    soundfile.write(tmp_path / name, given, 22050, subtype=subtype)
    audio = Audio.read(tmp_path / name)
    assert (audio.rate, audio.dtype, audio.name) == (22050, dtype, "a")
    assert audio.shape == samples.reshape(len(samples), -1).shape
    scale = {"int16": 1, "int32": 2**16}.get(dtype, 1 / 32768)
    expected = samples.reshape(audio.shape).astype(np.float64) * scale
    np.testing.assert_array_equal(audio.stored.numpy(), expected.astype(dtype))


@pytest.mark.parametrize(
    ("name", "subtype", "dtype", "tolerance"),
    [
        ("a.ogg", "VORBIS", "float32", 0.02),
        ("a.wav", "ULAW", "float32", 0.02),
        ("a.wav", "PCM_U8", "int16", 256.0),
    ],
)
def test_formats_with_loss_come_in_nearly(tmp_path, name, subtype, dtype, tolerance):
    soundfile.write(tmp_path / name, STEREO, 44100, subtype=subtype)
    audio = Audio.read(tmp_path / name)
    assert (audio.dtype, audio.shape) == (dtype, STEREO.shape)
    scale = 1 if dtype == "int16" else 1 / 32768
    assert np.abs(audio.stored.numpy() - STEREO * scale).max() < tolerance


def test_the_content_tells_the_format_not_the_name(tmp_path):
    soundfile.write(tmp_path / "a.flac", WAVE, 16000)
    for name in ("a.raw", "a.wav"):
        (tmp_path / "a.flac").rename(tmp_path / name)
        assert Audio.read(tmp_path / name).shape == (30_000, 1)
        (tmp_path / name).rename(tmp_path / "a.flac")


def test_one_sample_is_enough(tmp_path):
    soundfile.write(tmp_path / "a.wav", WAVE[7:8], 16000)
    assert Audio.read(tmp_path / "a.wav").shape == (1, 1)


def test_a_stream_that_does_not_know_its_length_is_no_truncated_file(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE, 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    assert Audio.read(path).shape == (30_000, 1)


@pytest.mark.parametrize("dtype", module.DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_is_written_reads_back_the_same(tmp_path, dtype, channels):
    samples = np.random.default_rng(0).standard_normal((500, channels))
    samples = (samples * 5000).astype(dtype) if dtype.startswith("int") else samples.astype(dtype)
    audio_files.write(tmp_path / "a.wav", samples, 11025)
    audio = Audio.read(tmp_path / "a.wav")
    assert (audio.rate, audio.dtype) == (11025, dtype)
    np.testing.assert_array_equal(audio.stored.numpy(), samples)


def refusal(path):
    with pytest.raises(SoftmineError) as caught:
        Audio.read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.au", "a.caf"])
def test_truncated_files_are_refused(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).standard_normal(30_000) * 0.1
    soundfile.write(path, noise, 44100)
    Audio.read(path)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        assert "truncated" in refusal(path)


def test_what_is_no_audio_file_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    assert "there is no such file" in refusal(path)
    path.write_bytes(b"")
    assert "it is empty (0 bytes)" in refusal(path)
    path.write_text("this is no sound\n" * 100)
    assert "it is no audio file that libsndfile knows" in refusal(path)
    path.rename(tmp_path / "a.raw")
    assert "it is no audio file that libsndfile knows" in refusal(tmp_path / "a.raw")
    assert "it is a folder" in refusal(tmp_path)
    soundfile.write(path, WAVE[:0], 16000)
    assert "it has no samples" in refusal(path)


def test_an_mp3_without_its_end_is_truncated(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, WAVE[:1000], 48000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).endswith("it is truncated or damaged; get a complete copy")


def test_a_wav_of_two_chunks_of_samples_is_told(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE[:1000], 44100)
    content = path.read_bytes()
    start = content.index(b"data")
    chunks = [
        b"data" + struct.pack("<I", len(part)) + part for part in (content[start + 8 : -800], content[-800:])
    ]
    body = content[12:start] + b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    assert "it has 2 chunks of samples where WAV files have one" in refusal(path)


def test_codecs_that_cannot_be_decoded_are_named(tmp_path):
    path = tmp_path / "a.wav"
    head = struct.pack("<HHIIHH", 0x0161, 1, 16000, 4000, 512, 16)  # Windows Media Audio
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", 2048) + bytes(2048)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    assert "its codec is not one that libsndfile can decode" in refusal(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, bad):
    samples = WAVE / np.float32(32768)
    samples[[5, 9]] = bad
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    assert "2 of its samples are NaN or infinite, the first at sample 5" in refusal(tmp_path / "a.wav")


def test_long_clips_are_refused_before_all_is_read(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(200_000, np.int16), 16000)
    monkeypatch.setattr(module, "MAX_SAMPLES", 100_000)
    assert "more than 100,000 samples" in refusal(tmp_path / "a.wav")
    assert "cut it to 6 seconds" in refusal(tmp_path / "a.wav")


def test_without_soundfile_the_extra_is_named(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", WAVE, 16000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert "pip install 'softmine[audio]'" in refusal(tmp_path / "a.wav")
    assert Audio.builtin().shape == (64_000, 1)
