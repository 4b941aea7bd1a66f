"""Training in slices: pictures in between, off the clock, and nothing learned differently."""

import threading
import time

import numpy as np
import torch
from torch import nn

from softmine.runs.run_folder import RunFolder
from softmine.sampling import Uniform
from softmine.signals import Image
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer
from softmine.viewing import live as module
from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.frames import Frame
from softmine.viewing.live import Live, train_in_slices
from softmine.viewing.requests import Requests
from softmine.viewing.server import Page
from softmine.viewing.view import View


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


class Painted(View):
    """A view that notes what it is asked."""

    def __init__(self, trainer):
        self.trainer, self.steps, self.states = trainer, [], []
        self.status = self

    def paint(self, look, side, stop):
        self.steps.append(self.trainer.step)
        return Frame(np.zeros((2, 2, 3), np.uint8))

    def renew(self, snapshot=None):
        pass

    def show(self, status):
        self.states.append(status.state)


def until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_a_pause_stops_training_but_not_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RENEW", 0.0)
    trainer, requests = trainer_of(10**9), Requests(resolution=64)
    view, stop = Painted(trainer), threading.Event()
    with Page("127.0.0.1", 0, "test", requests) as page:
        live = Live(page, view, trainer, RunFolder(tmp_path, {}), stop.is_set)
        train_in_slices(trainer, live.between, seconds=1e-9)
        requests.look(0, BrowserCamera((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, 1.0))
        trainer.advance(lambda: len(view.steps) >= 3)
        assert view.steps[-1] > view.steps[0]
        assert view.states[-1] == "training"
        live.pause(True)
        first = trainer.step
        worker = threading.Thread(target=lambda: trainer.advance(stop.is_set))
        worker.start()
        try:
            # It pauses after a slice, which is one step here.
            until(lambda: trainer.step > first and requests.next() is None)
            before, painted = trainer.step, len(view.steps)
            requests.look(0, BrowserCamera((1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, 1.0))
            until(lambda: len(view.steps) > painted)
            assert trainer.step == before
            assert view.states[-1] == "paused"
            live.pause(False)
            until(lambda: trainer.step > before + 5)
        finally:
            stop.set()
            worker.join(30)
        live.close()
        assert requests.patience == float("inf")
