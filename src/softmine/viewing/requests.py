"""Which image to make next: each browser gets the newest it asked for, coarse at first, then finer."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

from softmine.viewing.browser_camera import BrowserCamera

AT_ONCE = 0.1
"""Seconds that a first, coarse image may take."""
COARSEST = 48
"""Pixels along its longer side, at least."""
FINER = 3
"""Times as many pixels along a side, from one image to the next."""
ENOUGH = 0.6
"""Share of the finest affordable side that need not be made finer."""
SLOW = 2e5
"""Rays a second that a machine is taken to make before it has shown what it can."""


@dataclass(frozen=True)
class Job:
    """An image to be made.

    Attributes:
        client: the browser's number.
        look: its camera.
        side: pixels along the longer side.
        final: whether no finer one is to follow.
        moves: how often the camera had moved when the job was made.
        version: of the field that it will show.
    """

    client: int
    look: BrowserCamera
    side: int
    final: bool
    moves: int
    version: int


@dataclass
class _Browser:
    look: BrowserCamera
    moves: int = 0
    # Of the last image: what it showed, at which size.
    shown: tuple[int, int] = (-1, -1)
    side: int = 0
    served: int = 0


@dataclass
class Requests:
    """What browsers want to see. Safe to use from several threads.

    A browser whose camera has just moved first gets an image that takes about a tenth of a second, then finer ones, each
    with three times as many pixels a side, up to ``resolution``. A job is given up when the camera moves on. When only the
    field has changed, images are made again in the size they have, so that they do not flicker.

    Attributes:
        resolution: pixels along the longer side of the finest image.
        patience: seconds that an image may take, about; finer ones are not made.
        closed: whether nobody wants anything any more.

    Example:
        >>> requests = Requests(resolution=400)
        >>> requests.look(0, BrowserCamera((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), fov=1.0, aspect=1.0))
        >>> job = requests.next()
        >>> job.side, job.final
        (141, False)
        >>> requests.done(job, seconds=0.1)
        >>> requests.next().side
        400
    """

    resolution: int = 512
    patience: float = math.inf
    closed: bool = False
    _browsers: dict[int, _Browser] = field(default_factory=dict)
    _version: int = 0
    _turn: int = 0
    _speed: float = SLOW
    _timed: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def look(self, client: int, look: BrowserCamera) -> None:
        """Notes that a browser has come, or that its camera has moved."""
        with self._changed:
            if self.closed:
                return
            browser = self._browsers.setdefault(client, _Browser(look))
            browser.look = look
            browser.moves += 1
            self._changed.notify_all()

    def leave(self, client: int) -> None:
        """Forgets a browser."""
        with self._changed:
            self._browsers.pop(client, None)

    def restyle(self) -> None:
        """Makes every image anew, coarse at first: a person has changed how things are shown."""
        with self._changed:
            for browser in self._browsers.values():
                browser.moves += 1
            self._changed.notify_all()

    def renew(self) -> None:
        """Makes every image anew in the size it has: the field has changed."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Ends it all: what is being made is given up, and nothing more is asked for."""
        with self._changed:
            self.closed = True
            self._browsers.clear()
            self._changed.notify_all()

    def next(self) -> Job | None:
        """The next image to make: that of the browser which has waited longest; None where all have what they want."""
        with self._changed:
            waiting = [client for client, browser in self._browsers.items() if self._wants(browser)]
            if not waiting:
                return None
            client = min(waiting, key=lambda client: self._browsers[client].served)
            browser = self._browsers[client]
            self._turn += 1
            browser.served = self._turn
            side = self._side(browser)
            final = self._enough(browser, side)
            return Job(client, browser.look, side, final, browser.moves, self._version)

    def stale(self, job: Job) -> bool:
        """Whether the browser has left or wants to see something else by now."""
        browser = self._browsers.get(job.client)
        return browser is None or browser.moves != job.moves

    def done(self, job: Job, seconds: float) -> None:
        """Notes that a job's image was shown, and how long it took."""
        with self._changed:
            width, height = job.look.size(job.side)
            if seconds > 0:
                speed = width * height / seconds
                self._speed = (self._speed + speed) / 2 if self._timed else speed
                self._timed = True
            browser = self._browsers.get(job.client)
            if browser is not None:
                browser.shown, browser.side = (job.moves, job.version), job.side

    def wait(self, seconds: float) -> None:
        """Waits until somebody may want an image, for so many seconds at most."""
        with self._changed:
            if not self.closed and not any(map(self._wants, self._browsers.values())):
                self._changed.wait(seconds)

    @property
    def watched(self) -> bool:
        """Whether any browser is there."""
        return bool(self._browsers)

    def _wants(self, browser: _Browser) -> bool:
        if browser.shown != (browser.moves, self._version):
            return True
        return not self._enough(browser, browser.side)

    def _enough(self, browser: _Browser, side: int) -> bool:
        """Whether an image of that size need not be made finer."""
        finest = self._finest(browser)
        # What a machine can do in a time wavers; not every waver is worth an image.
        return side == finest if finest == self.resolution else side >= ENOUGH * finest

    def _side(self, browser: _Browser) -> int:
        if browser.shown[0] != browser.moves:
            side = self._affordable(browser, AT_ONCE)
        elif browser.shown[1] != self._version:
            side = browser.side
        else:
            side = browser.side * FINER
        return min(self._finest(browser), side)

    def _finest(self, browser: _Browser) -> int:
        if self.patience == math.inf:
            return self.resolution
        return min(self.resolution, self._affordable(browser, self.patience))

    def _affordable(self, browser: _Browser, seconds: float) -> int:
        """The side of an image that takes so many seconds, about."""
        width, height = browser.look.size(1000)
        return max(COARSEST, math.isqrt(round(self._speed * seconds * 1e6 / (width * height))))
