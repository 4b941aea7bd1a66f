"""What holds for every kind of signal at the command line."""

import dataclasses
import json
import subprocess
import sys

import pytest

from softmine import tasks
from softmine.cli.main import main
from softmine.errors import SoftmineError
from softmine.tasks import builtin_name

TINY = ["--sampler", "uniform", "--log2-table-size", "8", "--batch-size", "64", "--evaluations", "1"]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_run_on_a_built_in_signal_goes_on(kind, tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["fit", kind, "--out", out, "--steps", "2", *TINY]) == 0
    assert main(["fit", kind, "--resume", out, "--steps", "3"]) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "status.json").read_text())["step"] == 3


@pytest.mark.parametrize("kind", tasks.KINDS)
def test_every_kind_finds_its_built_in_signal_by_name(kind):
    module = tasks.module(kind)
    default = module.read(None, module.Options()).signal
    named = module.read(f"builtin:{default.name}", module.Options()).signal
    assert named.fingerprint == default.fingerprint
    with pytest.raises(SoftmineError, match="no built-in"):
        module.read(f"builtin:{default.name}x", module.Options())


@pytest.mark.parametrize("kind", tasks.KINDS)
def test_the_help_says_what_each_flag_of_a_kind_does(kind, capsys):
    with pytest.raises(SystemExit):
        main(["fit", kind, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in dataclasses.fields(tasks.module(kind).Options):
        _, _, after = shown.partition(f"--{field.name.replace('_', '-')}")
        # A flag's value and its default are given either way; what it does are words between them.
        before_default = after.partition("(default")[0].split()
        assert len(before_default) >= 4, (field.name, before_default)


def test_a_path_names_a_built_in_signal_or_a_file():
    assert builtin_name(None, "knot") == "knot"
    assert builtin_name("builtin:ball", "knot") == "ball"
    assert builtin_name("ball.ply", "knot") is None


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("video", "photo.jpg", "(for an image: softmine fit image)"),
        ("audio", "clip.MP4", "(for a video: softmine fit video)"),
        ("image", "mesh.obj", "(for a shape: softmine fit shape)"),
        ("shape", "mesh.obj", None),
        ("shape", "notes.txt", None),
    ],
)
def test_a_file_of_another_kind_names_its_command(kind, name, hint, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"nothing that is known")
    assert main(["fit", kind, str(tmp_path / name)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith(hint) if hint else "softmine fit" not in said


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "softmine", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("softmine ")
