"""The page in the browser: a panel, an image for each camera, and things in space. Uses viser."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from softmine.checks import out_of_range
from softmine.errors import ArgumentError
from softmine.signals.libraries import require
from softmine.viewing.browser_camera import BrowserCamera, Point, point
from softmine.viewing.frames import Frame
from softmine.viewing.requests import Requests

COARSE_QUALITY, FINE_QUALITY = 70, 92
"""Of JPEG, while the camera moves and when it is still."""
TRIES = 100
"""Ports that are tried, from the one asked for on."""
TAKEN = (errno.EADDRINUSE, errno.EACCES)


Paint = Callable[[BrowserCamera, int, Callable[[], bool]], Frame | None]


class Page:
    """A server whose page asks for images and shows them; use as a context manager.

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
        # Sharing would send what is shown through a server of another party.
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
        """Sends an image to one browser; one that has left gets none."""
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


def show_next(page: Page, paint: Paint) -> float | None:
    """Makes the image that is wanted most, if any is, and shows it; returns the seconds it took, or None.

    Args:
        page: knows what is wanted, and shows it.
        paint: look, side and ``stop()`` to a frame, or None where it was stopped.
    """
    job = page.requests.next()
    if job is None:
        return None
    started = time.perf_counter()
    frame = paint(job.look, job.side, lambda: page.requests.stale(job))
    if frame is not None:
        page.show(job.client, frame, final=job.final)
        page.requests.done(job, time.perf_counter() - started)
    return time.perf_counter() - started


def free_port(host: str, port: int) -> int:
    """The first free port from ``port`` on; with 0, any.

    Raises:
        SoftmineError: there is no such port, this machine has no address ``host``, or none of the next 100 ports is free.
    """
    if not 0 <= port <= 65535:
        raise out_of_range("port", port, "give a number from 1 to 65535, or 0 for any free one")
    last = min(port + TRIES, 65536)
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        for number in range(port, last):
            with socket.socket(kind, socket.SOCK_STREAM) as listener:
                # As servers do, which need not wait until the last connection of another is forgotten.
                if os.name == "posix":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    listener.bind((address[0], number, *address[2:]))
                    return listener.getsockname()[1]
                except OSError as error:
                    if error.errno not in TAKEN:
                        raise
    except (OSError, UnicodeError) as error:
        raise ArgumentError(
            "cannot listen on {host} {given}: {reason}; give an address of this machine, such as 127.0.0.1",
            given=host or repr(host),
            reason=getattr(error, "strerror", None) or error,
        ) from error
    raise ArgumentError(
        "none of the ports {first} to {last} is free on {given}: give another {port}, or 0 for any free one",
        first=port,
        last=last - 1,
        given=host,
    )


def url(host: str, port: int) -> str:
    """What to type into a browser on this machine.

    Example:
        >>> url("0.0.0.0", 8080)
        'http://localhost:8080'
    """
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _quiet() -> Any:
    """Keeps the server's own announcements off standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
