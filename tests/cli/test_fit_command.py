"""``softmine fit image`` as people run it."""

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

from softmine import Image
from softmine.cli.main import main
from softmine.tasks.image.task import ImageTask
from softmine.training.trainer import Trainer

TINY = ["--log2-table-size", "8", "--batch-size", "64", "--evaluations", "4"]


def fit(picture, out, *more):
    return main(["fit", "image", str(picture), "--out", str(out), *TINY, *more])


def last_checkpoint(run):
    return load_file(sorted((run / "checkpoints").iterdir())[-1])


def check_whole(run):
    """Every file of a run folder can be read."""
    json.loads((run / "config.json").read_text())
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    for file in (run / "images").glob("*.png"):
        Pillow.open(file).load()
    for file in (run / "checkpoints").iterdir():
        load_file(file)


def status(run):
    file = run / "status.json"
    return json.loads(file.read_text()) if file.exists() else {}


def test_a_run_folder_has_everything(picture, tmp_path, capsys):
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "40") == 0
    printed = capsys.readouterr().out
    assert "PSNR and SSIM over all 480 pixels" in printed
    assert "step 40/40" in printed
    assert f"report: {run / 'report.html'}" in printed
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "metrics.jsonl",
        "status.json",
        "report.html",
        "checkpoints/step-00000001.safetensors",
        "checkpoints/step-00000040.safetensors",
        *(f"images/{name}.png" for name in ("target", "reconstruction", "error")),
        *(f"images/samples_{name}.png" for name in ("early", "middle", "late")),
        "images/images.json",
    }
    check_whole(run)
    config = json.loads((run / "config.json").read_text())
    assert config["schema"] == 1
    assert config["seed"] == 0
    assert config["signal"]["shape"] == [20, 24, 3]
    assert len(config["signal"]["fingerprint"]) >= 64
    assert {"softmine", "torch", "numpy", "python"} <= set(config["versions"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines][-1] == 40
    assert lines[-1]["psnr"] > lines[0]["psnr"]
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert list(tmp_path.glob(".*")) == []
    HTMLParser().feed((run / "report.html").read_text())


def test_an_interrupted_and_resumed_run_ends_bit_identical(picture, tmp_path):
    assert fit(picture, tmp_path / "straight", "--steps", "60") == 0
    for sampler in ("uniform", "langevin"):
        straight, broken = tmp_path / f"straight-{sampler}", tmp_path / f"broken-{sampler}"
        assert fit(picture, straight, "--steps", "60", "--sampler", sampler) == 0
        # Same schedule, cut at a checkpoint: as after a kill, later files are gone.
        assert fit(picture, broken, "--steps", "60", "--sampler", sampler, "--checkpoint-every", "0.001") == 0
        kept = sorted((broken / "checkpoints").iterdir())
        kept[-1].unlink()
        (broken / "images" / ".target.png.tmp").touch()
        assert main(["fit", "image", "--resume", str(broken)]) == 0
        one, two = last_checkpoint(straight), last_checkpoint(broken)
        assert one.keys() == two.keys()
        for name in one:
            if name.startswith(("field.", "optimizer.", "sampler.")):
                assert one[name].equal(two[name]), name
        assert not (broken / "images" / ".target.png.tmp").exists()
        steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))


def test_a_finished_run_can_be_extended(picture, tmp_path):
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "20") == 0
    assert main(["fit", "image", "--resume", str(run), "--steps", "30"]) == 0
    assert json.loads((run / "config.json").read_text())["settings"]["steps"] == 30
    assert json.loads((run / "status.json").read_text())["step"] == 30


def test_a_resumed_run_remembers_every_command_and_the_machine_that_went_on(picture, tmp_path):
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "20") == 0
    config = json.loads((run / "config.json").read_text())
    before = {**config, "device": {"name": "Another machine"}, "versions": {"softmine": "0.0.1"}}
    (run / "config.json").write_text(json.dumps(before))
    # The last one finds nothing left to train.
    for steps in ("30", "40", "40"):
        assert main(["fit", "image", "--resume", str(run), "--steps", steps]) == 0
    after = json.loads((run / "config.json").read_text())
    for key in ("command", "device", "versions"):
        assert after[key] == before[key]
    assert after["resumed"] == [
        {
            "command": f"softmine fit image --resume {run} --steps {steps}",
            "device": config["device"],
            "versions": config["versions"],
        }
        for steps in (30, 40)
    ]
    page = (run / "report.html").read_text()
    assert "The same commands repeat the run" in page
    assert page.count("<span>--resume</span>") == 2
    assert f"Another machine, then {config['device']['name']}" in page


@pytest.mark.parametrize(
    ("spent", "more"),
    [(["--seconds", "0.5"], ["--steps", "10000"]), (["--steps", "5"], ["--seconds", "900"])],
)
def test_more_of_one_budget_is_refused_where_the_other_is_spent(picture, tmp_path, capsys, spent, more):
    run = tmp_path / "run"
    assert fit(picture, run, *spent) == 0
    before = {file: file.read_bytes() for file in run.rglob("*.*") if file.is_file()}
    capsys.readouterr()
    assert main(["fit", "image", "--resume", str(run), *more]) == 2
    assert f"has spent its {' '.join(spent)}" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in run.rglob("*.*") if file.is_file()} == before


@pytest.mark.parametrize("less", [["--seconds", "0.01"], ["--steps", "3"]])
def test_less_than_is_spent_is_refused(picture, tmp_path, capsys, less):
    run = tmp_path / "run"
    assert fit(picture, run, "--seconds", "0.5") == 0
    before = {file: file.read_bytes() for file in run.rglob("*.*") if file.is_file()}
    capsys.readouterr()
    assert main(["fit", "image", "--resume", str(run), *less]) == 2
    error = capsys.readouterr().err
    assert f"{' is '.join(less)}, but the run in {run} has already" in error
    assert error.count("\n") == 1
    assert {file: file.read_bytes() for file in run.rglob("*.*") if file.is_file()} == before


def test_ctrl_c_while_pictures_are_written_is_told(picture, tmp_path, capsys, monkeypatch):
    def reconstruct(self, *words, small=False, **more):
        if not small:
            raise KeyboardInterrupt
        return whole(self, *words, small=True, **more)

    whole = ImageTask.reconstruct
    monkeypatch.setattr(ImageTask, "reconstruct", reconstruct)
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "2") == 0
    assert status(run)["state"] == "finished"
    assert "interrupted while it wrote every value" in capsys.readouterr().err
    assert "Interrupted while it wrote every value" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_however_little_time_there_is_one_step_is_made(picture, tmp_path, command):
    run = tmp_path / "run"
    words = TINY if command == "fit" else [*TINY[:2], "--batch-sizes", "64", "--samplers", "uniform"]
    assert main([command, "image", str(picture), "--out", str(run), *words, "--seconds", "1e-9"]) == 0
    steps = [status(run)["step"]] if command == "fit" else [
        one["steps"] for one in json.loads((run / "results.json").read_text())["runs"]
    ]  # fmt: skip
    assert steps == [1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_full_disk_under_the_log_costs_no_run(picture, tmp_path, command):
    run = tmp_path / "run"
    words = TINY if command == "fit" else [*TINY[:2], "--batch-sizes", "64", "--samplers", "uniform"]
    words = [sys.executable, "-m", "softmine.cli.main", command, "image", picture, "--out", run, *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*words, "--steps", "5"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert [line for line in done.stderr.splitlines() if b"compiling kernels" not in line] == []
    assert (run / "report.html").exists()


def test_a_run_that_cannot_be_resumed_stays_as_it_was(picture, tmp_path, capsys):
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "20") == 0
    before = (run / "status.json").read_text()
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert main(["fit", "image", "--resume", str(run), "--steps", "30"]) == 2
    assert (run / "status.json").read_text() == before


def test_ctrl_c_leaves_a_checkpoint_and_a_report(picture, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "softmine.cli.main", "fit", "image", str(picture), "--out", str(run)]
    process = subprocess.Popen(
        [*command, *TINY, "--seconds", "600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not status(run).get("step"):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()
    assert "continue with --resume" in errors.decode()
    assert "Traceback" not in errors.decode()
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    assert "interrupted" in (run / "report.html").read_text()
    check_whole(run)
    step = json.loads((run / "status.json").read_text())["step"]
    assert step > 0
    assert main(["fit", "image", "--resume", str(run), "--steps", str(step + 5)]) == 0


def test_a_diverging_run_keeps_its_last_good_checkpoint(picture, tmp_path, capsys, monkeypatch):
    def train_step(trainer):
        step(trainer)
        if trainer.step == 7:
            with torch.no_grad():
                next(iter(trainer.field.parameters())).fill_(float("nan"))

    step = Trainer._train_step
    monkeypatch.setattr(Trainer, "_train_step", train_step)
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "20") == 1
    error = capsys.readouterr().err
    assert "the loss turned NaN or infinite at step" in error
    assert "start a new run with a lower --learning-rate" in error
    kept = [int(path.stem[5:]) for path in sorted((run / "checkpoints").iterdir())]
    assert kept
    assert kept[-1] < 7
    assert f"the last good checkpoint, step {kept[-1]}, is kept" in error
    assert all(value.isfinite().all() for name, value in last_checkpoint(run).items() if "field" in name)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == kept[-1]
    assert all(line["psnr"] is not None for line in lines)
    assert status(run)["state"] == "stopped-nan"
    assert status(run)["step"] == kept[-1]
    assert (run / "report.html").exists()


def test_one_step_into_nowhere_is_not_finished(picture, tmp_path):
    run = tmp_path / "run"
    assert fit(picture, run, "--steps", "1", "--learning-rate", "1e30") == 1
    assert status(run)["state"] == "stopped-nan"
    assert list((run / "checkpoints").iterdir()) == []


def test_one_step_is_evaluated_once_and_an_exact_fit_is_infinite(tmp_path, capsys):
    np.save(tmp_path / "black.npy", np.zeros((8, 8), np.uint8))
    run = tmp_path / "run"
    assert fit(tmp_path / "black.npy", run, "--steps", "1", "--evaluations", "20") == 0
    assert "PSNR inf dB" in capsys.readouterr().out
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["psnr"] is None
    assert main(["fit", "image", "--resume", str(run)]) == 0


def test_names_are_not_markup_and_streams_print_what_they_can(tmp_path):
    name = os.fsencode(tmp_path) + b"/[bold]\xff\xe9.npy"
    np.save(tmp_path / "plain.npy", np.zeros((4, 4), np.uint8))
    os.rename(tmp_path / "plain.npy", name)  # noqa: PTH104
    run = tmp_path / "[red]run"
    command = [
        sys.executable,
        "-m",
        "softmine.cli.main",
        "fit",
        "image",
        name,
        "--out",
        run,
        *TINY,
        "--steps",
        "2",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert b"[bold]" in done.stdout
    assert b"[red]run/report.html" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end differently there")
def test_a_reader_that_leaves_does_not_end_training(picture, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "softmine.cli.main", "fit", "image", picture, "--out", run, *TINY]
    process = subprocess.Popen([*command, "--steps", "5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 0, errors.decode()
    assert errors == b""
    assert status(run)["state"] == "finished"
    process.stderr.close()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2), (200, 1)])
def test_tiny_pictures_are_fitted(tmp_path, shape):
    np.save(tmp_path / "tiny.npy", np.full(shape, 7, np.uint8))
    assert fit(tmp_path / "tiny.npy", tmp_path / "run", "--steps", "5") == 0


def test_a_16_bit_picture_comes_back_in_16_bits(tmp_path):
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 65535, (20, 24), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", pixels)
    assert fit(tmp_path / "deep.tif", tmp_path / "run", "--steps", "5") == 0
    back = tifffile.imread(tmp_path / "run" / "images" / "reconstruction.tif")
    assert back.dtype == np.uint16
    assert back.shape == pixels.shape


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("rows", [4, 20])
def test_the_reconstruction_of_any_channels_can_be_read_again(tmp_path, rows, channels):
    pixels = np.random.default_rng(0).random((rows, 24, channels)).astype(np.float32)
    np.save(tmp_path / "picture.npy", pixels)
    assert fit(tmp_path / "picture.npy", tmp_path / "run", "--steps", "5") == 0
    back = Image.read(tmp_path / "run" / "images" / "reconstruction.tif")
    assert back.shape == pixels.shape


def test_without_a_path_a_built_in_picture_is_fitted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "image", "--steps", "2", *TINY]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("astronaut-auto-")
    assert "512 x 512 RGB" in capsys.readouterr().out
