"""Reconstructions of any size as tiled TIFF files."""

import itertools

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from softmine.signals import Image
from softmine.tasks.image import tiled_tiff
from softmine.tasks.image.task import ImageTask, Options
from softmine.tasks.image.tiled_tiff import halve, pyramid, write_tiled

CPU = torch.device("cpu")


class Exact(nn.Module):
    """A field that knows its picture."""

    def __init__(self, image, shift=0.0):
        super().__init__()
        self.image, self.shift = image, shift

    def forward(self, coords):
        return self.image(coords) + self.shift


def picture(height, width, channels, dtype="uint8"):
    rng = np.random.default_rng(0)
    shape = (height, width, channels) if channels > 1 else (height, width)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(1, "uint8"), (2, "uint8"), (3, "uint8"), (4, "uint8"), (3, "uint16"), (1, "float32"), (3, "float16")],
)
def test_every_pixel_and_the_means_of_four(tmp_path, monkeypatch, channels, dtype):
    monkeypatch.setattr(tiled_tiff, "STRIP", 3000)
    pixels = picture(515, 1031, channels, dtype)
    path = tmp_path / "a.tif"
    shares = []
    psnr = write_tiled(Exact(Image(pixels)), Image(pixels), path, CPU, shares.append)
    assert psnr > 60
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert len(file.pages) == 1
        page = file.pages[0]
        assert (page.tilelength, page.tilewidth, page.compression) == (
            512,
            512,
            tifffile.COMPRESSION.ADOBE_DEFLATE,
        )
        # The field interpolates: float32 coordinates are not quite at the centers.
        error = np.abs(page.asarray().astype(float) - pixels.astype(float)).max()
        assert error <= {"uint8": 0, "uint16": 8}.get(dtype, 1e-3)
        levels = [page.asarray(), *(small.asarray() for small in page.pages)]
        assert [level.shape[:2] for level in levels] == [(515, 1031), (258, 516), (129, 258)]
        for fine, coarse in itertools.pairwise(levels):
            expected = fine[:128, :512].astype(float)
            expected = expected.reshape(64, 2, 256, 2, -1).mean((1, 3))
            got = coarse[:64, :256].astype(float).reshape(64, 256, -1)
            atol = 0.5 if np.dtype(dtype).kind == "u" else 1e-3
            np.testing.assert_allclose(got, expected, atol=atol)
    assert Image.read(path).shape == Image(pixels).shape
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


def test_truth_values_become_black_and_white(tmp_path):
    pixels = np.random.default_rng(0).random((40, 30)) < 0.5
    write_tiled(Exact(Image(pixels)), Image(pixels), tmp_path / "a.tif", CPU)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), pixels * np.uint8(255))


def test_psnr_is_over_all_pixels(tmp_path):
    pixels = np.full((30, 20, 3), 100, np.uint8)
    psnr = write_tiled(Exact(Image(pixels), 0.1), Image(pixels), tmp_path / "a.tif", CPU)
    assert psnr == pytest.approx(20, abs=1e-3)


def test_odd_edges_are_means_of_what_is_there():
    band = np.array([[0, 2, 9], [4, 7, 11], [5, 6, 8]], np.uint8)[..., None]
    np.testing.assert_array_equal(halve(band)[..., 0], [[3, 10], [6, 8]])
    assert halve(np.full((2, 2, 1), 65504, np.float16))[0, 0, 0] == 65504


def test_sizes_end_with_one_tile():
    assert pyramid(512, 512) == [(512, 512)]
    assert pyramid(1, 1025) == [(1, 1025), (1, 513), (1, 257)]
    assert pyramid(32768, 32768)[-1] == (512, 512)


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(share):
        raise KeyboardInterrupt

    pixels = picture(30, 20, 3)
    with pytest.raises(KeyboardInterrupt):
        write_tiled(Exact(Image(pixels)), Image(pixels), tmp_path / "a.tif", CPU, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("full_size", "tiff_size", "flag", "file"),
    [(1000, 1000, False, False), (100, 1000, False, True), (100, 100, False, False), (100, 100, True, True)],
)
def test_the_task_decides_by_size_and_flag(tmp_path, monkeypatch, full_size, tiff_size, flag, file):
    monkeypatch.setattr("softmine.tasks.image.task.FULL_SIZE", full_size)
    monkeypatch.setattr("softmine.tasks.image.task.TIFF_SIZE", tiff_size)
    image = Image(picture(30, 20, 3))
    task = ImageTask(image, Options(full_tiff=flag))
    field = Exact(image)
    result = task.reconstruct(field, CPU)
    outputs = task.write_output(field, result, tmp_path, CPU)
    assert [output.file for output in outputs] == (["reconstruction.tif"] if file else [])
    assert (tmp_path / "reconstruction.tif").exists() == file
    assert ("--full-tiff" in result.note) == (full_size == tiff_size == 100 and not flag)
