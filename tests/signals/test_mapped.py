"""Look-ups in a file keep little of it mapped, and answer the same."""

from pathlib import Path

import numpy as np
import pytest

from softmine.signals import mapped
from softmine.signals.mapped import Mapped

STATUS = Path("/proc/self/status")


@pytest.fixture
def small_budget(monkeypatch):
    monkeypatch.setattr(mapped, "RESIDENT", 2**22)


def save(path, shape, order="C"):
    pixels = np.arange(np.prod(shape), dtype=np.uint32).view(np.uint8)[: np.prod(shape)].reshape(shape)
    path.write_bytes(pixels.tobytes(order))
    return pixels


def resident_file_bytes():
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssFile"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_bounded_look_ups_answer_the_same(tmp_path, small_budget, orientation, order, channels):
    shape = (2101, 2503, channels)
    save(tmp_path / "a", shape, order)
    source = Mapped(tmp_path / "a", np.dtype(np.uint8), shape, 0, order, orientation=orientation)
    height, width, _ = source.view.shape
    flat = np.random.default_rng(0).integers(0, height * width, 1000)
    expected = np.array(source.view).reshape(-1, channels)[flat]
    np.testing.assert_array_equal(source.gather(flat, np.dtype(np.float32)), expected)
    assert source.gather(flat[:0], np.dtype(np.uint8)).shape == (0, channels)


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells what is mapped from files")
@pytest.mark.parametrize("count", [100, 20_000])
def test_no_more_than_the_budget_is_mapped(tmp_path, small_budget, count):
    shape = (2048, 4096, 3)
    (tmp_path / "a").write_bytes(bytes(np.prod(shape)))
    source = Mapped(tmp_path / "a", np.dtype(np.uint8), shape, 0)
    rng = np.random.default_rng(0)
    before = resident_file_bytes()
    for _ in range(8):
        source.gather(rng.integers(0, shape[0] * shape[1], count), np.dtype(np.uint8))
        assert resident_file_bytes() - before <= mapped.RESIDENT + 2**20
