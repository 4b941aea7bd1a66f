"""Images that stay in their file equal the same images in memory."""

import copy
import pickle

import numpy as np
import pytest
import tifffile
import torch

from softmine import SoftmineError
from softmine.signals import Image, files, grid, memmap
from softmine.signals.image import pixels

rng = np.random.default_rng(0)


def random_image(shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(3, 5, shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def save_npy(path, array):
    np.save(path, array)


def save_tiff(path, array):
    byteorder = ">" if array.dtype.byteorder == ">" else "<"
    photometric = "rgb" if array.ndim == 3 and array.shape[2] >= 3 else "minisblack"
    tifffile.imwrite(path, array, photometric=photometric, byteorder=byteorder)


def save_planar_tiff(path, array):
    tifffile.imwrite(path, np.moveaxis(array, 2, 0), photometric="rgb", planarconfig="separate")


def save_fortran_npy(path, array):
    np.save(path, np.asfortranarray(array))


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<f2", ">f4", "<f4", "<f8", ">f8"])
@pytest.mark.parametrize(
    ("save", "shape"),
    [
        (save_npy, (23, 17)),
        (save_npy, (23, 17, 3)),
        (save_fortran_npy, (23, 17)),
        (save_fortran_npy, (23, 17, 4)),
        (save_tiff, (23, 17)),
        (save_tiff, (23, 17, 3)),
        (save_planar_tiff, (23, 17, 3)),
    ],
)
def test_mapped_equals_in_memory(tmp_path, monkeypatch, dtype, save, shape):
    monkeypatch.setattr(grid, "BLOCK_VALUES", 100)
    array = random_image(shape, dtype)
    save(tmp_path / "a.npy", array)
    mapped = Image.read(tmp_path / "a.npy", in_memory=False)
    loaded = Image.read(tmp_path / "a.npy", in_memory=True)
    given = Image(array)
    assert not mapped.in_memory
    assert loaded.in_memory
    for other in (loaded, given):
        assert mapped.shape == other.shape
        assert mapped.dtype == other.dtype
        assert mapped.value_range == other.value_range
        np.testing.assert_allclose(mapped.rows(3, 9), other.rows(3, 9), atol=1e-6)
        torch.testing.assert_close(mapped.edges(40), other.edges(40))
    coords = torch.rand(200, 2, dtype=torch.float64, requires_grad=True)
    (mapped_grad,) = torch.autograd.grad(mapped(coords).square().sum(), coords)
    (loaded_grad,) = torch.autograd.grad(loaded(coords).square().sum(), coords)
    torch.testing.assert_close(mapped(coords), loaded(coords), rtol=0, atol=1e-6)
    torch.testing.assert_close(mapped_grad, loaded_grad, rtol=1e-5, atol=1e-4)
    assert mapped(torch.rand(5, 2)).dtype == torch.float32
    assert mapped(torch.rand(0, 2)).shape == (0, mapped.channels)
    assert mapped.preview(5).shape == loaded.preview(5).shape
    np.testing.assert_array_equal(mapped.preview(99), mapped.rows(0, 23))


@pytest.mark.parametrize("save", [save_npy, save_fortran_npy])
def test_mapped_preview_picks_pixels_of_the_grid(tmp_path, save):
    array = random_image((20, 30, 3), "u1")
    save(tmp_path / "a.npy", array)
    preview = Image.read(tmp_path / "a.npy", in_memory=False).preview(15)
    np.testing.assert_allclose(preview, array[1::2, 1::2] / 255, atol=1e-6)


def test_large_files_stay_in_their_file(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((10, 10), np.uint8))
    assert Image.read(tmp_path / "a.npy").in_memory
    monkeypatch.setattr(memmap, "LOAD_BYTES", 99)
    assert not Image.read(tmp_path / "a.npy").in_memory


def test_mapped_images_have_no_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "MAX_PIXELS", 10)
    save_tiff(tmp_path / "a.tif", np.zeros((10, 10), np.uint8))
    assert Image.read(tmp_path / "a.tif", in_memory=False).shape == (10, 10, 1)


def test_mapped_images_can_be_copied_and_pickled(tmp_path):
    array = random_image((6, 7), "u1")
    np.save(tmp_path / "a.npy", array)
    mapped = Image.read(tmp_path / "a.npy", in_memory=False)
    for other in (copy.deepcopy(mapped), pickle.loads(pickle.dumps(mapped))):
        np.testing.assert_array_equal(other.rows(0, 6), mapped.rows(0, 6))


def test_infinite_pixels_in_a_file_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "BLOCK_VALUES", 8)
    array = np.zeros((10, 4), np.float32, order="F")
    array[6, 1] = array[2, 3] = np.inf
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(SoftmineError, match=r"a\.npy: 2 of its pixels.*row 2, column 3"):
        Image.read(tmp_path / "a.npy", in_memory=False)


def test_decoded_images_cannot_stay_in_their_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8), compression="zlib")
    with pytest.raises(SoftmineError, match=r"only an uncompressed TIFF or an NPY file"):
        Image.read(tmp_path / "a.tif", in_memory=False)


def test_fingerprint_of_a_file_is_the_hash_of_its_bytes(tmp_path):
    import hashlib

    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    whole = hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    assert Image.read(tmp_path / "a.npy").fingerprint == whole


def test_fingerprint_of_a_large_file_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE_BYTES", 1000)
    prints = set()
    for change in (None, 0, 2**22 - 1, 2**21):
        data = np.zeros(2**22, np.uint8)
        if change is not None:
            data[change] = 1
        (tmp_path / "a.npy").write_bytes(data.tobytes())
        prints.add(files.hash_file(tmp_path / "a.npy"))
    assert all(fingerprint.startswith("sampled-") for fingerprint in prints)
    assert len(prints) == 4
