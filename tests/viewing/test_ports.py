import socket

import pytest

from softmine import SoftmineError
from softmine.viewing.ports import free_port, url


def test_the_next_free_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        found = free_port("127.0.0.1", port)
        assert port < found < port + 100


def test_zero_is_any_free_port():
    assert free_port("127.0.0.1", 0) > 1023


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_does_not_exist(port):
    with pytest.raises(SoftmineError, match=f"--port is {port}"):
        free_port("127.0.0.1", port)


def test_an_address_of_another_machine():
    # A documentation address (RFC 5737): nobody's.
    with pytest.raises(SoftmineError, match=r"--host 192\.0\.2\.1"):
        free_port("192.0.2.1", 8080)


def test_addresses_for_people():
    assert url("127.0.0.1", 1) == "http://127.0.0.1:1"
    assert url("::1", 2) == "http://[::1]:2"
    assert url("::", 2) == "http://localhost:2"
