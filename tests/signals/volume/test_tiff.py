"""TIFF stacks: what of a file is read, what is said of the rest, and that what is written is laid out the same."""

import numpy as np
import pytest
import tifffile

from softmine import SoftmineError
from softmine.signals import tiff_tags
from softmine.signals.volume import Volume
from softmine.signals.volume.tiff import TiffStack, write

rng = np.random.default_rng(0)


def voxels_of(shape, dtype="uint8"):
    return rng.integers(0, 200, shape).astype(dtype)


def write_again(volume, path, block=50):
    """Writes a volume's own values, as its file has them."""
    stored = np.empty((volume.domain.cells, volume.channels), volume.dtype)
    flat = np.arange(volume.domain.cells)
    import torch

    valid = None if volume.valid is None else volume.valid.view(-1).numpy()
    stored[:] = volume.to_raw(volume.cell_values(torch.from_numpy(flat)), valid)
    gap = volume.nodata if volume.valid is None else volume.gap
    write(
        path,
        volume.data.tiff,
        volume.shape,
        np.dtype(volume.dtype),
        gap,
        lambda cells, c: stored[cells, c],
        block,
    )


IN_ORDER = [
    ("ZYX", (5, 6, 7)),
    ("ZCYX", (5, 2, 6, 7)),
    ("TZYX", (9, 5, 6, 7)),
    ("ZYXS", (5, 6, 7, 3)),
    ("TYX", (5, 6, 7)),
]
"""ImageJ knows the order TZCYXS alone."""
OTHERS = [("CZYX", (3, 5, 6, 7)), ("ZTYX", (5, 8, 6, 4))]


@pytest.mark.parametrize(
    ("kind", "axes", "shape"),
    [("imagej", *each) for each in IN_ORDER]
    + [(kind, *each) for kind in ("ome", "plain") for each in IN_ORDER + OTHERS],
)
def test_axes_come_back(tmp_path, kind, axes, shape):
    array = voxels_of(shape)
    options = {"imagej": True} if kind == "imagej" else {"ome": True} if kind == "ome" else {}
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, metadata={"axes": axes}, **options)
    volume = Volume.read(tmp_path / "a.tif")
    write_again(volume, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as one, tifffile.TiffFile(tmp_path / "b.tif") as two:
        for file in (one, two):
            assert file.is_imagej == (kind == "imagej")
            assert file.is_ome == (kind == "ome")
        assert two.series[0].axes == one.series[0].axes == axes
        assert two.series[0].shape == shape
        assert len(two.pages) == len(one.pages)
        np.testing.assert_array_equal(two.asarray(), array)
    assert Volume.read(tmp_path / "b.tif").shape == volume.shape


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int16", "uint32", "float16", "float32", "float64"]
)
def test_types_come_back(tmp_path, dtype):
    array = voxels_of((5, 6, 7)) > 100 if dtype == "bool" else voxels_of((5, 6, 7), dtype) // 2
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": "ZYX"})
    volume = Volume.read(tmp_path / "a.tif")
    write_again(volume, tmp_path / "b.tif")
    again = tifffile.imread(tmp_path / "b.tif")
    assert again.dtype == array.dtype
    np.testing.assert_allclose(again.astype(float), array.astype(float), atol=1e-3)


def test_sizes_of_voxels_come_back(tmp_path):
    array = voxels_of((5, 2, 6, 7), "uint16")
    said = {"axes": "ZCYX", "spacing": 2.5, "unit": "um", "Labels": [f"s{i}" for i in range(10)]}
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, resolution=(4.0, 5.0), metadata=said)
    write_again(Volume.read(tmp_path / "a.tif"), tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        found = file.imagej_metadata
        assert (found["spacing"], found["unit"], found["Labels"]) == (2.5, "um", said["Labels"])
        assert [file.pages.first.tags.valueof(code) for code in (282, 283)] == [(4, 1), (5, 1)]
    said = {"axes": "ZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 1.5,
            "Channel": {"Name": ["red", "green"]}}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", array, ome=True, photometric="minisblack", metadata=said)
    write_again(Volume.read(tmp_path / "a.ome.tif"), tmp_path / "b.ome.tif")
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"], pixels["PhysicalSizeZ"]) == (
        0.25,
        "µm",
        1.5,
    )
    assert [each["Name"] for each in pixels["Channel"]] == ["red", "green"]


@pytest.mark.parametrize(("gap", "text"), [(-9999, "-9999"), (np.nan, None)])
def test_gaps_come_back(tmp_path, gap, text):
    array = voxels_of((5, 6, 7), "float32")
    array[1:3, 2:4] = gap
    tags = [(tiff_tags.NODATA, "s", 0, text, True)] if text else []
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", extratags=tags)
    volume = Volume.read(tmp_path / "a.tif")
    assert volume.notes == [f"no data where a value is {'NaN' if text is None else gap}"]
    write_again(volume, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages.first.tags.valueof(tiff_tags.NODATA) == (text or "nan")
        np.testing.assert_allclose(file.asarray(), array, rtol=1e-6)


def test_places_of_values_in_a_file():
    stack = TiffStack("CZYX", 0)
    assert stack.shape((5, 6, 7, 2)) == (2, 5, 6, 7)
    cells, channels = stack.places(np.arange(420), (5, 6, 7, 2))
    np.testing.assert_array_equal(cells, np.tile(np.arange(210), 2))
    np.testing.assert_array_equal(channels, np.arange(420) // 210)


def test_previews_and_levels_are_left_out(tmp_path):
    array = voxels_of((5, 32, 48))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(array[0, ::4, ::4], subfiletype=1, photometric="minisblack", metadata=None)
        for page in array:
            file.write(page, photometric="minisblack", metadata=None)
    volume = Volume.read(tmp_path / "a.tif")
    assert volume.shape == (5, 32, 48, 1)
    assert any(note.startswith("read the stack (5, 32, 48) of its TIFF; left out") for note in volume.notes)
    with tifffile.TiffWriter(tmp_path / "b.ome.tif", ome=True) as file:
        file.write(array, subifds=1, photometric="minisblack", metadata={"axes": "ZYX"})
        file.write(array[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    volume = Volume.read(tmp_path / "b.ome.tif")
    assert volume.shape == (5, 32, 48, 1)
    assert any("(5, 16, 24)" in note for note in volume.notes)
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        file.write(array, photometric="minisblack")
        file.write(array[:, ::2], photometric="minisblack")
    with pytest.raises(SoftmineError, match=r"c\.tif: it holds 2 stacks of different shapes"):
        Volume.read(tmp_path / "c.tif")


def test_what_the_last_axis_is_taken_for(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        voxels_of((3, 5, 6, 7)),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "TZYX"},
    )
    assert Volume.read(tmp_path / "a.tif").notes == ["its last axis, of 3, is taken for channels"]
    np.save(tmp_path / "a.npy", voxels_of((5, 6, 7, 8)))
    (note,) = Volume.read(tmp_path / "a.npy").notes
    assert note == "its last axis, of 8, is taken for a fourth coordinate, such as time"


@pytest.mark.parametrize(
    ("options", "metadata", "found"),
    [
        (
            {"imagej": True, "resolution": (5.0, 4.0)},
            {"spacing": 3.0, "unit": "um"},
            ((3.0, 0.25, 0.2), "um"),
        ),
        ({"imagej": True, "resolution": (5.0, 4.0)}, {"spacing": 3.0, "unit": "pixel"}, (None, "")),
        ({"imagej": True}, {}, (None, "")),
        (
            {"ome": True},
            {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 1.5, "PhysicalSizeZUnit": "µm"},
            ((1.5, 0.25, 0.2), "µm"),
        ),
        ({"ome": True}, {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.25}, (None, "")),
        ({"resolution": (5.0, 4.0)}, {}, (None, "")),
    ],
)
def test_sizes_of_voxels_are_those_that_the_file_says(tmp_path, options, metadata, found):
    axes = {} if options == {"resolution": (5.0, 4.0)} else {"metadata": {"axes": "ZYX", **metadata}}
    tifffile.imwrite(tmp_path / "a.tif", np.arange(40, dtype=np.uint8).reshape(2, 4, 5), **options, **axes)
    data = Volume.read(tmp_path / "a.tif").data
    assert (data.voxel_size and pytest.approx(data.voxel_size), data.length_unit) == found
