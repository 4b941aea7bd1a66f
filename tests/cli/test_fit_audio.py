"""Sounds from the command line: what a run leaves, and what is refused before there is one."""

import json
import struct
import sys

import numpy as np
import pytest
import soundfile

from softmine.cli.main import main

TINY = ["--log2-table-size", "8", "--batch-size", "64", "--steps", "4"]


@pytest.fixture
def sound(tmp_path):
    samples = (np.sin(np.arange(3000) * 0.07) * 9000).astype(np.int16)
    soundfile.write(tmp_path / "sound.wav", np.stack((samples, -samples // 3), 1), 11025)
    return tmp_path / "sound.wav"


@pytest.mark.parametrize("field", ["hashgrid", "siren", "fourier"])
def test_a_run_leaves_a_sound_pictures_measures_and_a_report(sound, tmp_path, field):
    out = tmp_path / "run"
    assert main(["fit", "audio", str(sound), "--field", field, "--out", str(out), *TINY]) == 0
    written = soundfile.info(out / "images" / "reconstruction.wav")
    assert (written.samplerate, written.channels, written.frames) == (11025, 2, 3000)
    assert written.subtype == "PCM_16"
    for name in ("target.png", "reconstruction.png", "error.png"):
        assert (out / "images" / name).stat().st_size > 500
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["evaluated"] == 3000
    # The range is twice the peak, so that noise of the signal's own power has a PSNR well above 0.
    assert last["psnr"] > last["snr"]
    assert (out / "report.html").stat().st_size > 5000
    config = json.loads((out / "config.json").read_text())
    assert config["task"] == "audio"
    assert config["signal"]["rate"] == 11025


def test_a_run_goes_on_where_it_stopped(sound, tmp_path):
    out = tmp_path / "run"
    assert main(["fit", "audio", str(sound), "--out", str(out), *TINY]) == 0
    assert main(["fit", "audio", "--resume", str(out), "--steps", "8"]) == 0
    assert json.loads((out / "status.json").read_text())["step"] == 8


def test_without_a_path_a_built_in_sound_is_fitted(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert main(["fit", "audio", "--out", str(tmp_path / "run"), *TINY]) == 0
    assert (tmp_path / "run" / "images" / "reconstruction.wav").stat().st_size == 44 + 2 * 64_000


def test_samplers_are_compared(sound, tmp_path):
    out = tmp_path / "compared"
    words = ["compare", "audio", str(sound), "--samplers", "uniform", "auto", "edges", "langevin"]
    assert main([*words, "--steps", "4", "--batch-sizes", "64", "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["task"] == "audio"
    assert {run["sampler"] for run in results["runs"]} == {"uniform", "auto", "edges", "langevin"}
    assert len(list((out / "images").glob("*-reconstruction.png"))) == 4


def write_bad(path, kind):
    """Makes ``path`` a sound file that is bad in the way of ``kind``."""
    noise = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) * 0.1
    if kind == "text":
        path.write_text("this is no sound\n" * 50)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(path, noise[:0], 16000, format="WAV")
    elif kind in ("nan", "infinite"):
        noise[7] = np.nan if kind == "nan" else -np.inf
        soundfile.write(path, noise, 16000, subtype="FLOAT", format="WAV")
    elif kind == "folder":
        path.mkdir()
    elif kind == "codec":
        head = struct.pack("<HHIIHH", 0x0161, 1, 16000, 4000, 512, 16)  # Windows Media Audio
        chunks = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", 2048) + bytes(2048)
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    elif kind.startswith("cut "):
        soundfile.write(path, noise, 16000, format=kind[4:])
        path.write_bytes(path.read_bytes()[:9_000])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "there is no such file"),
        ("folder", "it is a folder"),
        ("empty", "it is empty"),
        ("text", "it is no audio file"),
        ("no samples", "it has no samples"),
        ("nan", "1 of its samples are NaN or infinite, the first at sample 7"),
        ("infinite", "1 of its samples are NaN or infinite, the first at sample 7"),
        ("codec", "its codec is not one that libsndfile can decode"),
        ("cut WAV", "truncated"),
        ("cut FLAC", "truncated"),
        ("cut OGG", "truncated"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_bad_files_are_refused_in_a_sentence(tmp_path, capsys, command, kind, message):
    path = tmp_path / "sound"
    write_bad(path, kind)
    before = set(tmp_path.iterdir())
    assert main([command, "audio", str(path), "--out", str(tmp_path / "out"), "--steps", "4"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"softmine: cannot read {path}: ")
    assert message in error
    assert set(tmp_path.iterdir()) == before


def test_without_soundfile_the_extra_is_named(sound, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert main(["fit", "audio", str(sound), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'softmine[audio]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
