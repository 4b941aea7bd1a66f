"""The loop that every run shares."""

import torch
from torch import nn

from softmine import Box, Uniform
from softmine.training.budget import Budget
from softmine.training.build import build_trainer
from softmine.training.loop import evaluate_now, train_and_evaluate
from softmine.training.user_signal import UserSignal

CPU = torch.device("cpu")


def trainer_of(steps):
    box = Box((8, 8))
    signal = UserSignal(lambda coords: coords.sum(-1, keepdim=True), box, CPU)
    sampler = Uniform(box, 8, seed=0)
    return build_trainer(
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
