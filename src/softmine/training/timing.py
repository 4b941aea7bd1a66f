"""The training clock: draw, forward, backward, optimizer and update; never evaluation or files."""

from __future__ import annotations

import itertools
import statistics
import time
from array import array
from collections import deque
from typing import Any

import torch

from softmine.training.devices import synchronize

EVERY = 17
"""On a GPU one step in so many is timed: a prime, so that what a sampler does every few steps is not in all of them."""
MARKS = 7
"""Of a step."""
AHEAD = 16
"""Steps."""


class StepTimer:
    """Times whole steps and the sampler's part of them.

    On a CPU every step is timed. On a GPU, where the host runs ahead, one step in seventeen is timed by events
    that are read when the clock stops, so that no step waits for the device. Of a replayed CUDA graph only the whole is timed:
    from the first one on, only replays count.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.on_gpu = device, device.type == "cuda"
        self.step_ms, self.sampler_ms = array("d"), array("d")
        self._marks: list = []
        self._replays: list = []
        self._count = 0

    def start_replay(self) -> Any:
        """The beginning of a step that may be a replay, for ``end_replay``; None if it is not to be timed."""
        return self._event() if self._count // MARKS % EVERY == 0 else None

    def end_replay(self, start: Any) -> None:
        """The end of a step that was a replay."""
        self._count += MARKS
        if start is not None:
            self._replays.append((start, self._event()))

    def mark(self) -> None:
        """Notes the time, seven times a step: before draw, after it, around weigh, around update, and at the end."""
        if self.on_gpu and torch.cuda.is_current_stream_capturing():
            return
        step = self._count // MARKS
        self._count += 1
        if not self.on_gpu:
            self._marks.append(time.perf_counter())
            if len(self._marks) == MARKS:
                self.read()
        elif step % EVERY == 0:
            self._marks.append(self._event())

    def read(self) -> None:
        """Turns the marks of whole steps into durations; on a GPU call it after synchronizing."""
        for first in range(0, len(self._marks), MARKS):
            marks = self._marks[first : first + MARKS]
            spans = [_milliseconds(a, b) for a, b in itertools.pairwise(marks)]
            self.step_ms.append(sum(spans))
            self.sampler_ms.append(spans[0] + spans[2] + spans[4])
        self._marks = []
        if self._replays and self.sampler_ms:
            self.step_ms, self.sampler_ms = array("d"), array("d")
        self.step_ms.extend(_milliseconds(*pair) for pair in self._replays)
        self._replays = []

    def _event(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def medians(self) -> tuple[float | None, float | None]:
        """Median milliseconds of a step and of the sampler in it; None before the first step, and where it is not told apart."""
        step, sampler = (
            statistics.median(each) if each else None for each in (self.step_ms, self.sampler_ms)
        )
        return step, sampler


class Pace:
    """Keeps the host a few steps ahead of a GPU, which is busy all the same.

    A replay costs the host less than the device: without this, a budget of seconds would be spent when many times as
    many steps were started as are done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._steps = 0
        self._events: deque[torch.cuda.Event] = deque()

    def step(self) -> None:
        """After each step: waits until the device has done those before the last ``AHEAD``, or up to twice as many."""
        self._steps += 1
        if self._steps % AHEAD:
            return
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        self._events.append(event)
        if len(self._events) > 1:
            self._events.popleft().synchronize()


class TrainingClock:
    """Seconds of training so far; runs only inside ``with clock:``."""

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self.device = device
        self.total = seconds
        self._started: float | None = None

    def __enter__(self) -> TrainingClock:
        synchronize(self.device)
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        synchronize(self.device)
        self.total = self.seconds
        self._started = None

    @property
    def seconds(self) -> float:
        """Seconds of training, those of the running stretch included."""
        if self._started is None:
            return self.total
        return self.total + time.perf_counter() - self._started


def _milliseconds(start, end) -> float:
    if isinstance(start, float):
        return (end - start) * 1e3
    return start.elapsed_time(end)
