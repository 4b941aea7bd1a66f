"""Reading TIFF files of every common kind."""

import itertools
import lzma
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile

from softmine import SoftmineError
from softmine.signals import Image, tiff_codecs
from softmine.signals.image import pixels, tiff
from softmine.signals.volume import Volume

rng = np.random.default_rng(0)


def read_raw(path):
    image = Image.read(path)
    return image.to_raw(image.rows(0, image.shape[0]))


def random_image(shape, dtype=np.uint8):
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def refuse(path, message):
    with pytest.raises(SoftmineError, match=message) as caught:
        Image.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


LAYOUTS = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "strips": {"rowsperstrip": 3},
    "deflate": {"compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "deflated tiles": {"tile": (16, 16), "compression": "zlib"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_round_trip(tmp_path, layout, dtype, channels):
    array = random_image((21, 34, channels), dtype)
    saved = array[..., 0] if channels == 1 else array
    photometric = "minisblack" if channels == 1 else "rgb"
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", saved, photometric=photometric, **extra, **LAYOUTS[layout])
    image = Image.read(tmp_path / "a.tif")
    assert image.dtype == np.dtype(dtype).name
    np.testing.assert_allclose(read_raw(tmp_path / "a.tif"), array, rtol=1e-6, atol=1e-6)


def test_gray_with_alpha(tmp_path):
    array = random_image((5, 6, 2))
    PIL.Image.fromarray(array).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif"), array)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planes_become_channels(tmp_path, compression):
    array = random_image((7, 9, 3), np.uint16)
    planes = np.moveaxis(array, 2, 0)
    tifffile.imwrite(
        tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression=compression
    )
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif"), array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_can_be_the_minimum(tmp_path, dtype, compression):
    array = random_image((7, 9), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif")[..., 0], np.iinfo(dtype).max - array)


def test_floats_that_count_from_white_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", random_image((7, 9), np.float32), photometric="miniswhite")
    refuse(tmp_path / "a.tif", "floats count from white to black")


def test_palette(tmp_path):
    indexed = PIL.Image.fromarray(random_image((9, 9, 3))).quantize(16)
    indexed.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif"), np.asarray(indexed.convert("RGB")))


def test_one_bit(tmp_path):
    one_bit = PIL.Image.fromarray(random_image((9, 13))).convert("1")
    for compression in (None, "group4"):
        one_bit.save(tmp_path / "a.tif", compression=compression)
        expected = np.asarray(one_bit) * np.uint8(255)
        np.testing.assert_array_equal(read_raw(tmp_path / "a.tif")[..., 0], expected)


def test_cmyk_with_opacity_is_told(tmp_path):
    inks = np.zeros((6, 7, 5), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", inks, photometric="separated", planarconfig="contig", extrasamples=["unassalpha"]
    )
    with pytest.raises(SoftmineError, match=r"its colors are 5 inks \(CMYK is 4; a fifth may be opacity\)"):
        Image.read(tmp_path / "a.tif")


def test_bits_that_count_from_white_are_said_to(tmp_path):
    bits = np.random.default_rng(0).random((9, 11)) > 0.5
    tifffile.imwrite(tmp_path / "a.tif", bits, photometric="miniswhite")
    image = Image.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.rows(0, 9)[..., 0], 1 - bits)
    assert "its values count from white to black, and were turned round" in image.notes


def test_cmyk_becomes_rgb(tmp_path):
    PIL.Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif")[0, 0], [255, 0, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_orientation(tmp_path, orientation, compression):
    array = np.zeros((16, 24, 3), np.uint8)
    array[:8, :12] = 255
    array[:8, 12:] = 99
    if compression == "jpeg":
        exif = PIL.Image.Exif()
        exif[274] = orientation
        PIL.Image.fromarray(array).save(tmp_path / "a.tif", compression="jpeg", quality=100, exif=exif)
    else:
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", compression=compression, extratags=tag)
    with PIL.Image.open(tmp_path / "a.tif") as opened:
        expected = np.asarray(opened).astype(int)  # Pillow turns TIFFs upright by itself
        assert expected.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    np.testing.assert_allclose(read_raw(tmp_path / "a.tif"), expected, atol=4)
    if compression is None:
        mapped = Image.read(tmp_path / "a.tif", in_memory=False)
        np.testing.assert_array_equal(mapped.to_raw(mapped.rows(0, mapped.shape[0])), expected)


@pytest.mark.parametrize(
    ("compression", "mode"),
    [
        *itertools.product(("tiff_lzw", "packbits", "tiff_adobe_deflate"), ("L", "RGB", "I;16")),
        *itertools.product(("jpeg",), ("L", "RGB")),  # which holds 8 bits
    ],
)
def test_compressions_that_pillow_reads_without_loss(tmp_path, compression, mode):
    array = (
        random_image((9, 8), np.uint16)
        if mode == "I;16"
        else random_image((9, 8) if mode == "L" else (9, 8, 3))
    )
    PIL.Image.fromarray(array).save(tmp_path / "a.tif", compression=compression)
    atol = 60 if compression == "jpeg" else 0
    raw = read_raw(tmp_path / "a.tif").squeeze().astype(int)
    np.testing.assert_allclose(raw, array, atol=atol)


def test_compressions_that_need_the_extra_name_it(tmp_path, monkeypatch):
    PIL.Image.fromarray(random_image((9, 8), np.float32)).save(tmp_path / "a.tif", compression="tiff_lzw")

    def fail(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)  # as where it is not installed
    refuse(tmp_path / "a.tif", r"its LZW compression needs the extra: pip install 'softmine\[codecs\]'")


def test_complex_numbers_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.complex64))
    refuse(tmp_path / "a.tif", r"it holds (8|16|32|64)-bit .*s; convert them to")


def test_too_many_channels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 6), np.uint8), photometric="rgb")
    refuse(tmp_path / "a.tif", "6 channels, but an image has 1 to 4")


def test_other_colors_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 3), np.uint8), photometric="cielab")
    refuse(tmp_path / "a.tif", "its colors are CIELAB; convert it to gray or RGB")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 4), np.uint16), photometric="separated")
    refuse(tmp_path / "a.tif", "16-bit SEPARATED colors")


@pytest.mark.parametrize("form", [{}, {"imagej": True}, {"truncate": True}, {"ome": True}])
def test_stacks_are_refused(tmp_path, form):
    tifffile.imwrite(tmp_path / "a.tif", random_image((5, 8, 9)), photometric="minisblack", **form)
    refuse(tmp_path / "a.tif", "it has 5 pages")


def test_previews_beside_the_image_are_skipped(tmp_path):
    array = random_image((32, 48, 3))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(array, photometric="rgb")
        file.write(array[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif"), array)


@pytest.mark.parametrize("preview_first", [False, True])
def test_previews_beside_a_palette_are_skipped(tmp_path, preview_first):
    indices, colors = random_image((32, 48)), random_image((3, 256), np.uint16)
    pages = [(indices, 0), (indices[::2, ::2], 1)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page, kind in pages[::-1] if preview_first else pages:
            file.write(page, photometric="palette", colormap=colors, subfiletype=kind)
    expected = (colors >> 8).T[indices]
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated(tmp_path, compression, capfd):
    tifffile.imwrite(tmp_path / "a.tif", random_image((64, 64)), compression=compression)
    whole = (tmp_path / "a.tif").read_bytes()
    for part in (4, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.tif").write_bytes(whole[:part])
        refuse(tmp_path / "a.tif", "truncated")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "group4", "tiff_adobe_deflate"])
def test_damaged_data_is_refused_quietly(tmp_path, compression, capfd):
    saved = PIL.Image.fromarray(random_image((64, 64))).convert("1" if compression == "group4" else "L")
    saved.save(tmp_path / "a.tif", compression=compression)
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages.first.dataoffsets[0]
    whole[start : start + 200] = bytes(200)
    (tmp_path / "a.tif").write_bytes(whole)
    refuse(tmp_path / "a.tif", "truncated or damaged")
    assert capfd.readouterr() == ("", "")


def test_images_over_the_limit_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "MAX_PIXELS", 80)
    tifffile.imwrite(tmp_path / "a.tif", random_image((9, 9)), compression="zlib")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    refuse(tmp_path / "a.tif", "claims 9 x 9 pixels, more than the 80")


def test_the_log_of_tifffile_is_left_as_it_was(tmp_path):
    handlers = list(tifffile.logger().handlers)
    tifffile.imwrite(tmp_path / "a.tif", random_image((4, 4)))
    tiff.read(tmp_path / "a.tif", "cannot read it")
    assert tifffile.logger().handlers == handlers


def test_pages_that_lead_in_a_circle_end(tmp_path):
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, np.arange(12, dtype=np.uint8).reshape(3, 4))
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    # The first page is followed by one without tags, and that by itself.
    second = len(data)
    data[first + 2 + 12 * count : first + 6 + 12 * count] = second.to_bytes(4, "little")
    data += b"\0\0" + second.to_bytes(4, "little")
    path.write_bytes(data)
    assert Image.read(path).shape == (3, 4, 1)
    with pytest.raises(SoftmineError, match="damaged"):
        Volume.read(path)


def test_decoders_stop_where_a_strip_is_full():
    packed = zlib.compress(bytes(range(100)))
    assert tiff_codecs.zlib_decode(packed, out=100) == bytes(range(100))
    assert len(tiff_codecs.zlib_decode(zlib.compress(bytes(10**6)), out=100)) == 101
    with pytest.raises(zlib.error):
        tiff_codecs.zlib_decode(packed[:-1], out=100)  # without its checksum
    assert tiff_codecs.lzma_decode(lzma.compress(bytes(50)), out=50) == bytes(50)
    assert len(tiff_codecs.lzma_decode(lzma.compress(bytes(10**6)), out=50)) == 51
