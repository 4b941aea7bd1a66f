"""``softmine fit video`` as people run it."""

import json
import sys
import tempfile

import av
import numpy as np
import pytest

from films import write_video
from softmine.cli.main import main
from softmine.signals.synthetic.formulas import moving_discs
from softmine.signals.video import store as video_store

TINY = ["--sampler", "edges", "--log2-table-size", "8", "--batch-size", "64", "--evaluations", "3"]


@pytest.fixture
def film(tmp_path):
    return write_video(tmp_path / "film.mp4", moving_discs(8, 20, 32))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder for temporary files, which every frame has to go to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(video_store, "LOAD_BYTES", 0)
    return folder


def left_in(temporary):
    """What a command left in the folder for temporary files, but for torch's own cache."""
    return [entry for entry in temporary.iterdir() if not entry.name.startswith("torchinductor")]


def test_a_run_leaves_a_film_and_nothing_else(film, temporary, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["fit", "video", str(film), "--out", str(run), "--steps", "20", *TINY]) == 0
    printed = capsys.readouterr().out
    assert "8 frames of 32 x 20" in printed
    assert "over all 5,120 voxels" in printed
    with av.open(str(run / "images" / "video.mp4")) as container:
        assert len(list(container.decode(video=0))) == 8
    config = json.loads((run / "config.json").read_text())
    assert config["signal"]["shape"] == [8, 20, 32, 3]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["frame_psnr_min"] <= lines[-1]["psnr"]
    assert np.isfinite(lines[-1]["psnr"])
    assert (run / "report.html").exists()
    assert left_in(temporary) == []
    assert {entry.name for entry in tmp_path.iterdir()} == {"film.mp4", "run", "temporary"}


def test_a_part_of_a_video_is_resumed_as_that_part(film, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--downscale", "2", "--frames", "2:6", "--steps", "6", *TINY]
    assert main(["fit", "video", str(film), "--out", str(run), *words]) == 0
    assert json.loads((run / "config.json").read_text())["signal"]["shape"] == [4, 10, 16, 3]
    assert main(["fit", "video", "--resume", str(run), "--steps", "9"]) == 0
    assert json.loads((run / "config.json").read_text())["signal"]["shape"] == [4, 10, 16, 3]
    capsys.readouterr()


def bad_files(folder):
    """Files that cannot be fitted, and a part of the sentence about each."""
    good = write_video(folder / "good.mp4", moving_discs(8, 20, 32), container={"movflags": "faststart"})
    content = good.read_bytes()
    good.unlink()
    (folder / "text.mp4").write_text("this is no video\n")
    (folder / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    (folder / "odd.mp4").write_bytes(content.replace(b"avc1", b"zzz9").replace(b"mp4v", b"zzz9"))
    (folder / "empty.mp4").touch()
    (folder / "folder.mp4").mkdir()
    with av.open(str(folder / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with av.open(str(folder / "still.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    return {
        "text.mp4": "no video",
        "cut.mp4": "truncated",
        "odd.mp4": "codec",
        "empty.mp4": "empty",
        "folder.mp4": "folder",
        "sound.wav": "no video stream, only audio",
        "still.avi": "no frames",
        "missing.mp4": "no such file",
    }


def test_bad_input_leaves_nothing(temporary, tmp_path, capsys):
    for name, part in bad_files(tmp_path).items():
        before = sorted(tmp_path.iterdir())
        words = ["fit", "video", str(tmp_path / name), "--out", str(tmp_path / "run")]
        assert main(words) == 2, name
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert error.startswith("softmine: ")
        assert part in error
        assert name in error
        assert sorted(tmp_path.iterdir()) == before
        assert left_in(temporary) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--frames", "5"], "give A:B"),
        (["--frames", "8:"], "only 8 frames"),
        (["--downscale", "0"], "downscale is 0"),
    ],
)
def test_bad_options(film, tmp_path, capsys, words, part):
    assert main(["fit", "video", str(film), "--out", str(tmp_path / "run"), *words]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_the_library(film, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    for path in ([str(film)], []):
        assert main(["fit", "video", *path, "--out", str(tmp_path / "run")]) == 2
        assert "pip install 'softmine[video]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_reading_leaves_out_is_said(tmp_path, capsys):
    path = write_video(tmp_path / "film.mkv", moving_discs(4, 20, 32), codec="ffv1", pixels="yuv420p10le")
    run = tmp_path / "run"
    assert main(["fit", "video", str(path), "--out", str(run), "--steps", "4", *TINY]) == 0
    words = "10 bits a channel rounded to 8"
    assert f"at 25 a second; {words}" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["signal"]["notes"] == [words]
