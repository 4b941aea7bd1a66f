"""Training with the page beside it: a slice of steps, then the images that are wanted, off the training clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from softmine.runs.interrupt import Interrupted
from softmine.runs.run_folder import RunFolder
from softmine.training.trainer import Trainer
from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.frames import Frame
from softmine.viewing.server import Page, show_next
from softmine.viewing.view import Status, View

SLICE = 0.1
"""Seconds of training between two images, at least."""
RENEW = 1.0
"""Seconds between two images of one camera that show what was learned,"""
RENEW_COST = 4.0
"""and times the seconds that the last took, whichever is more."""
PATIENCE = 1.0
"""Seconds that an image may take while training waits;"""
CHEAP = 0.3
"""one that took longer than this is followed by as much training."""
RAYS = 5.0
"""The same for the maps of rays,"""
RAYS_COST = 20.0
"""which people watch less closely."""


def train_in_slices(trainer: Trainer, between: Callable[[], None], seconds: float = SLICE) -> None:
    """Makes ``trainer.advance`` call ``between()`` every so many seconds, with the training clock stopped.

    Nothing else about its training changes.
    """
    advance = trainer.advance

    def advance_in_slices(pause: Callable[[], bool]) -> None:
        while trainer.progress < 1.0 and not pause():
            step, end = trainer.step, trainer.clock.seconds + seconds

            def over(step: int = step, end: float = end) -> bool:
                # A step at least, however long the clock takes to start.
                return pause() or (trainer.step > step and trainer.clock.seconds >= end)

            advance(over)
            between()

    trainer.advance = advance_in_slices


class Live:
    """What happens between two slices: images, and waiting while a person has paused.

    Args:
        page: asks for images.
        view: makes them.
        trainer: what is shown.
        run: its folder, for the evaluations.
        interrupted: ends a pause.
    """

    def __init__(
        self, page: Page, view: View, trainer: Trainer, run: RunFolder, interrupted: Interrupted
    ) -> None:
        self.page, self.view, self.trainer = page, view, trainer
        self.run, self.interrupted = run, interrupted
        self.paused = False
        self._cost, self._rays_cost, self._owed = 0.0, 0.0, 0.0
        self._renewed = self._drawn = -1e9
        self._step = -1
        self._button: Any = page.gui.add_button("pause", order=0.5)
        self._button.on_click(lambda _: self.pause(not self.paused))
        page.requests.patience = PATIENCE

    def pause(self, paused: bool) -> None:
        """Stops training after the current slice, or resumes it."""
        self.paused = paused
        self._button.label = "resume" if paused else "pause"
        self.page.requests.patience = math.inf if paused else PATIENCE
        self._tell()

    def between(self) -> None:
        """To be called between two slices."""
        self._serve()
        while self.paused and not self.interrupted():
            if not self._serve():
                self.page.requests.wait(0.1)

    def close(self) -> None:
        """Takes the button away: there is nothing to pause any more, and time for fine images."""
        self._button.remove()
        self.page.requests.patience = math.inf

    def _serve(self) -> bool:
        """Makes one image, if one is wanted; says whether one was."""
        now, requests = time.monotonic(), self.page.requests
        if not requests.watched or (self.trainer.clock.seconds < self._owed and not self.paused):
            return False
        moved_on = self.trainer.step != self._step
        if moved_on and now - self._renewed >= max(RENEW, RENEW_COST * self._cost):
            self._renewed, self._step = now, self.trainer.step
            self.view.renew()
            requests.renew()
        self._tell()
        seconds = show_next(self.page, self._paint)
        if seconds is not None:
            self._cost = seconds
            self._owed = self.trainer.clock.seconds + (seconds if seconds > CHEAP else 0.0)
            return True
        if now - self._drawn >= max(RAYS, RAYS_COST * self._rays_cost):
            worked = self.view.idle()
            self._drawn = time.monotonic()
            self._rays_cost = self._drawn - now
            return worked
        return False

    def _paint(self, look: BrowserCamera, side: int, stop: Callable[[], bool]) -> Frame | None:
        return self.view.paint(look, side, lambda: stop() or self.interrupted())

    def _tell(self) -> None:
        state, trainer = "paused" if self.paused else "training", self.trainer
        self.view.status.show(Status.of(state, self.run.metrics, trainer.step, trainer.clock.seconds))
