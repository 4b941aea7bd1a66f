"""The page in the browser: a panel, a picture for each camera, and things in space. Uses viser."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from softmine.signals.libraries import require
from softmine.viewing.browser_camera import BrowserCamera, Point, point
from softmine.viewing.frames import Frame
from softmine.viewing.ports import free_port, url
from softmine.viewing.requests import Requests

COARSE_QUALITY, FINE_QUALITY = 70, 92
"""Of JPEG, while the camera moves and when it is still."""


class Page:
    """A server whose page asks for pictures and shows them; use as a context manager.

    Args:
        host: address to listen on.
        port: the first to try.
        title: over the panel.
        requests: is told of every browser's camera.

    Raises:
        SoftmineError: viser is not installed, or nothing can listen there.
    """

    def __init__(self, host: str, port: int, title: str, requests: Requests) -> None:
        viser = require("viser", "view", "a run in the browser", "softmine view")
        self.requests, self.host = requests, host
        free = free_port(host, port)
        with _quiet():
            self.server: Any = viser.ViserServer(host=host, port=free, label=title, verbose=False)
        self.moved_from = port if port not in (0, self.port) else None
        # Sharing would send what is shown through a server of somebody else's.
        self.gui.configure_theme(show_share_button=False, show_logo=False, control_width="large")
        self.server.on_client_connect(self._come)
        self.server.on_client_disconnect(lambda client: requests.leave(client.client_id))

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        with _quiet():
            self.server.stop()

    @property
    def gui(self) -> Any:
        """The panel."""
        return self.server.gui

    @property
    def scene(self) -> Any:
        """Things in space."""
        return self.server.scene

    @property
    def port(self) -> int:
        """Where the server listens."""
        return self.server.get_port()

    @property
    def url(self) -> str:
        """What to type into a browser."""
        return url(self.host, self.port)

    def start_at(self, look: BrowserCamera, target: Point, up: Point) -> None:
        """Where browsers begin, and the point that they turn around."""
        self.scene.set_up_direction(up)
        # Along the optical axis, so that turning begins without a jump.
        forward, away = look.pose()[:, 2], np.array(target) - np.array(look.position)
        distance = max(float(away @ forward), 0.1 * float(np.linalg.norm(away)), 1e-3)
        camera = self.server.initial_camera
        camera.position = look.position
        camera.look_at = point(np.array(look.position) + distance * forward)
        camera.up = up
        camera.fov = look.fov

    def show(self, client: int, frame: Frame, *, final: bool) -> None:
        """Sends a picture to one browser; one that has left gets none."""
        handle = self.server.get_clients().get(client)
        if handle is not None:
            quality = FINE_QUALITY if final else COARSE_QUALITY
            handle.scene.set_background_image(
                frame.color, format="jpeg", jpeg_quality=quality, depth=frame.depth
            )

    def move(self, client: int | None, look: BrowserCamera) -> None:
        """Puts a browser's camera somewhere, or those of all browsers."""
        for number, handle in self.server.get_clients().items():
            if client in (None, number):
                with handle.atomic():
                    handle.camera.wxyz = look.wxyz
                    handle.camera.position = look.position
                    handle.camera.fov = look.fov

    def _come(self, client: Any) -> None:
        self._look(client.client_id, client.camera)
        client.camera.on_update(lambda camera: self._look(client.client_id, camera))

    def _look(self, client: int, camera: Any) -> None:
        aspect = camera.image_width / max(1, camera.image_height)
        w, x, y, z = camera.wxyz.tolist()
        look = BrowserCamera(
            point(camera.position), (w, x, y, z), float(camera.fov), min(max(aspect, 0.1), 10.0)
        )
        self.requests.look(client, look)


def show_next(
    requests: Requests,
    page: Page,
    paint: Callable[[BrowserCamera, int, Callable[[], bool]], Frame | None],
    clock: Callable[[], float],
) -> float | None:
    """Makes the picture that is wanted most, if any is, and shows it; returns the seconds it took, or None.

    Args:
        requests: knows what is wanted.
        page: shows it.
        paint: look, side and ``stop()`` to a frame, or None where it was told to stop.
        clock: seconds.
    """
    job = requests.next()
    if job is None:
        return None
    started = clock()
    frame = paint(job.look, job.side, lambda: requests.stale(job))
    if frame is None:
        return clock() - started
    page.show(job.client, frame, final=job.final)
    requests.done(job, clock() - started)
    return clock() - started


@contextlib.contextmanager
def _quiet() -> Any:
    """Keeps the server's own announcements off standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
