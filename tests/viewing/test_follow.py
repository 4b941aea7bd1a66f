"""A run folder that is written to while it is looked at."""

import json

import pytest
import torch
from torch import nn

from softmine import SoftmineError
from softmine.runs import checkpoint
from softmine.runs.run_folder import RunFolder
from softmine.sampling import Uniform
from softmine.signals import Image
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer
from softmine.viewing.follow import Follower
from softmine.viewing.view import Status, words

CONFIG = {"schema": 1, "settings": {}, "signal": {"name": "n", "fingerprint": "f", "path": None}}


def trainer_at(step):
    torch.manual_seed(step)
    signal = Image.builtin("astronaut")
    field = nn.Linear(2, signal.channels)
    trainer = Trainer(
        field,
        signal,
        Uniform(signal.domain, 8, seed=0),
        budget=Budget(1000),
        learning_rate=0.1,
        device=torch.device("cpu"),
    )
    trainer.advance(lambda: trainer.step >= 1)
    trainer.step = step
    return trainer


def save(run, step):
    trainer = trainer_at(step)
    checkpoint.save(run.checkpoint_path(step), trainer)
    return trainer


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run", CONFIG)


def test_the_newest_checkpoint_is_taken_up_once(run):
    field = nn.Linear(2, 3)
    follower = Follower(run, field=field)
    assert not follower.refresh()
    save(run, 5)
    assert follower.refresh()
    assert not follower.refresh()
    last = save(run, 10)
    assert follower.refresh()
    assert follower.snapshot.step == 10
    torch.testing.assert_close(field.weight, last.field.weight)
    run.checkpoint_path(5).unlink()
    assert not follower.refresh()


def test_one_that_vanishes_in_between_is_no_error(run, monkeypatch):
    save(run, 5)
    follower = Follower(run, field=nn.Linear(2, 3))
    found = run.checkpoints
    run.checkpoint_path(5).unlink()
    monkeypatch.setattr(RunFolder, "checkpoints", found)
    assert not follower.refresh()


def test_a_damaged_one_is_named(run):
    run.checkpoint_path(7).write_bytes(b"not a checkpoint")
    with pytest.raises(SoftmineError, match=r"step-00000007\.safetensors cannot be read"):
        Follower(run, field=nn.Linear(2, 3)).check()


def test_one_of_another_field_is_refused(run):
    save(run, 5)
    with pytest.raises(SoftmineError, match="does not fit this run"):
        Follower(run, field=nn.Linear(7, 3)).refresh()


def test_a_run_that_ended_with_nothing_is_refused_and_one_that_has_just_begun_is_not(run):
    follower = Follower(run, field=nn.Linear(2, 3))
    follower.check()
    assert follower.status() == Status("starting")
    run.set_status("running", 0, 0.0)
    follower.check()
    run.set_status("failed", 0, 0.0)
    with pytest.raises(SoftmineError, match="has no checkpoint yet: train it first"):
        follower.check()


def test_the_status_is_that_of_what_is_shown(run):
    save(run, 5)
    run.set_status("running", 8, 3.0)
    lines = [{"step": step, "seconds": step / 10, "psnr": 20.0 + step, "ssim": None} for step in (4, 8)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.path / "metrics.jsonl").write_text(text + '{"step": 9, "ps')
    follower = Follower(run, field=nn.Linear(2, 3))
    follower.refresh()
    status = follower.status()
    assert (status.state, status.step, status.psnr, status.measured) == ("running", 5, 24.0, 4)
    assert status.curve == [(0.4, 24.0), (0.8, 28.0)]


def test_the_status_in_words():
    assert "as soon as there is a first checkpoint" in words("cat", Status("running"))
    text = words("cat", Status("finished", 1234, 75.0, 31.416, 1200))
    assert "step **1,234** after 1:15" in text
    assert "**31.42 dB** at step 1,200" in text
    assert "at step" not in words("cat", Status("finished", 7, 1.0, 31.0, 7))
