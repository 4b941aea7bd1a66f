"""Folders of slices, in the order of their numbers, or refused."""

import itertools

import numpy as np
import PIL.Image
import pytest
import tifffile

from softmine import SoftmineError
from softmine.signals import tiff_tags
from softmine.signals.volume import Volume, folder

rng = np.random.default_rng(0)


def save(path, array):
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        PIL.Image.fromarray(array).save(path)


def slices_in(path, names, shape=(6, 7), dtype="uint8"):
    path.mkdir(exist_ok=True)
    voxels = rng.integers(0, 200, (len(names), *shape)).astype(dtype)
    for name, array in zip(names, voxels, strict=True):
        save(path / name, array)
    return voxels


def stored(volume):
    slab = volume.slab(0, volume.shape[0])
    return volume.to_raw(slab, None if volume.valid is None else volume.valid.numpy())


@pytest.mark.parametrize(
    ("ending", "dtype", "shape"),
    [
        *itertools.product(["tif", "npy"], ["uint8", "uint16"], [(6, 7), (6, 7, 3)]),
        # Pillow writes no PNG of 16 bits in color.
        ("png", "uint8", (6, 7)),
        ("png", "uint8", (6, 7, 3)),
        ("png", "uint16", (6, 7)),
    ],
)
def test_slices_in_the_order_of_their_numbers(tmp_path, ending, dtype, shape):
    names = [f"s{number}.{ending}" for number in range(8, 13)]  # as text, s10 would come before s8
    path = tmp_path / "brain.2020"
    voxels = slices_in(path, names, shape, dtype)
    volume = Volume.read(path)
    assert volume.name == "brain.2020"
    assert volume.shape == (5, *shape, *([1] if len(shape) == 2 else []))
    np.testing.assert_array_equal(stored(volume).reshape(voxels.shape), voxels)
    assert volume.data.layers == 0
    assert volume.data.tiff.axes == ("ZYX" if len(shape) == 2 else "ZYXS")
    assert volume.notes == [f"5 slices, {names[0]} to {names[-1]}"]


def test_what_is_no_slice_is_left_out(tmp_path):
    slices_in(tmp_path / "scan", ["s000.tif", "s001.tif", "s002.tif"])
    for name in (".DS_Store", "._s000.tif", "notes.txt"):
        (tmp_path / "scan" / name).write_bytes(b"some text")
    (tmp_path / "scan" / "masks").mkdir()
    volume = Volume.read(tmp_path / "scan")
    assert volume.shape == (3, 6, 7, 1)
    assert volume.notes == ["3 slices, s000.tif to s002.tif", "left out: masks, notes.txt"]


def test_names_are_noted_on_one_line(tmp_path):
    slices_in(tmp_path / "scan", ["a\n0.png", "a\n1.png", "a\n2.png"])
    assert Volume.read(tmp_path / "scan").notes == ["3 slices, a0.png to a2.png"]


def test_a_jump_in_the_numbers_is_noted(tmp_path):
    slices_in(tmp_path / "scan", ["s0.png", "s2.png", "s4.png", "s8.png", "s10.png"])
    (note,) = Volume.read(tmp_path / "scan").notes[1:]
    assert note == "numbers jump from s4.png to s8.png; they are set side by side"


def test_fingerprints_are_of_content_and_order(tmp_path):
    for name, numbers in (("one", (0, 1, 2)), ("two", (5, 6, 7)), ("three", (2, 1, 0))):
        (tmp_path / name).mkdir()
        for number, value in zip(numbers, (3, 5, 9), strict=True):
            save(tmp_path / name / f"{number}.png", np.full((4, 5), value, np.uint8))
    one, two, three = (Volume.read(tmp_path / name).fingerprint for name in ("one", "two", "three"))
    assert one == two != three


def test_gaps_of_slices(tmp_path):
    (tmp_path / "dem").mkdir()
    for number in range(3):
        heights = np.full((6, 7), 100 + number, np.int16)
        heights[number, 2:4] = -9999
        tag = [(tiff_tags.NODATA, "s", 0, "-9999", True)]
        tifffile.imwrite(tmp_path / "dem" / f"{number}.tif", heights, extratags=tag)
    volume = Volume.read(tmp_path / "dem")
    assert volume.domain.valid == 3 * 42 - 6
    assert volume.nodata == -9999
    assert not volume.valid[1, 1, 2]
    tag = [(tiff_tags.NODATA, "s", 0, "-1", True)]
    tifffile.imwrite(tmp_path / "dem" / "3.tif", np.zeros((6, 7), np.int16), extratags=tag)
    with pytest.raises(SoftmineError, match=r"3\.tif declares -1 to mean no data, but 0\.tif -9999"):
        Volume.read(tmp_path / "dem")


def other_size(path):
    slices_in(path, ["s0.png", "s1.png"])
    save(path / "s2.png", np.zeros((6, 8), np.uint8))


def other_type(path):
    slices_in(path, ["s0.tif", "s1.tif"])
    save(path / "s2.tif", np.zeros((6, 7), np.uint16))


def masks_between(path):
    slices_in(path, ["s0.png", "s0_mask.png", "s1.png", "s1_mask.png"])


def two_formats(path):
    slices_in(path, ["s0.png", "s1.png", "s2.tif"])


def two_numbers(path):
    slices_in(path, [f"t{t}_z{z}.png" for t in range(2) for z in range(3)])


def one_alone(path):
    slices_in(path, ["s0.png"])


def a_volume(path):
    path.mkdir()
    (path / "scan.nii").write_bytes(bytes(400))


def a_stack(path):
    path.mkdir()
    for number in range(2):
        tifffile.imwrite(path / f"{number}.tif", np.zeros((3, 6, 7), np.uint8), photometric="minisblack")


def damaged(path):
    slices_in(path, ["s0.png", "s1.png"])
    (path / "s1.png").write_bytes((path / "s1.png").read_bytes()[:50])


def dicom(path):
    path.mkdir()
    (path / "IM1").write_bytes(bytes(128) + b"DICM" + bytes(100))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_size, r"s2\.png is 8 x 6 uint8, but s0\.png 7 x 6 uint8; slices need one size and type"),
        (other_type, r"s2\.tif is 7 x 6 uint16, but s0\.tif 7 x 6 uint8"),
        (masks_between, r"do not count along one pattern \(2 s#\.png, 2 s#_mask\.png"),
        (two_formats, r"images of several formats \(2 PNG, 1 TIFF\)"),
        (two_numbers, r"count along 2 numbers \(2 x 3\); put each stack in a folder of its own"),
        (one_alone, r"a folder with one image only, s0\.png; name one volume file"),
        (a_volume, r"a folder with no slices; name one volume file"),
        (a_stack, r"cannot be read: it has 3 pages.*\(0\.tif\)"),
        (damaged, r"cannot be read: it is a truncated or damaged PNG; get a complete copy \(s1\.png\)"),
        (dicom, "IM1 is DICOM; convert the series to NIfTI first, as with dcm2niix"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path, make, words):
    make(tmp_path / "scan")
    with pytest.raises(SoftmineError, match=words) as caught:
        Volume.read(tmp_path / "scan")
    assert str(caught.value).startswith(f"cannot read {tmp_path / 'scan'}: ")
    assert "\n" not in str(caught.value)


def test_more_slices_than_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "physical_memory", lambda: 200)
    slices_in(tmp_path / "scan", ["0.tif", "1.tif", "2.tif"])
    with pytest.raises(SoftmineError, match="more than half of what this machine has; save them as one"):
        Volume.read(tmp_path / "scan")


def test_a_folder_cannot_stay_where_it_lies(tmp_path):
    slices_in(tmp_path / "scan", ["0.tif", "1.tif", "2.tif"])
    with pytest.raises(SoftmineError, match="can be memory-mapped"):
        Volume.read(tmp_path / "scan", in_memory=False)
