import pytest
import torch

from softmine import HashGridField, Image, SoftmineError, Uniform, Volume
from softmine.optim import SCHEDULES, ConstantSchedule, CosineSchedule, cosine_decay
from softmine.optim.row_adam import GROWTH
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer

from helpers import unchecked_types


def optimizer_of(*rates):
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in rates])


def rates_of(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def test_the_learning_rate_decays_from_one_to_its_end():
    rates = [cosine_decay(p / 10, final=0.1) for p in range(11)]
    assert rates[0] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_a_constant_schedule_keeps_the_rate():
    assert {ConstantSchedule(optimizer_of(1.0)).factor(p / 10) for p in range(11)} == {1.0}


def test_groups_that_share_a_rate_share_it_on():
    shared = torch.tensor(1e-2)
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=shared)
    schedule = CosineSchedule(optimizer, steps=4)
    schedule.step()
    assert all(group["lr"] is shared for group in optimizer.param_groups)
    assert float(shared) == pytest.approx(1e-2 * cosine_decay(0.25))


def test_steps_are_counted():
    optimizer = optimizer_of(1e-2, 3.0)
    schedule = CosineSchedule(optimizer, steps=4)
    for step in range(1, 7):
        schedule.step()
        factor = cosine_decay(min(1.0, step / 4))
        assert rates_of(optimizer) == [1e-2 * factor, 3.0 * factor]


@pytest.mark.parametrize("name", SCHEDULES)
def test_progress_may_be_given(name):
    optimizer = optimizer_of(2.0)
    schedule = SCHEDULES[name](optimizer)
    for progress in (0.0, 0.3, 1.0):
        schedule.step(progress)
        assert rates_of(optimizer) == [2.0 * schedule.factor(progress)]


def test_a_rate_in_a_tensor_is_changed_in_place():
    rate = torch.tensor(1.0)
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=rate)
    CosineSchedule(optimizer, steps=2).step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(cosine_decay(0.5))


def test_a_schedule_resumes():
    optimizer = optimizer_of(1.0)
    schedule = CosineSchedule(optimizer, steps=10)
    for _ in range(4):
        schedule.step()
    other = optimizer_of(1.0)
    resumed = CosineSchedule(other, steps=10)
    resumed.load_state_dict(schedule.state_dict())
    other.load_state_dict(optimizer.state_dict())
    assert rates_of(other) == rates_of(optimizer)
    schedule.step()
    resumed.step()
    assert rates_of(other) == rates_of(optimizer)
    # Made anew beside a resumed optimizer, it starts from the first rate, not from the decayed one.
    CosineSchedule(other, steps=10).step(0.0)
    assert rates_of(other) == [1.0]


def test_what_is_missing_is_named():
    with pytest.raises(SoftmineError, match="steps is 0"):
        CosineSchedule(optimizer_of(1.0), steps=0)
    with pytest.raises(SoftmineError, match="steps=N"):
        CosineSchedule(optimizer_of(1.0)).step()


@pytest.mark.parametrize("snap", [True, False])
@pytest.mark.parametrize("signal", [Image(torch.rand(30, 40, 1)), Volume(torch.rand(9, 10, 11))])
def test_a_trainer_sets_rate_and_momentum_of_every_step(signal, snap):
    torch.manual_seed(0)
    field = HashGridField(signal.domain.dim, 1, levels=6, base_resolution=4, finest_resolution=64)
    trainer = Trainer(
        field,
        signal,
        Uniform(signal.domain, 2048, seed=0),
        budget=Budget(steps=10 * GROWTH),
        learning_rate=1e-2,
        device=torch.device("cpu"),
        snap=snap,
    )
    of_table, of_network = trainer.optimizer.param_groups
    assert 0 < of_table["momentum_rows"] < len(of_table["params"][0])
    seen = []

    def pause():
        if trainer.step:  # what was set for the step before
            seen.append([(group["lr"], group["betas"]) for group in (of_table, of_network)])
        return trainer.step >= 4 * GROWTH

    trainer.advance(pause)
    wanted = [
        (1e-2 * cosine_decay(step / (10 * GROWTH)), (1 - 1 / max(step // GROWTH, 1), 0.99))
        for step in range(4 * GROWTH)
    ]
    assert seen == [[pair] * 2 for pair in wanted]


def test_a_group_that_was_added_later_decays_from_its_own_rate():
    optimizer = torch.optim.Adam(torch.nn.Linear(2, 2).parameters(), lr=1e-2)
    schedule = CosineSchedule(optimizer, steps=10)
    optimizer.add_param_group({"params": torch.nn.Linear(2, 2).parameters(), "lr": 1e-3})
    schedule.step(progress=1.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-4, 5e-5])


@pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan"), "half"])
def test_a_progress_that_is_no_share_is_named(progress):
    with unchecked_types(), pytest.raises(SoftmineError, match="progress is"):
        CosineSchedule(optimizer_of(1.0)).step(progress)


@pytest.mark.parametrize("final", [float("nan"), float("inf"), -1, 5, "x"])
def test_an_end_that_is_no_share_is_named(final):
    with unchecked_types(), pytest.raises(SoftmineError, match="final is"):
        CosineSchedule(optimizer_of(1.0), steps=3, final=final)


def test_a_schedule_without_an_optimizer_says_what_it_needs():
    with unchecked_types(), pytest.raises(SoftmineError, match=r"needs a torch\.optim\.Optimizer"):
        CosineSchedule(None, steps=3)
