import numpy as np
import pytest
import torch
from torch import nn

from softmine import Box, HashGridField, Image, Langevin, SoftmineError, Uniform
from softmine.baselines import INT
from softmine.registry import create
from softmine.runs import checkpoint
from softmine.training.budget import Budget
from softmine.training.trainer import Diverged, Trainer, evaluate_now, train_and_evaluate
from softmine.training.user_signal import UserSignal

CPU = torch.device("cpu")
PIXELS = (np.random.default_rng(1).random((24, 20, 3)) * 255).astype(np.uint8)


def make_trainer(sampler=Langevin, steps=40, rate=1e-2, seed=0, field=None):
    torch.manual_seed(seed)
    image = Image(PIXELS)
    field = field or HashGridField(2, 3, levels=4, log2_table_size=8, base_resolution=4, finest_resolution=20)
    return Trainer(
        field,
        image,
        sampler(image.domain, 64, seed=seed),
        budget=Budget(steps=steps),
        learning_rate=rate,
        device=CPU,
    )


def parameters(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.field.parameters()])


@pytest.mark.parametrize("sampler", [Uniform, Langevin])
def test_training_lowers_the_loss(sampler):
    trainer = make_trainer(sampler, steps=400)
    trainer.advance(lambda: trainer.step >= 5)
    before = trainer.loss.item()
    trainer.advance(lambda: False)
    assert trainer.step == 400
    assert trainer.loss.item() < before / 2


def moments(trainer):
    return [
        value
        for state in trainer.optimizer.state_dict()["state"].values()
        for _, value in sorted(state.items())
    ]


@pytest.mark.parametrize("stop", [1, 17, 59, 101])
def test_a_checkpoint_resumes_bit_identically(tmp_path, stop):
    # Long enough for momentum to grow a few times.
    straight = make_trainer(steps=130)
    straight.advance(lambda: False)
    of_table, of_network = straight.optimizer.param_groups
    assert of_table["momentum_rows"] > 0
    assert 0.8 < of_table["betas"][0] <= of_network["betas"][0]
    first = make_trainer(steps=130)
    first.advance(lambda: first.step >= stop)
    checkpoint.save(tmp_path / "a.safetensors", first)
    second = make_trainer(steps=130, seed=5)
    checkpoint.load(tmp_path / "a.safetensors", second)
    assert second.step == stop
    second.advance(lambda: False)
    assert torch.equal(parameters(straight), parameters(second))
    for one, other in zip(moments(straight), moments(second), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(straight.sampler.particles, second.sampler.particles)
    assert torch.equal(straight.record.counts, second.record.counts)


def test_a_checkpoint_of_another_field_is_refused(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", make_trainer())
    other = make_trainer(field=HashGridField(2, 3, levels=5, log2_table_size=8))
    with pytest.raises(SoftmineError, match="does not fit this run"):
        checkpoint.load(tmp_path / "a.safetensors", other)


@pytest.mark.parametrize("keep", [0, 7, 200, -10])
def test_a_damaged_checkpoint_is_named(tmp_path, keep):
    file = tmp_path / "a.safetensors"
    checkpoint.save(file, make_trainer())
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(SoftmineError, match=r"checkpoint .*a\.safetensors cannot be read"):
        checkpoint.load(file, make_trainer())


def test_the_field_alone_can_be_loaded(tmp_path):
    file = tmp_path / "a.safetensors"
    trainer = make_trainer()
    trainer.advance(lambda: trainer.step >= 3)
    checkpoint.save(file, trainer)
    other = make_trainer(seed=5)
    random = torch.get_rng_state()
    checkpoint.load_field(file, other.field)
    assert torch.equal(parameters(trainer), parameters(other))
    assert torch.equal(random, torch.get_rng_state())
    with pytest.raises(SoftmineError, match=r"checkpoint .*a\.safetensors cannot be used: Error"):
        checkpoint.load_field(file, HashGridField(2, 3, levels=5, log2_table_size=8))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SoftmineError, match=r"checkpoint .*a\.safetensors cannot be used: Error"):
        checkpoint.load_field(file, other.field)


def test_a_tied_field_can_be_saved(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(2, 3)
            self.two = self.one

        def forward(self, coords):
            return self.two(coords)

    trainer = make_trainer(field=Tied())
    trainer.advance(lambda: trainer.step >= 3)
    checkpoint.save(tmp_path / "a.safetensors", trainer)
    again = make_trainer(field=Tied(), seed=3)
    checkpoint.load(tmp_path / "a.safetensors", again)
    assert torch.equal(parameters(trainer), parameters(again))


def test_a_diverging_loss_names_its_step():
    class Poisoned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 3)
            self.calls = 0

        def forward(self, coords):
            self.calls += 1
            return self.linear(coords) * (float("nan") if self.calls == 7 else 1.0)

    trainer = make_trainer(Uniform, field=Poisoned())
    with pytest.raises(Diverged, match="NaN or infinite at step 7"):
        trainer.advance(lambda: False)


def test_a_field_without_coordinate_gradient_is_named_at_once():
    class Blind(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 3)

        def forward(self, coords):
            return self.linear(coords.detach())

    class Flat(Image):
        def forward(self, coords):
            return super().forward(coords.detach())

    image = Flat(PIXELS)
    trainer = Trainer(
        Blind(), image, Langevin(Box((24, 20)), 16), budget=Budget(steps=5), learning_rate=1e-3, device=CPU
    )
    with pytest.raises(SoftmineError, match="no gradient reached the drawn coordinates"):
        trainer.advance(lambda: False)


def test_the_clock_counts_training_and_nothing_else():
    trainer = make_trainer(steps=10)
    trainer.advance(lambda: trainer.step >= 5)
    stopped = trainer.clock.seconds
    assert stopped > 0
    torch.randn(500, 500) @ torch.randn(500, 500)
    assert trainer.clock.seconds == stopped
    trainer.advance(lambda: False)
    step_ms, sampler_ms = trainer.timer.medians()
    assert len(trainer.timer.step_ms) == 10
    assert 0 < sampler_ms < step_ms
    assert sum(trainer.timer.step_ms) / 1e3 <= trainer.clock.seconds


def test_the_record_counts_every_fourth_draw():
    trainer = make_trainer(steps=8)
    trainer.advance(lambda: False)
    trainer.record.close(8)
    ((first, last, counts),) = trainer.record.stretches
    assert (first, last) == (0, 8)
    assert counts.sum() == 2 * 64


def test_the_coordinates_trained_on_are_counted_and_resume(tmp_path):
    def growing(domain, batch_size, seed):
        return INT(domain, batch_size, interval="dense", ratio="linear", steps=10)

    trainer = make_trainer(growing, steps=10)
    trainer.advance(lambda: trainer.step >= 6)
    checkpoint.save(tmp_path / "a.safetensors", trainer)
    again = make_trainer(growing, steps=10)
    checkpoint.load(tmp_path / "a.safetensors", again)
    again.advance(lambda: False)
    # 480 cells, 64 of them at first.
    assert again.samples == sum(int(64 + step / 10 * (480 - 64) + 1e-3) for step in range(10))
    plain = make_trainer(steps=10)
    plain.advance(lambda: False)
    assert plain.samples == 10 * 64


@pytest.mark.parametrize("name", ["int:interval=3", "evos:first_interval=5", "nint", "expansive-supervision"])
@pytest.mark.parametrize("stop", [1, 7])
def test_samplers_that_rank_cells_resume_bit_identically(tmp_path, name, stop):
    def make(seed=0):
        image = Image(PIXELS)
        return make_trainer(
            lambda domain, size, seed: create(name, domain, size, seed=seed, edges=image.edges), 12, seed=seed
        )

    straight = make()
    straight.advance(lambda: False)
    first = make()
    first.advance(lambda: first.step >= stop)
    checkpoint.save(tmp_path / "a.safetensors", first)
    second = make(seed=5)
    checkpoint.load(tmp_path / "a.safetensors", second)
    second.advance(lambda: False)
    assert torch.equal(parameters(straight), parameters(second))


def trainer_of(steps):
    box = Box((8, 8))
    signal = UserSignal(lambda coords: coords.sum(-1, keepdim=True), box, CPU)
    sampler = Uniform(box, 8, seed=0)
    return Trainer(
        nn.Linear(2, 1), signal, sampler, budget=Budget(steps=steps), learning_rate=1e-2, device=CPU
    )


def test_points_come_at_the_shares_of_the_budget():
    trainer = trainer_of(20)
    points = list(train_and_evaluate(trainer, [0.1, 0.5, 1.0], lambda field: "measured"))
    assert [(point.step, point.value) for point in points] == [(step, "measured") for step in (2, 10, 20)]
    assert points[-1].loss == trainer.loss.item()
    assert [stretch[:2] for stretch in trainer.record.stretches] == [(0, 2), (2, 10), (10, 20)]


def test_one_step_that_passes_several_shares_is_evaluated_once():
    points = train_and_evaluate(trainer_of(2), [0.1, 0.2, 0.5, 0.9, 1.0], lambda field: None)
    assert [point.step for point in points] == [1, 2]


def test_shares_that_are_spent_are_left_out():
    trainer = trainer_of(10)
    trainer.advance(lambda: trainer.step == 5)
    assert [point.step for point in train_and_evaluate(trainer, [0.2, 0.5, 1.0], lambda field: None)] == [10]


def test_pauses_give_the_caller_its_turn():
    trainer = trainer_of(10)
    turns = train_and_evaluate(trainer, [1.0], lambda field: None, lambda: trainer.step == 4)
    assert next(turns) is None
    assert next(turns) is None
    assert trainer.step == 4
    trainer.step += 1
    assert next(turns).step == 10
    assert list(turns) == []


def test_evaluations_have_no_gradient_and_are_not_timed():
    trainer = trainer_of(3)
    trainer.advance(lambda: False)
    point = evaluate_now(trainer, lambda field: torch.is_grad_enabled())
    assert point.value is False
    assert point.seconds == trainer.clock.seconds
