"""Bad input: one clear sentence on standard error, exit code 2, nothing left behind."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from softmine.cli.main import main

TINY = ["--log2-table-size", "8", "--batch-size", "64", "--steps", "4"]


def refused(capsys, *words):
    """Runs a command that must be refused; returns its one sentence."""
    code = main([str(word) for word in words])
    streams = capsys.readouterr()
    assert code == 2, streams.out
    assert streams.err.count("\n") == 1, streams.err
    assert streams.err.startswith("softmine: ")
    return streams.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampler", "langevn"], "unknown sampler 'langevn': did you mean langevin"),
        (["--sampler", "langevin:alhpa=1"], "no option 'alhpa'"),
        (["--sampler", "langevin:alpha=-1"], "softmine: alpha is -1"),
        (["--batch-size", "0"], "--batch-size is 0: give a number from 1 to 4194304"),
        (["--batch-size", "1000000000000"], "--batch-size is 1000000000000: give a number from 1 to 4194304"),
        (["--steps", "0"], "--steps is 0"),
        (["--seconds", "-3"], "--seconds is -3"),
        (["--learning-rate", "nan"], "--learning-rate is nan"),
        (["--field", "hashgird"], "unknown field 'hashgird'"),
        (["--device", "gpu"], "unknown device 'gpu': choose one of auto, cpu, cuda, mps"),
        (["--log2-table-size", "60"], "--log2-table-size is 60"),
        (["--evaluations", "0"], "--evaluations is 0"),
        (["--checkpoint-every", "-1"], "--checkpoint-every is -1"),
        (["--seed", "9" * 23], "give a whole number from 0 to 2^63 - 1"),
    ],
)
def test_settings(picture, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    assert message in refused(capsys, "fit", "image", picture, "--out", out, *words)
    assert not out.exists()


def test_pictures(tmp_path, capsys):
    files = {
        "missing.png": None,
        "text.png": b"this is no picture\n",
        "empty.png": b"",
        "nan.npy": np.full((4, 4), np.nan, np.float32),
        "zero.npy": np.zeros((0, 5), np.uint8),
        "line.npy": np.zeros(5, np.uint8),
    }
    for name, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            np.save(tmp_path / name, content)
        error = refused(capsys, "fit", "image", tmp_path / name, "--out", tmp_path / "out")
        assert name in error
    assert str(tmp_path) in refused(capsys, "fit", "image", tmp_path, "--out", tmp_path / "out")
    assert "try astronaut" in refused(capsys, "fit", "image", "builtin:astronaurt", "--out", tmp_path / "out")
    assert "missing.png" in refused(
        capsys, "compare", "image", tmp_path / "missing.png", "--out", tmp_path / "out"
    )
    assert {path.name for path in tmp_path.iterdir()} == set(files) - {"missing.png"}


def test_the_output_folder(picture, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("keep me")
    for command in ("fit", "compare"):
        assert "not empty" in refused(capsys, command, "image", picture, "--out", full)
        assert "a file of that name exists" in refused(capsys, command, "image", picture, "--out", picture)
        assert "not a writable folder" in refused(
            capsys, command, "image", picture, "--out", picture / "below"
        )
        if sys.platform == "linux":
            assert "cannot write" in refused(capsys, command, "image", picture, "--out", "/proc/softmine")
        long = tmp_path / "new" / ("n" * 300)
        assert "a name in it has more than" in refused(capsys, command, "image", picture, "--out", long)
        assert not (tmp_path / "new").exists()
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]


def test_resuming(picture, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["fit", "image", str(picture), "--out", str(run), *TINY]) == 0
    capsys.readouterr()
    resume = ("fit", "image", "--resume")
    assert "does not exist" in refused(capsys, *resume, tmp_path / "nowhere")
    assert "is no run folder" in refused(capsys, *resume, tmp_path)
    other = tmp_path / "other.png"
    Pillow.fromarray(np.zeros((20, 24), np.uint8)).save(other)
    assert "is not the image" in refused(capsys, "fit", "image", other, "--resume", run)
    assert "keeps its --batch-size 64" in refused(capsys, *resume, run, "--batch-size", "65")
    assert "leave out --out" in refused(capsys, *resume, run, "--out", tmp_path / "new")
    moved = tmp_path / "moved.png"
    picture.rename(moved)
    assert "give its new PATH" in refused(capsys, *resume, run)
    assert main(["fit", "image", str(moved), "--resume", str(run), "--steps", "6"]) == 0
    capsys.readouterr()
    config = json.loads((run / "config.json").read_text())
    assert config["signal"]["path"] == str(moved)
    assert "has already done 6" in refused(capsys, *resume, run, "--steps", "5")
    assert "File name too long" in refused(capsys, *resume, "n" * 300)
    wrong = {**config, "settings": {**config["settings"], "steps": "many"}}
    (run / "config.json").write_text(json.dumps(wrong))
    assert "its setting 'steps' is \"many\"" in refused(capsys, *resume, run)
    (run / "config.json").write_text("{}")
    assert "not the config.json of a softmine run" in refused(capsys, *resume, run)
    config["settings"]["color"] = "red"
    (run / "config.json").write_text(json.dumps(config))
    assert "another version" in refused(capsys, *resume, run)
    shutil.rmtree(run)


def test_comparing(picture, tmp_path, capsys):
    compare = ("compare", "image", picture, "--out", tmp_path / "out")
    assert "unknown sampler" in refused(capsys, *compare, "--samplers", "uniform", "evoss")
    assert "twice" in refused(capsys, *compare, "--samplers", "uniform", "uniform")
    error = refused(capsys, *compare, "--samplers", "uniform", "langevin:alpha=-1")
    assert error.startswith("softmine: alpha is -1")
    assert "--seeds is 0" in refused(capsys, *compare, "--seeds", "0")
    assert "--batch-sizes is 0" in refused(capsys, *compare, "--batch-sizes", "0")
    assert not (tmp_path / "out").exists()


def test_commands(capsys):
    assert "did you mean 'softmine fit image'" in refused(capsys, "fti", "image")
    assert "unknown command 'fit volumes'" in refused(capsys, "fit", "volumes")
    assert "there is no folder" in refused(capsys, "report", "/nowhere")
    assert "File name too long" in refused(capsys, "report", "n" * 300)
    assert "at least one folder" in refused(capsys, "report")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stps", "3"], "unknown flag '--stps': did you mean --steps?"),
        (["--samplr=uniform"], "unknown flag '--samplr': did you mean --sampler?"),
        (["--no-snpa"], "did you mean --no-snap?"),
        (["--steps", "many"], "--steps is 'many', but it takes a whole number"),
        (["--seconds=x"], "--seconds is 'x', but it takes a number"),
        (["--resume"], "--resume needs a value"),
        (["--steps", "--seed", "1"], "--steps needs a value"),
        (["one.png", "two.png"], "unexpected 'two.png': give one PATH at most"),
    ],
)
def test_flags_that_do_not_parse(words, message, capsys):
    assert message in refused(capsys, "fit", "image", *words)


def test_help_passes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "image", "--help"])
    assert stop.value.code == 0
    assert "--sampler" in capsys.readouterr().out


def test_the_installed_command_answers_alike(tmp_path):
    command = [sys.executable, "-m", "softmine.cli.main", "fit", "image", "no.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("softmine: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
