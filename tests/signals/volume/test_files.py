"""Volume files: what they say is kept, and what cannot be read faithfully is refused in one sentence."""

import gzip
import sys

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow

from softmine import SoftmineError
from softmine.signals.volume import Volume

AFFINE = np.diag([-1.5, 2.0, 4.0, 1.0])


def voxels_of(shape=(5, 6, 7), dtype="uint8", seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 100, shape).astype(dtype)


def save_nifti(path, voxels, affine=AFFINE, kind=None, scaling=None, endianness="<"):
    kind = kind or nibabel.Nifti1Image
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(voxels.dtype.newbyteorder(endianness))
    image = kind(voxels, affine, header)
    image.header.set_xyzt_units("mm")
    if scaling:
        image.header.set_slope_inter(*scaling)
    nibabel.save(image, path)


def at_voxels(volume):
    """Stored values at all voxels, through the look-up."""
    values = volume(volume.domain.centers(torch.arange(volume.domain.cells), torch.float64)).numpy()
    return volume.to_raw(values).reshape(volume.shape)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_nifti(tmp_path, ending, kind, dtype, endianness):
    voxels = voxels_of(dtype=dtype)
    path = tmp_path / f"head.{ending}"
    save_nifti(path, voxels, kind=kind, endianness=endianness)
    volume = Volume.read(path)
    assert volume.name == "head"
    assert volume.dtype == dtype
    np.testing.assert_array_equal(at_voxels(volume)[..., 0], voxels)
    assert volume.data.voxel_size == (1.5, 2.0, 4.0)
    assert volume.data.length_unit == "mm"
    assert volume.data.orientation == ("L", "A", "S")
    assert volume.data.layers == 2
    if ending == "nii":
        mapped = Volume.read(path, in_memory=False)
        np.testing.assert_array_equal(at_voxels(mapped)[..., 0], voxels)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6, 7, 1), (5, 6, 7, 1)),
        ((5, 6, 7, 1, 1), (5, 6, 7, 1)),
        ((5, 6, 7, 1, 1, 1, 1), (5, 6, 7, 1)),
        ((5, 6, 7, 8, 1), (5, 6, 7, 8, 1)),
        ((5, 6, 7, 1, 3), (5, 6, 7, 3)),
        ((5, 6, 7, 1, 3, 1), (5, 6, 7, 3)),
    ],
)
def test_nifti_axes_of_one(tmp_path, ending, shape, expected):
    voxels = voxels_of(shape)
    save_nifti(tmp_path / f"a.{ending}", voxels)
    volume = Volume.read(tmp_path / f"a.{ending}")
    assert volume.shape == expected
    np.testing.assert_array_equal(at_voxels(volume), voxels.reshape(expected))
    assert volume.notes[:1] == (["its fourth axis, of 8, is time"] if 8 in shape else [])


@pytest.mark.parametrize("save", [np.save, np.savez])
@pytest.mark.parametrize(
    ("shape", "expected", "note"),
    [
        ((5, 6, 7, 1), (5, 6, 7, 1), None),
        ((5, 6, 7, 1, 1), (5, 6, 7, 1), r"its shape (5, 6, 7, 1, 1) is taken for (5, 6, 7)"),
        ((1, 1, 5, 6, 7), (5, 6, 7, 1), r"its shape (1, 1, 5, 6, 7) is taken for (5, 6, 7)"),
        ((1, 6, 7), (1, 6, 7, 1), None),
        ((5, 6, 7, 3), (5, 6, 7, 3), "its last axis, of 3, is taken for channels"),
    ],
)
def test_arrays_with_axes_of_one(tmp_path, save, shape, expected, note):
    voxels = voxels_of(shape)
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, voxels)
    volume = Volume.read(path)
    assert volume.shape == expected
    np.testing.assert_array_equal(at_voxels(volume), voxels.reshape(expected))
    assert volume.notes == ([note] if note else [])


def test_nifti_values_are_as_stored(tmp_path):
    voxels = voxels_of(dtype="int16")
    save_nifti(tmp_path / "ct.nii", voxels, scaling=(2.0, -1024.0))
    note = "values are as stored: the scale of 2 and offset of -1024 stay in its header"
    assert Volume.read(tmp_path / "ct.nii").notes == [note]
    np.testing.assert_array_equal(at_voxels(Volume.read(tmp_path / "ct.nii"))[..., 0], voxels)


def test_nifti_vectors_and_times(tmp_path):
    vectors = voxels_of((4, 5, 6, 1, 3))
    save_nifti(tmp_path / "vectors.nii.gz", vectors)
    volume = Volume.read(tmp_path / "vectors.nii.gz")
    assert (volume.domain.shape, volume.channels) == ((4, 5, 6), 3)
    np.testing.assert_array_equal(at_voxels(volume), vectors[:, :, :, 0])
    times = voxels_of((4, 5, 6, 7))
    save_nifti(tmp_path / "times.nii.gz", times)
    volume = Volume.read(tmp_path / "times.nii.gz")
    assert (volume.domain.shape, volume.channels) == ((4, 5, 6, 7), 1)
    np.testing.assert_array_equal(at_voxels(volume)[..., 0], times)


@pytest.mark.parametrize(
    ("code", "unit"), [(1, "m"), (2 + 8, "mm"), (3 + 64, "um"), (0, ""), (5, ""), (255, "")]
)
def test_nifti_units_of_length(tmp_path, code, unit):
    save_nifti(tmp_path / "a.nii", voxels_of())
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[123] = code
    (tmp_path / "a.nii").write_bytes(content)
    assert Volume.read(tmp_path / "a.nii").data.length_unit == unit


def test_nifti_without_a_place_in_a_body_has_no_orientation(tmp_path):
    image = nibabel.Nifti1Image(voxels_of(), None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "a.nii")
    assert Volume.read(tmp_path / "a.nii").data.orientation is None


def test_the_format_is_told_by_the_content(tmp_path):
    save_nifti(tmp_path / "a.nii.gz", voxels_of())
    (tmp_path / "a.nii.gz").rename(tmp_path / "a.dat")
    assert Volume.read(tmp_path / "a.dat").domain.shape == (5, 6, 7)


def test_npz_with_one_array(tmp_path):
    voxels = voxels_of(dtype="float32")
    voxels[0, 1] = np.nan
    np.savez_compressed(tmp_path / "sea.npz", sst=voxels)
    volume = Volume.read(tmp_path / "sea.npz")
    assert volume.domain.valid == 5 * 6 * 7 - 7
    assert volume.name == "sea"


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("ZYX", (5, 6, 7), (5, 6, 7, 1)),
        ("ZCYX", (5, 3, 6, 7), (5, 6, 7, 3)),
        ("CZYX", (2, 5, 6, 7), (5, 6, 7, 2)),
        ("ZYXS", (5, 6, 7, 3), (5, 6, 7, 3)),
        ("TZYX", (5, 8, 6, 7), (8, 6, 7, 5, 1)),
        ("ZTYX", (8, 5, 6, 7), (8, 6, 7, 5, 1)),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_stacks(tmp_path, axes, shape, expected, compression):
    voxels = voxels_of(shape)
    photometric = "rgb" if "S" in axes else "minisblack"
    metadata = {"axes": axes}
    tifffile.imwrite(
        tmp_path / "a.tif",
        voxels,
        ome=True,
        compression=compression,
        photometric=photometric,
        metadata=metadata,
    )
    volume = Volume.read(tmp_path / "a.tif")
    assert volume.shape == expected
    channel = next((axes.index(letter) for letter in "CS" if letter in axes), None)
    wanted = np.moveaxis(voxels, channel if channel is not None else max(axes.find("T"), -1), -1)
    wanted = wanted[..., None] if channel is None else wanted
    np.testing.assert_array_equal(at_voxels(volume), wanted)
    if not compression and volume.channels == 1:
        np.testing.assert_array_equal(at_voxels(Volume.read(tmp_path / "a.tif", in_memory=False)), wanted)
    assert volume.data.layers == 0


def save_pages(path, voxels):
    pages = [Pillow.fromarray(page) for page in voxels]
    pages[0].save(path, format="TIFF", save_all=True, append_images=pages[1:])


def test_tiff_pages_of_any_program(tmp_path):
    voxels = voxels_of()
    save_pages(tmp_path / "a.tif", voxels)
    np.testing.assert_array_equal(at_voxels(Volume.read(tmp_path / "a.tif"))[..., 0], voxels)


def test_tiff_with_a_declared_no_data_value(tmp_path):
    voxels = voxels_of(dtype="float32")
    voxels[2, 3:5] = -9999
    tifffile.imwrite(tmp_path / "a.tif", voxels, extratags=[(42113, "s", 0, "-9999", True)])
    volume = Volume.read(tmp_path / "a.tif")
    assert volume.domain.valid == 5 * 6 * 7 - 14
    assert volume.value_range[0] >= 0


def save_truncated(path, write, share=0.6, cut=None):
    """Keeps a share of a file, or all but the last ``cut`` bytes."""
    write(path)
    path.write_bytes(path.read_bytes()[: -cut if cut else int(path.stat().st_size * share)])


def truncated_nifti(path):
    save_truncated(path, lambda path: save_nifti(path, voxels_of((20, 20, 20))))


def damaged_nifti(path):
    """One voxel is another, which unzips all the same; only the checksum at the end tells."""
    save_nifti(path.with_suffix(".plain.nii"), voxels_of((20, 20, 20)))
    content = bytearray(gzip.compress(path.with_suffix(".plain.nii").read_bytes(), 0))
    content[5000] ^= 0x7F
    path.write_bytes(content)


def negative_npy(path):
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (-4, -5, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))


def two_pieces(path):
    image = nibabel.Nifti1Pair(voxels_of(), AFFINE)
    nibabel.save(image, path.with_suffix(".img"))


def promising(path):
    save_nifti(path.with_suffix(".small.nii"), voxels_of())
    content = bytearray(path.with_suffix(".small.nii").read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    with gzip.open(path, "wb") as file:
        file.write(content)


def odd_pages(path):
    with tifffile.TiffWriter(path) as file:
        file.write(voxels_of((5, 6)), photometric="minisblack")
        file.write(voxels_of((5, 7)), photometric="minisblack")


def infinite(path):
    voxels = voxels_of(dtype="float32")
    voxels[1, 2, 3] = np.inf
    np.save(path, voxels)


BAD = {
    "missing.nii.gz": (lambda path: None, "there is no such file"),
    "folder": (lambda path: path.mkdir(), "it is a folder"),
    "empty.nii": (lambda path: path.write_bytes(b""), r"it is empty \(0 bytes\)"),
    "text.nii": (lambda path: path.write_text("not a volume"), "no format that is known"),
    "text.nii.gz": (lambda path: path.write_bytes(gzip.compress(b"no volume")), "gzip data, but no NIfTI"),
    "cut.nii.gz": (truncated_nifti, "truncated or damaged"),
    "damaged.nii.gz": (damaged_nifti, "gzip data is truncated or damaged"),
    "unsealed.nii.gz": (
        lambda path: save_truncated(path, lambda p: save_nifti(p, voxels_of((20, 20, 20))), cut=8),
        "gzip data is truncated or damaged",
    ),
    "cut.nii": (truncated_nifti, "it is truncated, .* bytes long"),
    "head.nii": (
        lambda path: save_truncated(path, lambda p: save_nifti(p, voxels_of()), 0.4),
        "header is trunc",
    ),
    "huge.nii.gz": (promising, "header promises 27,000,000,000,000 bytes"),
    "two.hdr": (two_pieces, r"a file of their own \(\.img\)"),
    "complex.nii": (lambda path: save_nifti(path, voxels_of(dtype="complex64")), "complex numbers"),
    "rgb.nii": (
        lambda path: save_nifti(path, np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "records",
    ),
    "line.npy": (lambda path: np.save(path, voxels_of((9,))), "it has 1 axis"),
    "plane.npy": (lambda path: np.save(path, voxels_of((9, 9))), "it has 2 axes"),
    "five.npy": (lambda path: np.save(path, voxels_of((2, 3, 2, 3, 2))), "it has 5 axes"),
    "none.npy": (lambda path: np.save(path, voxels_of((0, 3, 2))), "no voxels"),
    "negative.npy": (negative_npy, "it has no voxels"),
    "nan.npy": (lambda path: np.save(path, np.full((3, 3, 3), np.nan)), "it has no data"),
    "inf.npy": (infinite, r"voxel \(1, 2, 3\)"),
    "pickle.npy": (lambda path: np.save(path, np.full((2, 2, 2), None), allow_pickle=True), "never loaded"),
    "cut.npy": (lambda path: save_truncated(path, lambda p: np.save(p, voxels_of())), "it is truncated"),
    "header.npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v"), "NPY header is truncated"),
    "two.npz": (lambda path: np.savez(path, ct=voxels_of(), mask=voxels_of()), r"2 arrays \(ct, mask\)"),
    "none.npz": (lambda path: np.savez(path), "no array"),
    "pickle.npz": (lambda path: np.savez(path, a=np.full((2, 2, 2), None)), "never loaded"),
    "cut.npz": (
        lambda path: save_truncated(path, lambda p: np.savez(p, voxels_of())),
        "truncated or damaged",
    ),
    "one.tif": (lambda path: tifffile.imwrite(path, voxels_of((9, 9))), "it has 2 axes"),
    "flat.tif": (
        lambda path: tifffile.imwrite(path, voxels_of((9, 8, 3)), photometric="rgb"),
        "one flat image in color; fit it with softmine fit image",
    ),
    "odd.tif": (odd_pages, "2 stacks of different shapes"),
    "cut.tif": (lambda path: save_truncated(path, lambda p: tifffile.imwrite(p, voxels_of())), "truncated"),
    "pages.tif": (
        lambda path: save_truncated(path, lambda p: save_pages(p, voxels_of((9, 40, 40)))),
        "truncated",
    ),
    "white.tif": (
        lambda path: tifffile.imwrite(path, voxels_of(), photometric="miniswhite"),
        "its colors are MINISWHITE",
    ),
    "many.tif": (
        lambda path: tifffile.imwrite(path, voxels_of((5, 6, 8, 9)), imagej=True, metadata={"axes": "ZCYX"}),
        "it has 6 channels",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(SoftmineError, match=message) as caught:
        Volume.read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tiff_that_ends_early_never_loses_pages_silently(tmp_path):
    save_pages(tmp_path / "whole.tif", voxels_of((5, 12, 11)))
    content = (tmp_path / "whole.tif").read_bytes()
    for size in range(8, len(content) - 2, 13):
        (tmp_path / "cut.tif").write_bytes(content[:size])
        with pytest.raises(SoftmineError, match="truncated"):
            Volume.read(tmp_path / "cut.tif")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    save_nifti(tmp_path / "a.nii.gz", voxels_of())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(SoftmineError, match=r"pip install 'softmine\[volume\]'"):
        Volume.read(tmp_path / "a.nii.gz")


def test_compressed_files_cannot_stay_in_their_file(tmp_path):
    save_nifti(tmp_path / "a.nii.gz", voxels_of())
    with pytest.raises(SoftmineError, match="only uncompressed NPY, NIfTI and TIFF"):
        Volume.read(tmp_path / "a.nii.gz", in_memory=False)


def test_nifti_headers_that_are_odd_print_nothing(tmp_path, capfd):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[70:72] = (4096).to_bytes(2, "little")
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(SoftmineError, match="its NIfTI header is truncated or damaged"):
        Volume.read(tmp_path / "a.nii")
    assert capfd.readouterr() == ("", "")


def test_nifti_whose_voxels_begin_nowhere_is_refused(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[108:112] = np.float32(np.nan).tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(SoftmineError, match="its NIfTI header is truncated or damaged"):
        Volume.read(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_bytes_after_the_voxels_of_a_nifti_are_said(tmp_path, ending):
    voxels = voxels_of()
    save_nifti(tmp_path / "a.nii", voxels)
    content = (tmp_path / "a.nii").read_bytes() + bytes(100)
    path = tmp_path / f"b.{ending}"
    path.write_bytes(gzip.compress(content) if ending == "nii.gz" else content)
    volume = Volume.read(path)
    np.testing.assert_array_equal(at_voxels(volume)[..., 0], voxels)
    assert "100 bytes after its voxels left out" in volume.notes


def test_nifti_whose_voxels_begin_in_its_header_says_so(tmp_path):
    save_nifti(tmp_path / "a.nii", voxels_of())
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[108:112] = bytes(4)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(SoftmineError, match=r"begin at byte 0, which is in the header \(vox_offset\)"):
        Volume.read(tmp_path / "a.nii")


def test_the_orientation_of_a_stack_is_said_to_be_left_out(tmp_path):
    voxels = voxels_of()
    tags = [(274, "H", 1, 6, False)]
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack", extratags=tags)
    volume = Volume.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(at_voxels(volume)[..., 0], voxels)
    assert "its pages are as they are stored, not turned as their orientation 6 says" in volume.notes


def test_voxels_that_are_read_are_not_copied_but_those_that_are_given_are(tmp_path):
    voxels = voxels_of(dtype="float32")
    volume = Volume(voxels)
    kept = at_voxels(volume)
    voxels[:] = 0
    np.testing.assert_array_equal(at_voxels(volume), kept)
