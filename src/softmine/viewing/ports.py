"""An address to listen on."""

from __future__ import annotations

import errno
import os
import socket

from softmine.domain import SoftmineError

TRIES = 100
"""Ports that are tried, from the one asked for on."""
TAKEN = (errno.EADDRINUSE, errno.EACCES)


def check_port(port: int) -> int:
    """Returns a port, or raises SoftmineError where there is none of that number."""
    if not 0 <= port <= 65535:
        raise SoftmineError(f"--port is {port}: give a number from 1 to 65535, or 0 for any free one")
    return port


def free_port(host: str, port: int) -> int:
    """The first free port from ``port`` on; with 0, any.

    Raises:
        SoftmineError: this machine has no address ``host``, or none of the next 100 ports is free.
    """
    last = min(port + TRIES, 65536)
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, check_port(port), type=socket.SOCK_STREAM)[0]
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
        reason = getattr(error, "strerror", None) or error
        raise SoftmineError(
            f"cannot listen on --host {host or repr(host)}: {reason}; give an address of this machine, such as 127.0.0.1"
        ) from error
    raise SoftmineError(
        f"none of the ports {port} to {last - 1} is free on {host}: give another --port, or 0 for any free one"
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
