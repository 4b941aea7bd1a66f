"""Images with pixels that hold no data: NaN, a declared value, a mask in the file, a masked array."""

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from softmine import SoftmineError
from softmine.signals import Image, Volume, grid, tiff_tags
from softmine.signals.image import signal
from softmine.signals.image.maps import fill_gaps

rng = np.random.default_rng(0)
HOLE = (slice(2, 6), slice(3, 8))


def terrain(dtype=np.float32, gap=np.nan, shape=(10, 12)):
    """Heights from 500 to 700 with a hole."""
    heights = (500 + 200 * rng.random(shape)).astype(dtype)
    heights[HOLE] = gap
    return heights


def known(shape=(10, 12)):
    mask = np.ones(shape, bool)
    mask[HOLE] = False
    return mask


def declares(text):
    return {"extratags": [(tiff_tags.NODATA, "s", 0, text, True)]}


def at_pixels(image):
    coords = image.domain.centers(torch.arange(image.domain.cells), torch.float64)
    return image(coords).numpy().reshape(image.shape)


LEAST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    ("dtype", "gap", "text"),
    [
        ("float32", np.nan, None),
        ("float32", np.nan, "nan"),
        ("float32", -9999, "-9999"),
        ("float32", LEAST, "-3.4028234663852886e+38"),
        ("float32", -np.inf, "-1.7976931348623157e+308"),  # as those declare who think in float64
        ("float64", -32768, " -32768.0 "),
        ("int16", -9999, "-9999"),
        ("int32", -2147483648, "-2147483648"),
        ("uint16", 65535, "65535"),
        ("uint64", 2**64 - 1, str(2**64 - 1)),
    ],
)
@pytest.mark.parametrize("form", ["plain", "deflate", "mapped"])
def test_a_declared_value_and_nan_mean_no_data(tmp_path, dtype, gap, text, form):
    heights = terrain(dtype, gap)
    compression = "zlib" if form == "deflate" else None
    tags = declares(text) if text else {}
    tifffile.imwrite(tmp_path / "dem.tif", heights, compression=compression, **tags)
    image = Image.read(tmp_path / "dem.tif", in_memory=False if form == "mapped" else None)
    np.testing.assert_array_equal(image.valid.numpy(), known())
    assert image.domain.valid == known().sum()
    inside = heights[known()]
    low, high = float(inside.min()), float(inside.max())
    assert image.value_range == (low, high)
    expected = np.where(known(), (heights.astype(np.float64) - low) / (high - low), 0)
    np.testing.assert_allclose(at_pixels(image)[..., 0], expected, atol=1e-6)
    np.testing.assert_allclose(image.rows(0, 10)[..., 0], np.where(known(), expected, np.nan), atol=1e-6)
    again = image.to_raw(image.rows(0, 10), known())[..., 0]
    assert again.dtype == heights.dtype
    np.testing.assert_allclose(again[known()].astype(float), inside.astype(float), atol=1e-3)
    gap = max(gap, LEAST)  # which is written where infinities were
    np.testing.assert_array_equal(again[HOLE], np.full(again[HOLE].shape, gap, dtype))
    (note,) = [note for note in image.notes if "no data" in note]
    assert (
        note
        == f"no data where a value is {'NaN' if np.isnan(gap) else gap if dtype[0] != 'f' else f'{gap:.9g}'}"
    )


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        *((LEAST, text) for text in ("-3.40282e+38", "-3.4028231e+38", "-1.7976931348623157e+308", "-inf")),
        (-np.inf, "-inf"),
        (1e38, "1.00000032E+38"),
    ],
)
def test_extreme_declared_values_may_be_rounded(tmp_path, stored, text):
    tifffile.imwrite(tmp_path / "dem.tif", terrain("float32", stored), **declares(text))
    image = Image.read(tmp_path / "dem.tif")
    np.testing.assert_array_equal(image.valid.numpy(), known())
    assert 500 <= image.value_range[0] < image.value_range[1] <= 700


@pytest.mark.parametrize(
    ("dtype", "gap", "text", "words"),
    [
        ("float32", 0, "-9999", "no pixel has the value that is declared to mean no data, -9999"),
        (
            "uint8",
            0,
            "-9999",
            "-9999 is declared to mean no data, but uint8 does not hold it: all are values",
        ),
        ("float32", -9998.9, "-9999", "no pixel has the value that is declared to mean no data, -9999"),
        ("float32", -9999, None, "20 pixels of -9999 look as if they meant no data, but nothing says so"),
        ("int16", -32768, None, "20 pixels of -32768 look as if they meant no data, but nothing says so"),
        ("float32", LEAST, None, "20 pixels of -3.40282347e+38 look as if they meant no data"),
    ],
)
def test_what_declares_nothing_or_lacks_a_declaration_is_said(tmp_path, dtype, gap, text, words):
    heights = terrain(dtype, gap)
    tifffile.imwrite(tmp_path / "dem.tif", heights, **(declares(text) if text else {}))
    image = Image.read(tmp_path / "dem.tif")
    assert image.valid is None
    assert any(note.startswith(words) for note in image.notes)


def test_usual_values_look_like_data(tmp_path):
    full = np.linspace(-32768, 32767, 120).astype(np.int16).reshape(10, 12)
    for pixels in (full, (full * 1e33).astype(np.float32), np.full((3, 4), -9999, np.int16)):
        assert not any("look as if" in note for note in Image(pixels).notes)


def test_a_declaration_beside_the_file_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "dem.tif", terrain("float32", -9999))
    words = "<PAMDataset><PAMRasterBand band='1'><NoDataValue le='0'>-9999</NoDataValue></PAMRasterBand></PAMDataset>"
    (tmp_path / "dem.tif.aux.xml").write_text(words)
    said = "dem.tif.aux.xml declares -9999 to mean no data, which is not used"
    assert any(note.startswith(said) for note in Image.read(tmp_path / "dem.tif").notes)


def test_colors_are_no_data_where_all_channels_say_so(tmp_path):
    colors = np.random.default_rng(0).integers(1, 256, (10, 12, 3)).astype(np.uint8)
    colors[..., 0] = 0
    colors[HOLE] = 0
    tifffile.imwrite(tmp_path / "a.tif", colors, photometric="rgb", **declares("0"))
    image = Image.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.valid.numpy(), known())
    assert "no data where all values are 0: 20 of 120 pixels" in image.notes
    # A measurement is lost with any of its channels.
    heights = np.stack([terrain("float32", -9999), terrain("float32", 600)], -1)
    tifffile.imwrite(
        tmp_path / "b.tif", heights, photometric="minisblack", planarconfig="contig", **declares("-9999")
    )
    np.testing.assert_array_equal(Image.read(tmp_path / "b.tif").valid.numpy(), known())


def test_a_range_is_told_in_digits_that_tell_it():
    notes = Image(np.array([[1e6, 1e6 + 3.5]])).notes
    assert notes == ["values from 1000000 to 1000003.5 count as 0 to 1"]


@pytest.mark.parametrize(("most", "said"), [(1e-30, True), (0.0039, True), (0.004, False), (1.0, False)])
def test_floats_that_would_all_be_black_are_said(most, said):
    image = Image(np.array([[0, most]], np.float32))
    assert image.value_range == (0, 1)
    assert image.notes == ([f"no value is above {most:.3g}, of a range of 0 to 1: scale them up unless they are to stay dark"] if said else [])  # fmt: skip


def test_bytes_keep_their_range_beside_gaps(tmp_path):
    photo = rng.integers(1, 256, (10, 12, 3)).astype(np.uint8)
    photo[HOLE] = 0
    tifffile.imwrite(tmp_path / "ortho.tif", photo, photometric="rgb", **declares("0"))
    image = Image.read(tmp_path / "ortho.tif")
    assert image.value_range == (0, 255)
    np.testing.assert_array_equal(image.valid.numpy(), known())


def test_a_declared_value_that_does_not_occur_masks_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 7, np.uint8), **declares("-9999"))
    image = Image.read(tmp_path / "a.tif")
    assert image.valid is None
    assert image.nodata is None  # bytes cannot store it
    assert not image.domain.masked


def test_what_is_written_is_never_taken_for_a_gap():
    image = Image(np.array([[3, 9, 0]], np.uint8), nodata=0)
    assert image.to_raw(np.array([[0.0], [1.0]], np.float32)).tolist() == [[1], [255]]
    image = Image(np.array([[3.0, 9, -1]], np.float32), nodata=-1)
    assert image.to_raw(np.array([[-4 / 6]], np.float64)) != -1
    high = Image(np.array([[3, 9, 65535]], np.uint16), nodata=65535)
    assert high.to_raw(np.array([1e9])) == 65534


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("gradient", [False, True])
def test_look_ups_weigh_known_pixels_alone(tmp_path, in_memory, gradient):
    np.save(tmp_path / "a.npy", np.array([[0.0, np.nan, 1.0], [0.5, 0.5, np.nan]], np.float32))
    image = Image.read(tmp_path / "a.npy", in_memory=in_memory)
    coords = torch.tensor([[0.25, 2 / 6], [0.25, 0.5], [0.5, 4 / 6], [0.25, 1 / 6]]).requires_grad_(gradient)
    values = image(coords)
    # Between a known pixel and none; on none; between two of each kind; on a known one.
    torch.testing.assert_close(values.detach()[:, 0], torch.tensor([0.0, 0.0, 0.75, 0.0]))
    if gradient:
        values.sum().backward()
        assert coords.grad.isfinite().all()


def test_masks_of_files_and_arrays(tmp_path):
    photo = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(photo, photometric="rgb", metadata=None)
        file.write(known(), photometric="mask", subfiletype=4, compression="zlib", metadata=None)
        file.write(known()[::2, ::2], photometric="mask", subfiletype=5, metadata=None)
    image = Image.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.valid.numpy(), known())
    assert "pixels outside its transparency mask hold no data" in image.notes
    masked = Image(np.ma.masked_array(photo, np.broadcast_to(~known()[..., None], photo.shape)))
    np.testing.assert_array_equal(masked.valid.numpy(), known())
    voxels = np.ma.masked_array(np.ones((3, 10, 12)), np.broadcast_to(~known(), (3, 10, 12)))
    np.testing.assert_array_equal(Volume(voxels).valid.numpy(), np.broadcast_to(known(), (3, 10, 12)))


def test_a_palette_declares_an_index(tmp_path):
    indices, colors = rng.integers(1, 256, (10, 12)).astype(np.uint8), rng.integers(0, 65536, (3, 256))
    colors[:, 7] = 0
    indices[HOLE] = 9
    colors = colors.astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colors, **declares("9"))
    image = Image.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.valid.numpy(), indices != 9)
    raw = image.to_raw(image.rows(0, 10))
    np.testing.assert_array_equal(raw[indices != 9], (colors >> 8).T[indices][indices != 9])
    assert "its palette became RGB" in image.notes


def test_white_as_the_minimum_turns_the_declared_value(tmp_path):
    array = rng.integers(0, 200, (10, 12)).astype(np.uint8)
    array[HOLE] = 250
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite", **declares("250"))
    image = Image.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.valid.numpy(), known())


def test_no_data_at_all_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), -9999, np.int16), **declares("-9999"))
    with pytest.raises(
        SoftmineError, match=r"a\.tif: it has no data, every pixel is NaN or its no-data value"
    ):
        Image.read(tmp_path / "a.tif")


@pytest.mark.parametrize("in_memory", [True, False])
def test_previews_and_edges_leave_gaps_out(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(grid, "BLOCK_VALUES", 40)
    ramp = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32), (10, 12)).copy()
    whole = Image(ramp.copy()).edges().numpy()
    ramp[HOLE] = np.nan
    np.save(tmp_path / "a.npy", ramp)
    image = Image.read(tmp_path / "a.npy", in_memory=in_memory)
    edges = image.edges().numpy()
    assert (edges[HOLE] == 0).all()
    # The border of a gap is no edge: a step there from or to 0 would be ten times the slope of the ramp.
    assert (edges <= 1.5 * whole + 1e-6).all()
    far = np.ones((10, 12), bool)
    far[1:7, 2:9] = False
    np.testing.assert_allclose(edges[far], whole[far], atol=1e-6)
    small = image.preview(6)
    assert np.isnan(small[1:3, 2:4]).all()
    assert np.nanmax(small) <= 1
    assert np.nanmin(small) >= 0
    if in_memory:
        # Half of the cell is known: its mean is over that.
        np.testing.assert_allclose(small[2, 1, 0], np.nanmean(ramp[4:6, 2:4]), atol=1e-6)


def test_edges_of_a_large_file_are_sampled_between_gaps(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "EDGE_PIXELS", 20)
    np.save(tmp_path / "a.npy", terrain())
    image = Image.read(tmp_path / "a.npy", in_memory=False)
    assert image.edges(100).shape == (9, 11)
    assert image.edges(100).isfinite().all()


def test_gaps_become_the_mean_of_their_neighbors():
    filled = fill_gaps(np.array([[1, 3, np.nan, np.nan, np.nan]], np.float32))
    np.testing.assert_array_equal(filled, [[1, 3, 3, 0, 0]])


def test_moves_with_its_gaps():
    image = Image(terrain())
    image.to("meta")
    assert image.known.device.type == "meta"
    assert image.valid.device.type == "cpu"


def test_pngs_and_jpegs_have_no_gaps(tmp_path):
    PIL.Image.fromarray(rng.integers(0, 255, (8, 9)).astype(np.uint8)).save(tmp_path / "a.png")
    image = Image.read(tmp_path / "a.png")
    assert image.valid is None
    assert image.notes == []
