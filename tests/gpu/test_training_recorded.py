"""What the commands and ``softmine.fit`` train by replays of a recorded step, on a fake GPU: the same as by eager steps."""

import gc
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gpu.fake_gpu import FakeGpu
from gpu.recording import FreedMemory
from gpu.test_radiance import field_of as radiance_field_of
from gpu.test_radiance import task_of
from gpu.training import field_of, image_of, trainer_of
from softmine import Box, Image, Shape, Uniform, errors, fit
from softmine.errors import SoftmineWarning
from softmine.radiance import bounded_rays
from softmine.registry import create
from softmine.runs import checkpoint
from softmine.training.budget import Budget
from softmine.training.trainer import Diverged, Trainer

SAMPLERS = ("uniform", "shuffled", "auto", "langevin")
OTHERS = (
    *("error-map", "edges:drawing=error-diffusion", "resampling", "quota-map", "langevin-published-code"),
    "uniform:stratified=True",
)
MOST_LAUNCHES = 7
"""Beside replays: the learning rate, and the record of samples, one step in four."""


@pytest.fixture(autouse=True)
def warned_anew():
    errors.warn_once.cache_clear()


def made(name, *, record=True, memory=2):
    """A trainer whose momentum grows for ten steps only."""
    trainer = trainer_of(name)
    for group in trainer.optimizer.param_groups:
        group["memory"] = memory
    if not record:
        trainer._captured = None
    return trainer


def state_of(trainer):
    found = {"loss": trainer.loss, **trainer.field.state_dict()}
    found |= {f"sampler.{name}": value for name, value in trainer.sampler.state_dict().items()}
    found |= {f"record.{name}": value for name, value in trainer.record.state().items()}
    for number, state in trainer.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    return {name: value.cpu().clone() for name, value in found.items() if isinstance(value, torch.Tensor)}


def assert_alike(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def check_equal(name, steps=36):
    found = []
    for record in (False, True):
        with FakeGpu():
            trainer = made(name, record=record)
            trainer.advance(lambda: trainer.step >= steps)  # noqa: B023
            found.append((state_of(trainer), trainer.sampler.updates, trainer.optimizer.param_groups))
            captured = trainer._captured
    assert captured.replayed
    assert captured._graph.replays > 10
    (eager, _, groups), (recorded, updates, other_groups) = found
    assert_alike(recorded, eager)
    assert updates == steps
    for group, other in zip(groups, other_groups, strict=True):
        assert (group["steps"], group["betas"]) == (other["steps"], other["betas"])


@pytest.mark.parametrize("name", SAMPLERS)
def test_replayed_training_equals_eager_training(name):
    check_equal(name)


@pytest.mark.long
@pytest.mark.parametrize("name", OTHERS)
def test_replayed_training_equals_eager_training_of_others(name):
    check_equal(name)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_replayed_step_never_waits_and_launches_little(name):
    with FakeGpu() as gpu:
        trainer = made(name, memory=None)
        with trainer.clock:
            # By then the refresh is recorded too.
            for _ in range(40):
                trainer._train_step()
            gpu.reset()
            for _ in range(16):
                trainer._train_step()
                assert trainer._captured.replayed
            assert not gpu.waits, gpu.report(16)
            assert sum(gpu.launches.values()) / 16 <= MOST_LAUNCHES, gpu.report(16)


def radiance_of(monkeypatch, kind, record, steps):
    task = task_of(kind)
    monkeypatch.setattr(bounded_rays, "FIRST_LOOK", 8)
    with FakeGpu() as gpu:
        task.signal.to("cuda")
        field, sampler = (
            radiance_field_of(task, monkeypatch),
            create("uniform", task.signal.domain, 32, seed=0),
        )
        options = {"budget": Budget(steps=1000), "learning_rate": 1e-2, "device": torch.device("cuda")}
        trainer = Trainer(field, task.signal, sampler, snap=True, **options)
        for group in trainer.optimizer.param_groups:
            group["memory"] = None
        if not record:
            trainer._captured = None
        rooms, waits = [], 0
        with trainer.clock:
            for _ in range(steps):
                before = gpu.waits.total()
                trainer._train_step()
                if record and trainer._captured.replayed:
                    waits += gpu.waits.total() - before
                rooms.append(getattr(field.field.rays, "capacity", None))
        replays = trainer._captured._graph.replays if record else 0
        return state_of(trainer), rooms, waits, replays


@pytest.mark.parametrize("kind", ["box", "unbounded"])
def test_replayed_radiance_equals_eager(kind, monkeypatch):
    steps = 44 if kind == "box" else 8
    eager, rooms, _, _ = radiance_of(monkeypatch, kind, False, steps)
    recorded, same, waits, replays = radiance_of(monkeypatch, kind, True, steps)
    assert same == rooms
    if kind == "box":
        # It changed after the step was recorded, and again recorded.
        assert len(set(rooms[3:])) > 1
    assert replays
    assert not waits
    assert_alike(recorded, eager)


def test_a_run_is_resumed_exactly(tmp_path):
    with FakeGpu():
        whole = made("auto")
        whole.advance(lambda: whole.step >= 40)
        first = made("auto")
        first.advance(lambda: first.step >= 21)
        assert first._captured.replayed
        path = tmp_path / "c.safetensors"
        checkpoint.save(path, first)
        second = made("auto")
        checkpoint.load(path, second)
        second.advance(lambda: second.step >= 40)
        assert second._captured.replayed
        assert second.samples == whole.samples
        assert_alike(state_of(second), state_of(whole))


def test_a_checkpoint_loaded_after_a_recording_is_trained_on(tmp_path):
    """The optimizer's state lies elsewhere then: a graph would use memory that is gone."""
    with FakeGpu():
        trainer = made("uniform", memory=None)
        trainer.advance(lambda: trainer.step >= 8)
        path = tmp_path / "c.safetensors"
        checkpoint.save(path, trainer)
        trainer.advance(lambda: trainer.step >= 20)
        wanted, old = state_of(trainer), trainer._captured._graph
        checkpoint.load(path, trainer)
        trainer.advance(lambda: trainer.step >= 20)
        assert_alike(state_of(trainer), wanted)
        gc.collect()
        with pytest.raises(FreedMemory):
            old.replay()


def test_a_checkpoint_keeps_the_rate_as_a_number(tmp_path):
    from safetensors import safe_open

    with FakeGpu():
        trainer = made("uniform")
        trainer.advance(lambda: trainer.step >= 3)
        checkpoint.save(tmp_path / "c.safetensors", trainer)
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        checkpoint.load(tmp_path / "c.safetensors", trainer)
        assert all(
            group["lr"] is rate for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True)
        )
    with safe_open(tmp_path / "c.safetensors", framework="pt") as file:
        groups = json.loads(file.metadata()["softmine"])["optimizer"]
    assert all(isinstance(group["lr"], float) for group in groups)


def test_a_loss_that_is_not_finite_is_found_where_it_was():
    with FakeGpu():
        trainer = made("uniform", memory=None)
        trainer.advance(lambda: trainer.step >= 10)
        assert trainer._captured.replayed
        with torch.no_grad():
            trainer.field.encoding.table.fill_(torch.nan)
        with pytest.raises(Diverged) as error:
            trainer.advance(lambda: trainer.step >= 14)
        assert error.value.step == 11


def test_replays_are_timed_as_a_whole():
    with FakeGpu():
        trainer = made("uniform", memory=None)
        trainer.advance(lambda: trainer.step >= 3)
        assert trainer.timer.medians()[1] is not None
        trainer.advance(lambda: trainer.step >= 40)
        # Steps 17 and 34; each event of the fake GPU takes a millisecond.
        assert list(trainer.timer.step_ms) == [1.0, 1.0]
        assert trainer.timer.medians() == (1.0, None)


def refused(train):
    """Warnings that say why a step is not recorded."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        train()
    return [str(item.message) for item in seen if issubclass(item.category, SoftmineWarning)]


def test_a_signal_on_the_cpu_is_trained_eagerly_and_said_so_once():
    shape = Shape.builtin("ball")

    def train():
        sampler = Uniform(shape.domain, 32, seed=0)
        options = {"budget": Budget(steps=99), "learning_rate": 1e-2, "device": torch.device("cuda")}
        trainer = Trainer(field_of(3, 1), shape, sampler, **options)
        trainer.advance(lambda: trainer.step >= 8)
        assert trainer._captured.refusal
        assert not trainer._captured.replayed

    with FakeGpu():
        shape.to("cuda")
        (said,) = refused(lambda: (train(), train()))
    assert "the host waits for the GPU" in said


def test_a_sampler_that_passes_over_the_signal_is_trained_eagerly():
    with FakeGpu():
        (said,) = refused(lambda: trainer_of("evos").advance(lambda: True))
    assert "EVOS" in said


class Counting(nn.Module):
    """A field that goes by a number of the host."""

    def __init__(self):
        super().__init__()
        self.field, self.calls = field_of(), 0

    def forward(self, coords):
        self.calls += 1
        return self.field(coords) * min(1.0, self.calls / 10)


def test_a_field_of_unknown_kind_is_trained_eagerly():
    field = Counting()
    with FakeGpu():
        (said,) = refused(lambda: fit(field, image_of(), "uniform", steps=9, batch_size=16, device="cuda"))
    assert "Counting" in said
    assert "recordable = True" in said
    assert field.calls >= 9


def test_a_field_that_may_be_recorded_is():
    field = Counting()
    field.recordable = True
    with FakeGpu():
        assert not refused(lambda: fit(field, image_of(), "uniform", steps=20, batch_size=16, device="cuda"))
    assert field.calls < 20


def test_an_image_that_stays_in_its_file_is_trained_eagerly(tmp_path):
    path = tmp_path / "large.npy"
    np.save(path, np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    image = Image.read(path, in_memory=False)

    def train():
        options = {"budget": Budget(steps=99), "learning_rate": 1e-2, "device": torch.device("cuda")}
        trainer = Trainer(field_of(), image, Uniform(image.domain, 32, seed=0), snap=True, **options)
        trainer.advance(lambda: trainer.step >= 6)
        assert not trainer._captured.replayed

    with FakeGpu():
        image.to("cuda")
        (said,) = refused(train)
    assert "the host waits for the GPU" in said


def test_fit_records():
    def waves(coords):
        return (7 * coords).sin()

    with FakeGpu() as gpu:
        assert not refused(
            lambda: fit(
                "hashgrid",
                waves,
                domain=Box((20, 30)),
                sampler="uniform",
                steps=12,
                batch_size=32,
                device="cuda",
            )
        )
        # Three eager steps and one recorded.
        assert gpu.launches["triton encode"] < 8
