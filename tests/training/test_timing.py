"""Which steps are timed where not all are."""

import pytest
import torch

from softmine.training.timing import AHEAD, Pace, StepTimer


@pytest.mark.parametrize("period", [2, 4, 8, 10, 16, 32])
def test_what_a_sampler_does_every_few_steps_is_in_its_share_of_the_steps_timed_on_a_gpu(monkeypatch, period):
    steps = []

    class Event:
        """Of a GPU on which every ``period``-th step takes nine milliseconds a mark, and the others one."""

        def __init__(self, enable_timing):
            self.duration = 9.0 if len(steps) % period == 0 else 1.0

        def record(self, stream):
            assert stream == "of the device"

        def elapsed_time(self, end):
            return self.duration

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "of the device")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    timer = StepTimer(torch.device("cuda"))
    while len(steps) < 17 * 160:
        for _ in range(7):
            timer.mark()
        steps.append("done")
    timer.read()
    slow = sum(duration > 6 for duration in timer.step_ms)
    assert (slow, len(timer.step_ms)) == (160 // period, 160)


def test_the_host_stays_a_few_steps_ahead_of_a_gpu(monkeypatch):
    started, done, ahead = [], [0], []

    class Event:
        """Comes to pass when the host waits for it."""

        def record(self, stream):
            self.step = len(started)

        def synchronize(self):
            done[0] = self.step

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "of the device")
    pace = Pace(torch.device("cuda"))
    for _ in range(20 * AHEAD):
        started.append("step")
        pace.step()
        ahead.append(len(started) - done[0])
    assert max(ahead) < 2 * AHEAD
    # The device always has some to do.
    assert min(ahead[2 * AHEAD :]) >= AHEAD
