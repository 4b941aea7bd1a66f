"""A pool of threads for compiled loops that share their work through a queue.

Not numba's own parallelism: its thread pools are not safe to enter from two threads, or spin beside torch's, or
need a library that is not everywhere. These sleep while there is nothing to do, work from any thread (autograd's
too), are as many as torch's unless ``set_threads`` says otherwise, and are started anew in a forked process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch

from softmine.errors import SoftmineError


class _Job:
    """One call of a loop, which up to ``helpers`` others may join."""

    def __init__(self, loop: Callable[..., None], arguments: tuple[Any, ...], helpers: int) -> None:
        self.loop, self.arguments = loop, arguments
        self.invitations = [None] * helpers
        self.returned: SimpleQueue[BaseException | None] = SimpleQueue()

    def accept(self) -> bool:
        """Takes an invitation, if one is left; ``list.pop`` is atomic."""
        try:
            self.invitations.pop()
        except IndexError:
            return False
        return True


_threads: int | None = None
_jobs: SimpleQueue[_Job] = SimpleQueue()
_helpers = 0
_starting = threading.Lock()


def set_threads(count: int | None) -> None:
    """Lets the CPU loops use ``count`` threads; None means ``torch.get_num_threads()`` at each call.

    A small batch's MLP is faster in one thread than in torch's several, its encoding is not::

        softmine.kernels.set_threads(torch.get_num_threads())
        torch.set_num_threads(1)
    """
    global _threads
    if count is not None and count < 1:
        raise SoftmineError(f"at least one thread is needed, not {count}")
    _threads = count


def run(loop: Callable[..., None], *arguments: Any, parts: int) -> None:
    """Runs ``loop(queue, *arguments)`` in at most as many threads as there are parts, this one among them.

    ``loop`` takes parts by counting up ``queue[0]`` and returns when none is left, so a thread that starts late, or
    not at all, delays no other.
    """
    together = (np.zeros(1, np.int64), *arguments)
    helpers = min(parts, _threads or torch.get_num_threads()) - 1
    if helpers < 1:
        loop(*together)
        return
    _hire(helpers)
    job = _Job(loop, together, helpers)
    for _ in range(helpers):
        _jobs.put(job)
    try:
        loop(*together)
    finally:
        joined = helpers
        while job.accept():
            joined -= 1
        failures = [job.returned.get() for _ in range(joined)]
    for failure in failures:
        if failure is not None:
            raise failure


def _hire(count: int) -> None:
    global _helpers
    if _helpers >= count:
        return
    with _starting:
        while _helpers < count:
            threading.Thread(target=_help, args=(_jobs,), name="softmine-helper", daemon=True).start()
            _helpers += 1


def _help(jobs: SimpleQueue[_Job]) -> None:
    while True:
        job = jobs.get()
        if job.accept():
            failure = None
            try:
                job.loop(*job.arguments)
            except BaseException as error:
                failure = error
            job.returned.put(failure)
        del job  # not kept alive while waiting


def _start_anew() -> None:
    """A forked child has none of its parent's threads, and perhaps a queue locked by one of them."""
    global _jobs, _helpers, _starting
    _jobs, _helpers, _starting = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
