"""No memory, no room, no permission: one sentence, exit code 2, and a status that says so."""

import json

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from softmine.cli.main import main
from softmine.runs import checkpoint
from softmine.training.trainer import Trainer

MEMORY = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


@pytest.fixture(autouse=True, scope="module")
def compiled_before(tmp_path_factory):
    """What is told once of compiling is not in what is counted, whichever test is the first."""
    fit(tmp_path_factory.mktemp("compiled"))


def fit(tmp_path):
    np.save(tmp_path / "picture.npy", np.random.default_rng(0).random((8, 8)).astype(np.float32))
    words = ["--log2-table-size", "8", "--batch-size", "64", "--steps", "6", "--evaluations", "1"]
    return main(["fit", "image", str(tmp_path / "picture.npy"), "--out", str(tmp_path / "run"), *words])


def failing(error):
    def function(*arguments, **options):
        raise error

    return function


def failing_step(error):
    """A training step that fails after the few that warm up, which come before there is a folder."""

    def train_step(trainer):
        if trainer.step >= 4:
            raise error
        step(trainer)

    step = Trainer._train_step
    return train_step


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "out of memory"),
        (RuntimeError(MEMORY), "out of memory"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "/data/x"), "cannot use /data/x: no space left"),
    ],
)
def test_in_training(tmp_path, capsys, monkeypatch, error, message):
    monkeypatch.setattr(Trainer, "_train_step", failing_step(error))
    assert fit(tmp_path) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("softmine: ")
    assert printed.count("\n") == 1
    assert message in printed
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert message in status["message"]


def test_a_full_disk_names_the_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_file", failing(OSError(28, "No space left on device")))
    assert fit(tmp_path) == 2
    assert "step-00000001.safetensors: No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(checkpoint, "save_file", failing(SafetensorError("Error: StorageFull")))
    assert main(["fit", "image", "--resume", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert "cannot write the checkpoint" in printed
    assert "StorageFull" in printed


def test_before_there_is_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Trainer, "__init__", failing(RuntimeError(MEMORY)))
    assert fit(tmp_path) == 2
    assert "out of memory: choose a smaller" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_bug_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_train_step", failing_step(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["message"]) == ("failed", "ZeroDivisionError: a bug")
