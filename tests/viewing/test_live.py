"""Training in slices: pictures in between, off the clock, and nothing learned differently."""

import time

import torch
from torch import nn

from softmine.sampling import Uniform
from softmine.signals import Image
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer
from softmine.viewing.live import train_in_slices


def trainer_of(steps):
    torch.manual_seed(0)
    signal = Image.builtin("astronaut")
    return Trainer(
        nn.Linear(2, signal.channels),
        signal,
        Uniform(signal.domain, 8, seed=0),
        budget=Budget(steps),
        learning_rate=0.1,
        device=torch.device("cpu"),
    )


def test_slices_change_nothing_of_what_is_learned():
    plain, sliced, between = trainer_of(40), trainer_of(40), []
    plain.advance(lambda: False)
    train_in_slices(sliced, lambda: between.append(sliced.step), seconds=1e-9)
    sliced.advance(lambda: False)
    assert sliced.step == 40
    assert between == list(range(1, 41))
    torch.testing.assert_close(sliced.field.weight, plain.field.weight, rtol=0, atol=0)


def test_what_happens_in_between_is_not_on_the_clock():
    trainer = trainer_of(3)
    train_in_slices(trainer, lambda: time.sleep(0.3), seconds=1e-9)
    started = time.perf_counter()
    trainer.advance(lambda: False)
    assert time.perf_counter() - started >= 0.9
    assert trainer.clock.seconds <= time.perf_counter() - started - 0.9


def test_the_loops_own_pauses_still_count():
    trainer, between = trainer_of(40), []
    train_in_slices(trainer, lambda: between.append(trainer.step), seconds=100.0)
    trainer.advance(lambda: trainer.step >= 10)
    assert trainer.step == 10
    assert between == [10]
