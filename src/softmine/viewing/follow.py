"""Following a run that is finished, or that another process trains: its newest checkpoint, how far it is, its images."""

from __future__ import annotations

import json
import threading
import time

from torch import nn

from softmine.errors import SoftmineError
from softmine.runs.checkpoint import Snapshot, read_snapshot
from softmine.runs.interrupt import Interrupted
from softmine.runs.run_folder import RunFolder
from softmine.viewing.server import Page, show_next
from softmine.viewing.view import Status, View

ENDED = ("finished", "interrupted", "stopped-nan", "failed")
"""States in which nobody writes checkpoints any more."""
EVERY = 1.0
"""Seconds between two looks into the run folder."""


class Follower:
    """Tells what is new in a run folder that another process may be writing to.

    Args:
        run: the folder; nothing in it is changed.
        modules: where the tensors of a checkpoint go, by group: ``field`` and ``sampler``.
    """

    def __init__(self, run: RunFolder, **modules: nn.Module) -> None:
        self.run, self.modules = run, modules
        self.snapshot: Snapshot | None = None
        self._seen: tuple[str, int, int] | None = None

    def refresh(self) -> bool:
        """Takes up the newest checkpoint; says whether it is another than before.

        Raises:
            SoftmineError: it is damaged, or belongs to another field or sampler.
        """
        newest = self.run.checkpoints[-1:]
        if not newest:
            return False
        try:
            about = newest[0].stat()
            seen = (newest[0].name, about.st_mtime_ns, about.st_size)
            if seen == self._seen:
                return False
            snapshot = read_snapshot(newest[0])
        except FileNotFoundError:
            # The run has replaced it by a newer one in this moment, which is found next time.
            return False
        try:
            for group, module in self.modules.items():
                module.load_state_dict(snapshot.groups[group])
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise SoftmineError(f"the checkpoint {newest[0]} does not fit this run: {first}") from error
        self.snapshot, self._seen = snapshot, seen
        return True

    def check(self) -> None:
        """Raises SoftmineError where there is nothing to look at: no checkpoint and nobody who would write one, or a bad one."""
        self.refresh()
        if self.snapshot is None and self._state() in ENDED:
            raise SoftmineError(f"{self.run.path} has no checkpoint yet: train it first")

    def status(self) -> Status:
        """How far the run is, as its files say."""
        shown = self.snapshot
        lines = self.run.read_metrics()
        if shown is None:
            return Status.of(self._state(), lines)
        return Status.of(self._state(), lines, shown.step, shown.seconds)

    def _state(self) -> str:
        try:
            return str(json.loads((self.run.path / "status.json").read_text(encoding="utf-8"))["state"])
        except (OSError, ValueError, TypeError, KeyError):
            return "starting"


class Watcher:
    """Everything that touches the field, one thing after the other.

    Args:
        page: asks for images.
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
            self.view.status.show(self.follower.status())
        if show_next(self.page, self.view.paint) is not None:
            return True
        return self.view.idle()


def watch(watcher: Watcher, interrupted: Interrupted) -> None:
    """Serves images until a person interrupts; raises what goes wrong in the thread that makes them."""
    closing, failures = threading.Event(), []

    def serve() -> None:
        try:
            while not closing.is_set():
                if not watcher.work():
                    watcher.page.requests.wait(0.2)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=serve, name="images", daemon=True)
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
