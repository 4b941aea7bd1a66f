"""Following a run that is finished, or that another process trains: pictures are made in a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from softmine.runs.checkpoint import Snapshot
from softmine.runs.interrupt import Interrupted
from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.follow import Follower, Status
from softmine.viewing.frames import Frame
from softmine.viewing.server import Page, show_next

EVERY = 1.0
"""Seconds between two looks into the run folder."""


@runtime_checkable
class View(Protocol):
    """What a page shows of one kind of run."""

    def paint(self, look: BrowserCamera, side: int, stop: Callable[[], bool]) -> Frame | None:
        """A picture for a camera, or None where ``stop()`` said that it is not wanted any more."""
        ...

    def renew(self, snapshot: Snapshot | None = None) -> None:
        """The field has changed; ``snapshot`` is the checkpoint it comes from, if it does."""
        ...

    def idle(self) -> bool:
        """Does a piece of work that can wait, if there is any; says whether there was."""
        ...

    def set_status(self, status: Status) -> None:
        """Shows how far the run is."""
        ...


class Watcher:
    """Everything that touches the field, one thing after the other.

    Args:
        page: asks for pictures.
        view: makes them.
        follower: brings what is new in the run folder.
    """

    def __init__(self, page: Page, view: View, follower: Follower) -> None:
        self.page, self.view, self.follower = page, view, follower
        self._looked = -EVERY
        self._known: Snapshot | None = None

    def work(self) -> bool:
        """Does what is most urgent; says whether there was anything to do."""
        if time.monotonic() - self._looked >= EVERY:
            self._looked = time.monotonic()
            self.follower.refresh()
            # It may have been looked at before there was a page.
            if self.follower.snapshot is not self._known:
                self._known = self.follower.snapshot
                self.view.renew(self._known)
                self.page.requests.renew()
            self.view.set_status(self.follower.status())
        if show_next(self.page.requests, self.page, self.view.paint, time.perf_counter) is not None:
            return True
        return self.view.idle()


def watch(watcher: Watcher, interrupted: Interrupted) -> None:
    """Serves pictures until a person interrupts; raises what goes wrong in the thread that makes them."""
    closing, failures = threading.Event(), []

    def serve() -> None:
        try:
            while not closing.is_set():
                if not watcher.work():
                    watcher.page.requests.wait(0.2)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=serve, name="pictures", daemon=True)
    worker.start()
    try:
        while worker.is_alive() and not interrupted():
            worker.join(0.1)
    finally:
        closing.set()
        watcher.page.requests.close()
        worker.join(10)
    if failures:
        raise failures[0]
