"""Which steps are timed where not all are."""

import pytest
import torch

from softmine.training.timing import StepTimer


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
    timer = StepTimer(torch.device("cuda"))
    while len(steps) < 17 * 160:
        for _ in range(7):
            timer.mark()
        steps.append("done")
    timer.read()
    slow = sum(duration > 6 for duration in timer.step_ms)
    assert (slow, len(timer.step_ms)) == (160 // period, 160)
