"""Which device is chosen, and what is said where it is not the one that a machine has."""

import warnings
from pathlib import Path

import pytest
import torch

from softmine import Box, SoftmineError, fit
from softmine.cli.main import main
from softmine.errors import SoftmineWarning, warn_once
from softmine.training import devices

MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021\nGCC version: 9.3.0\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n"
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading and "
    "installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


@pytest.fixture
def _fresh(monkeypatch):
    """Nothing was found out or said yet, torch finds no GPU, and this machine has no driver."""
    for cached in (devices.unused_gpu, warn_once):
        cached.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "DRIVER_FILE", Path("/no/such/file"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield
    for cached in (devices.unused_gpu, warn_once):
        cached.cache_clear()


@pytest.fixture
def driver(_fresh, tmp_path, monkeypatch):
    file = tmp_path / "version"
    file.write_text(MODULE)
    monkeypatch.setattr(devices, "DRIVER_FILE", file)
    return file


def say_that_cuda_fails(monkeypatch, message):
    def init():
        raise RuntimeError(message)

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)


@pytest.mark.usefixtures("_fresh")
def test_without_a_gpu_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert devices.choose("auto") == torch.device("cpu")


@pytest.mark.parametrize(("text", "version"), [(MODULE, "470.82.01"), (OPEN, "580.65.06")])
def test_the_drivers_version_is_read(driver, text, version):
    driver.write_text(text)
    assert devices.nvidia_driver() == version


@pytest.mark.usefixtures("_fresh")
def test_the_drivers_version_is_asked_for_where_no_file_has_it(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 551.61\necho 551.61\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.nvidia_driver() == "551.61"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert devices.nvidia_driver() == ""


@pytest.mark.usefixtures("driver")
def test_an_old_driver_means_no_silent_training_on_the_cpu(monkeypatch):
    say_that_cuda_fails(monkeypatch, TOO_OLD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.warns(SoftmineWarning) as said:
        assert devices.choose("auto") == torch.device("cpu")
    (message,) = [str(each.message) for each in said]
    assert message == (
        f"the CPU is used: this machine has the NVIDIA driver 470.82.01, but torch {torch.__version__} needs a newer one for "
        "CUDA 13.0 (The NVIDIA driver on your system is too old (found version 11040)): update it, or install a build of torch "
        "for an older CUDA"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert devices.choose("auto") == torch.device("cpu"), "once is enough"
        assert devices.choose("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("cuda", "environment", "words"),
    [
        (None, {}, "is a build for CPUs: install one for CUDA"),
        ("13.0", {"CUDA_VISIBLE_DEVICES": ""}, "while the environment variable CUDA_VISIBLE_DEVICES is ''"),
        ("13.0", {}, "sees no GPU (No CUDA GPUs are available)"),
    ],
)
def test_the_reason_is_said(cuda, environment, words, monkeypatch):
    say_that_cuda_fails(monkeypatch, "No CUDA GPUs are available")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(SoftmineWarning) as said:
        devices.choose("auto")
    assert words in str(said[0].message)
    with pytest.raises(SoftmineError) as error:
        devices.choose("cuda")
    assert words in str(error.value)
    assert "470.82.01" in str(error.value)


@pytest.mark.usefixtures("driver")
def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    say_that_cuda_fails(monkeypatch, TOO_OLD)
    out = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        words = [
            "--out",
            str(out),
            "--steps",
            "1",
            "--batch-size",
            "16",
            "--log2-table-size",
            "8",
            "--evaluations",
            "1",
        ]
        assert main(["fit", "image", *words]) == 0
    told = capsys.readouterr()
    (line,) = [line for line in told.err.splitlines() if "NVIDIA" in line]
    assert line.startswith("softmine: the CPU is used: this machine has the NVIDIA driver 470.82.01")
    assert "on cpu" in told.out


def test_fit_says_where_it_trained():
    fitted = fit(
        "siren",
        lambda coords: coords,
        domain=Box((8, 8)),
        steps=1,
        batch_size=4,
        device="cpu",
        sampler="uniform",
    )
    assert fitted.device == torch.device("cpu")
