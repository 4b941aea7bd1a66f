"""A page that is really served: over HTTP, and to a browser that speaks its protocol."""

import socket
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest

from softmine import SoftmineError, registry
from softmine.radiance.field import field_for
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes.procedural import procedural
from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.frames import Frame
from softmine.viewing.radiance_view import MODES, RadianceView
from softmine.viewing.requests import Requests
from softmine.viewing.server import Page, free_port, show_next, url

HOST = "127.0.0.1"


@pytest.fixture
def page():
    with Page(HOST, 0, "test", Requests(resolution=64)) as page:
        yield page


def browser(page):
    """Connects as the page's own code does, and says where its camera is."""
    import msgspec
    import viser
    from websockets.sync.client import connect

    socket = connect(f"ws://{HOST}:{page.port}", subprotocols=[f"viser-v{viser.__version__}"], max_size=None)
    camera = {
        "type": "ViewerCameraMessage",
        "wxyz": (1.0, 0.0, 0.0, 0.0),
        "position": (0.0, 0.0, -4.0),
        "fov": 0.7,
        "near": 0.01,
        "far": 1000.0,
        "image_height": 100,
        "image_width": 200,
        "look_at": (0.0, 0.0, 0.0),
        "up_direction": (0.0, -1.0, 0.0),
    }
    socket.send(msgspec.msgpack.encode(camera))
    return socket


def found(message):
    return {start for start in (b"\xff\xd8\xff", b"\x89PNG") if start in message}


def until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_the_page_is_served(page):
    with urllib.request.urlopen(page.url, timeout=30) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read().lower()


def test_a_browser_asks_gets_a_picture_and_leaves(page):
    socket = browser(page)
    until(lambda: page.requests.watched)
    looks = []

    def paint(look, side, stop):
        looks.append((look, side))
        width, height = look.size(side)
        return Frame(np.full((height, width, 3), 200, np.uint8), np.full((height, width), 2.0, np.float32))

    while show_next(page, paint) is not None:
        pass
    assert looks[0][0] == BrowserCamera((0.0, 0.0, -4.0), (1.0, 0.0, 0.0, 0.0), 0.7, 2.0)
    assert looks[-1][1] == 64
    # The first bytes of a JPEG and of a PNG: the picture and its depth.
    until(lambda: {b"\xff\xd8\xff", b"\x89PNG"} <= found(socket.recv(timeout=30)))
    socket.close()
    until(lambda: not page.requests.watched)


def test_a_radiance_field_and_its_views(page):
    scene = procedural(size=16, train=3, test=1)
    photos = Photos(scene)
    field = Renderer(field_for(scene.bounds, levels=2, log2_table_size=8, finest_resolution=16), photos)
    sampler = registry.create("auto", photos.domain, 64, seed=0, edges=photos.edges)
    view = RadianceView(page, field, photos, sampler, "still-life", snap=True)
    look = BrowserCamera((0.0, 0.0, -4.0), (1.0, 0.0, 0.0, 0.0), 0.7, 1.0)
    # Nothing is trained yet.
    assert len(np.unique(view.paint(look, 8, lambda: False).color)) == 1
    assert not view.idle()
    view.renew()
    assert view.paint(look, 8, lambda: False).color.shape == (8, 8, 3)
    assert view.idle()
    assert view.ray_map.rays >= 64
    assert "its even share of rays" in view._words.content
    before = view._image.image.copy()
    view._mode.value = MODES[0]
    until(lambda: not np.array_equal(view._image.image, before))
    view._background.value = 0.0
    assert view.paint(look, 8, lambda: False).color.max() < 255


def test_without_viser_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(SoftmineError, match=r"pip install 'softmine\[view\]'"):
        Page(HOST, 0, "test", Requests())


def test_nothing_is_printed_and_no_thread_stays(capsys):
    before = threading.active_count()
    with Page(HOST, 0, "test", Requests()):
        pass
    assert capsys.readouterr().out == ""
    until(lambda: threading.active_count() <= before)


def test_the_next_free_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        found = free_port("127.0.0.1", port)
        assert port < found < port + 100


def test_zero_is_any_free_port():
    assert free_port("127.0.0.1", 0) > 1023


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_does_not_exist(port):
    with pytest.raises(SoftmineError, match=f"port is {port}"):
        free_port("127.0.0.1", port)


def test_an_address_of_another_machine():
    # A documentation address (RFC 5737): nobody's.
    with pytest.raises(SoftmineError, match=r"host 192\.0\.2\.1"):
        free_port("192.0.2.1", 8080)


def test_addresses_for_people():
    assert url("127.0.0.1", 1) == "http://127.0.0.1:1"
    assert url("::1", 2) == "http://[::1]:2"
    assert url("::", 2) == "http://localhost:2"
