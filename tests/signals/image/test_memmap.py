"""Look-ups in a file keep little of it mapped, and answer the same."""

import os
from pathlib import Path

import numpy as np
import pytest

from softmine import SoftmineError
from softmine.signals.image import memmap
from softmine.signals.image.memmap import MappedImage
from softmine.signals.memmap import MappedArray

STATUS = Path("/proc/self/status")


@pytest.fixture
def small_budget(monkeypatch):
    monkeypatch.setattr(memmap, "RESIDENT", 2**22)


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
def test_bounded_look_ups_return_the_same(tmp_path, small_budget, orientation, order, channels):
    shape = (2101, 2503, channels)
    save(tmp_path / "a", shape, order)
    source = MappedImage(MappedArray(tmp_path / "a", np.dtype(np.uint8), shape, 0, order), orientation)
    height, width, _ = source.view.shape
    flat = np.random.default_rng(0).integers(0, height * width, 1000)
    expected = np.array(source.view).reshape(-1, channels)[flat]
    np.testing.assert_array_equal(source.gather(flat, np.dtype(np.float32)), expected)
    assert source.gather(flat[:0], np.dtype(np.uint8)).shape == (0, channels)


@pytest.mark.parametrize("resident", [0, 2**21])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", ">f4", "<f8", ">f8"])
def test_values_of_any_type_are_read_as_they_are_stored(tmp_path, monkeypatch, resident, order, dtype):
    monkeypatch.setattr(memmap, "RESIDENT", resident)
    stored = np.random.default_rng(0).integers(0, 2**16, (701, 811, 3)).astype(dtype)
    (tmp_path / "a").write_bytes(b"header" + stored.tobytes(order))
    source = MappedImage(MappedArray(tmp_path / "a", stored.dtype, stored.shape, 6, order))
    # Every pixel beside a border of pages, and so of what stays mapped, some of them on both sides.
    near = np.arange(0, stored.nbytes, 4096)[:, None] // (3 * stored.itemsize) + np.arange(-1, 2)
    flat = near.clip(0, 701 * 811 - 1).ravel()
    expected = stored.reshape(-1, 3)[flat].astype(np.float64)
    np.testing.assert_array_equal(source.gather(flat, np.dtype(np.float64)), expected)


def test_without_pread_the_map_is_read(tmp_path, small_budget, monkeypatch):
    monkeypatch.delattr(os, "pread", raising=False)
    pixels = save(tmp_path / "a", (2048, 1024, 3))
    flat = np.random.default_rng(0).integers(0, 2048 * 1024, 100)
    answered = MappedImage(MappedArray(tmp_path / "a", np.dtype(np.uint8), pixels.shape, 0)).gather(
        flat, np.dtype(np.uint8)
    )
    np.testing.assert_array_equal(answered, pixels.reshape(-1, 3)[flat])


@pytest.mark.skipif(not hasattr(os, "pread"), reason="the system has no such call")
def test_a_file_that_was_cut_short_is_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(memmap, "RESIDENT", 0)
    pixels = save(tmp_path / "a", (64, 64, 3))
    source = MappedImage(MappedArray(tmp_path / "a", np.dtype(np.uint8), pixels.shape, 0))
    os.truncate(tmp_path / "a", 5000)
    flat = np.arange(1000)
    np.testing.assert_array_equal(source.gather(flat, np.dtype(np.uint8)), pixels.reshape(-1, 3)[flat])
    with pytest.raises(SoftmineError, match="any more: it was cut short since it was opened"):
        source.gather(np.arange(4000), np.dtype(np.uint8))


@pytest.mark.parametrize("extents", [1, 7, 256, 257, 1537, 20_000])
def test_what_stays_mapped_is_spread_evenly(extents):
    kept = memmap._spread(4096, extents * memmap.EXTENT - 4096)
    assert len(kept) == extents
    assert kept.sum() == min(extents, memmap.RESIDENT // memmap.EXTENT)
    gaps = np.diff(np.flatnonzero(kept))
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells what is mapped from files")
@pytest.mark.parametrize("count", [100, 20_000])
def test_no_more_than_the_budget_is_mapped(tmp_path, small_budget, count):
    shape = (2048, 4096, 3)
    (tmp_path / "a").write_bytes(bytes(np.prod(shape)))
    source = MappedImage(MappedArray(tmp_path / "a", np.dtype(np.uint8), shape, 0))
    rng = np.random.default_rng(0)
    source.gather(np.arange(1), np.dtype(np.uint8))  # compiles
    source.mapped.release()
    before = resident_file_bytes()
    for _ in range(8):
        source.gather(rng.integers(0, shape[0] * shape[1], count), np.dtype(np.uint8))
        assert resident_file_bytes() - before <= memmap.RESIDENT + 2**20
