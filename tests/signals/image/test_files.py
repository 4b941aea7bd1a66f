"""Reading image files: what comes back, and what is refused in one sentence."""

import builtins
import io
import os
import pathlib
import re
import struct
import sys
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softmine import SoftmineError
from softmine.signals import Image
from softmine.signals.image import pixels

rng = np.random.default_rng(0)


def read_raw(path):
    image = Image.read(path)
    return image.to_raw(image.rows(0, image.shape[0]))


def bytes_image(*shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def refuse(path, message):
    with pytest.raises(SoftmineError, match=message) as caught:
        Image.read(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert ". " not in text


# What is read


@given(
    st.sampled_from([("png", (1, 2, 3, 4)), ("webp", (3, 4)), ("bmp", (1, 3)), ("ppm", (1, 3))]),
    st.data(),
)
def test_lossless_formats_round_trip(tmp_path_factory, kind, data):
    suffix, channels = kind
    shape = (
        *data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9))),
        data.draw(st.sampled_from(channels)),
    )
    array = data.draw(hnp.arrays(np.uint8, shape))
    if suffix == "webp" and shape[2] == 4:
        # Its encoder leaves out opacity that is full everywhere.
        array[0, 0, 3] = min(array[0, 0, 3], 254)
    path = tmp_path_factory.getbasetemp() / f"round.{suffix}"
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[shape[2]]
    saved = PIL.Image.fromarray(array.squeeze(2) if shape[2] == 1 else array)
    assert saved.mode == mode
    saved.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_raw(path), array)


@given(st.sampled_from(["|u1", "<u2", ">u2", "<f2", ">f4", "<f8", "|b1"]), st.booleans(), st.data())
def test_npy_round_trips(tmp_path_factory, dtype, fortran, data):
    side = st.integers(1, 6)
    shape = data.draw(st.tuples(side, side) | st.tuples(side, side, st.integers(1, 4)))
    array = data.draw(hnp.arrays(np.uint8, shape)) / 255 * (1 if dtype[1] in "bf" else 255)
    array = array.astype(dtype)
    path = tmp_path_factory.getbasetemp() / "round.npy"
    np.save(path, np.asfortranarray(array) if fortran else array)
    image = Image.read(path)
    assert image.dtype == np.dtype(dtype).name
    raw = read_raw(path)
    np.testing.assert_allclose(
        raw.astype(np.float64), array.reshape(image.shape).astype(np.float64), rtol=2e-3, atol=1e-7
    )


def test_sixteen_bit_gray_png(tmp_path):
    array = rng.integers(0, 65536, (5, 6)).astype(np.uint16)
    PIL.Image.fromarray(array).save(tmp_path / "a.png")
    assert Image.read(tmp_path / "a.png").dtype == "uint16"
    np.testing.assert_array_equal(read_raw(tmp_path / "a.png")[..., 0], array)


def test_one_bit_becomes_gray(tmp_path):
    saved = PIL.Image.fromarray(bytes_image(6, 11)).convert("1")
    saved.save(tmp_path / "a.png")
    raw = read_raw(tmp_path / "a.png")
    assert raw.dtype == np.uint8
    np.testing.assert_array_equal(raw[..., 0], np.asarray(saved) * np.uint8(255))


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_become_colors(tmp_path, transparent):
    saved = PIL.Image.fromarray(bytes_image(9, 9, 3)).quantize(16)
    extra = {"transparency": 3} if transparent else {}
    saved.save(tmp_path / "a.png", **extra)
    raw = read_raw(tmp_path / "a.png")
    np.testing.assert_array_equal(raw[..., :3], np.asarray(saved.convert("RGB")))
    assert raw.shape[2] == (4 if transparent else 3)
    if transparent:
        np.testing.assert_array_equal(raw[..., 3] == 0, np.asarray(saved) == 3)


def test_a_transparent_color_becomes_alpha(tmp_path):
    array = bytes_image(7, 8)
    PIL.Image.fromarray(array).save(tmp_path / "a.png", transparency=int(array[0, 0]))
    raw = read_raw(tmp_path / "a.png")
    np.testing.assert_array_equal(raw[..., 1], np.where(array == array[0, 0], 0, 255))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_of_any_depth_becomes_alpha(tmp_path, depth):
    top = 2**depth - 1
    gray = np.array([[top // 3, top, 0, top // 2, 1, top // 3 + 1, 0, top]], np.uint16)
    bits = gray[..., None] >> np.arange(depth)[::-1] & 1
    key = int(gray[0, 3])
    data = b"\0" + np.packbits(bits.astype(np.uint8)).tobytes()
    write_png(tmp_path / "a.png", 8, 1, depth, 0, data, transparent=struct.pack(">H", key))
    raw = read_raw(tmp_path / "a.png")
    full = 65535 if depth == 16 else 255
    assert raw.dtype == (np.uint16 if depth == 16 else np.uint8)
    np.testing.assert_array_equal(raw[..., 0], gray * (full // top))
    np.testing.assert_array_equal(raw[..., 1], np.where(gray == key, 0, full))


def test_cmyk_becomes_rgb(tmp_path):
    saved = PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    saved.save(tmp_path / "a.jpg", quality=100)
    red = Image.read(tmp_path / "a.jpg")
    assert red.channels == 3
    np.testing.assert_allclose(red.rows(0, 8).mean((0, 1)), [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    saved = PIL.Image.fromarray(bytes_image(4, 6, 3))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    saved.save(tmp_path / "a.png", exif=exif)
    with PIL.Image.open(tmp_path / "a.png") as opened:
        expected = np.asarray(PIL.ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(read_raw(tmp_path / "a.png"), expected)


def test_broken_exif_does_not_matter(tmp_path):
    PIL.Image.fromarray(bytes_image(4, 6, 3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff")
    assert Image.read(tmp_path / "a.jpg").shape == (4, 6, 3)


def test_format_follows_from_the_content(tmp_path):
    array = bytes_image(4, 5)
    with (tmp_path / "a.tif").open("wb") as file:
        PIL.Image.fromarray(array).save(file, format="png")
    with (tmp_path / "a.jpg").open("wb") as file:
        np.save(file, array)
    for name in ("a.tif", "a.jpg"):
        np.testing.assert_array_equal(read_raw(tmp_path / name)[..., 0], array)


def test_name_path_and_fingerprint(tmp_path):
    PIL.Image.fromarray(bytes_image(4, 5)).save(tmp_path / "moon.png")
    image = Image.read(str(tmp_path / "moon.png"))
    assert image.name == "moon"
    assert image.path == tmp_path / "moon.png"
    assert len(image.fingerprint) == 64


def test_a_photo_with_extras_is_its_first_image(tmp_path):
    first, second = (PIL.Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    assert Image.read(tmp_path / "a.mpo").rows(0, 8)[0, 0].argmax() == 0


def test_large_images_do_not_warn_and_leave_pillow_as_it_was(tmp_path, monkeypatch):
    PIL.Image.fromarray(bytes_image(20, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)  # Pillow itself would refuse it
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert Image.read(tmp_path / "a.png").shape == (20, 20, 1)
    assert PIL.Image.MAX_IMAGE_PIXELS == 100
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    refuse(tmp_path / "a.png", "truncated or damaged")
    assert PIL.Image.MAX_IMAGE_PIXELS == 100
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES


# 16-bit color PNG


def write_png(path, width, height, depth, color, data=b"", claim=None, transparent=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", *(claim or (width, height)), depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    body += chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_color_png(tmp_path, color, channels):
    pytest.importorskip("imagecodecs")
    array = rng.integers(0, 65536, (4, 5, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    write_png(tmp_path / "a.png", 5, 4, 16, color, rows)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.png"), array)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:90])
    refuse(tmp_path / "a.png", "truncated or damaged")


def test_sixteen_bit_color_png_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    write_png(tmp_path / "a.png", 5, 4, 16, 2, bytes(31 * 4))
    refuse(tmp_path / "a.png", r"needs the extra: pip install 'softmine\[codecs\]'")


def test_ppm_with_sixteen_bits_is_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 # two\n2 1\n65535\n" + bytes(12))
    refuse(tmp_path / "a.ppm", "more than 8 bits a color")
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([1, 0, 0, 2]))
    np.testing.assert_array_equal(read_raw(tmp_path / "a.pgm"), [[[256], [2]]])


# EXR


def write_exr(path, header=None, **channels):
    openexr = pytest.importorskip("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage} | (header or {})
    with openexr.File(header, channels) as file:
        file.write(str(path))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("names", ["RGB", "RGBA", "Y", "YA", "V"])
def test_exr_channels_come_in_order(tmp_path, names, dtype):
    channels = {name: rng.random((5, 7)).astype(dtype) for name in names}
    write_exr(tmp_path / "a.exr", **dict(sorted(channels.items())))
    image = Image.read(tmp_path / "a.exr")
    assert image.dtype == np.dtype(dtype).name
    expected = np.stack([channels[name] for name in names], -1)
    np.testing.assert_allclose(read_raw(tmp_path / "a.exr"), expected, rtol=1e-3)


def test_exr_keeps_colors_and_leaves_the_rest(tmp_path):
    channels = {name: rng.random((5, 7)).astype(np.float32) for name in ("R", "G", "B", "Z", "u.x")}
    write_exr(tmp_path / "a.exr", **channels)
    assert Image.read(tmp_path / "a.exr").channels == 3


def test_high_dynamic_range_uses_its_own_range(tmp_path):
    write_exr(tmp_path / "a.exr", Y=np.array([[-1, 0, 15]], np.float32))
    image = Image.read(tmp_path / "a.exr")
    assert image.value_range == (-1, 15)
    np.testing.assert_array_equal(image.rows(0, 1)[0, :, 0], [0, 1 / 16, 1])


def test_exr_channels_without_colors_are_refused(tmp_path):
    flat = np.zeros((2, 2), np.float32)
    write_exr(tmp_path / "a.exr", **{"left.R": flat, "Z": flat})
    refuse(tmp_path / "a.exr", r"its channels are Z, left\.R, not RGB, RGBA or Y")


def test_exr_with_several_parts_is_refused(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    parts = [openexr.Part({"name": n}, {"Y": np.zeros((2, 2), np.float32)}) for n in ("a", "b")]
    with openexr.File(parts) as file:
        file.write(str(tmp_path / "a.exr"))
    refuse(tmp_path / "a.exr", "it has 2 parts")


def test_damaged_exr_is_refused_quietly(tmp_path, capfd):
    write_exr(tmp_path / "a.exr", Y=rng.random((60, 70)).astype(np.float32))
    whole = (tmp_path / "a.exr").read_bytes()
    capfd.readouterr()
    for length in (10, 100, len(whole) // 2, len(whole) - 4):
        (tmp_path / "a.exr").write_bytes(whole[:length])
        refuse(tmp_path / "a.exr", "EXR data is truncated or damaged; get a complete copy")
    assert capfd.readouterr() == ("", "")


def test_too_large_exr_is_refused_by_its_header(tmp_path, monkeypatch):
    write_exr(tmp_path / "a.exr", Y=np.zeros((20, 30), np.float32))
    monkeypatch.setattr(pixels, "MAX_PIXELS", 599)
    refuse(tmp_path / "a.exr", "claims 30 x 20 pixels, more than the 599")


def test_exr_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(60))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    refuse(tmp_path / "a.exr", r"reading EXR needs the extra: pip install 'softmine\[exr\]'")


# What is refused


def test_paths_that_are_no_file(tmp_path):
    refuse(tmp_path / "none.png", "there is no such file")
    refuse(tmp_path, "it is a folder")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "not an ordinary file")
    refuse(tmp_path / ("x" * 400), "too long")


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    PIL.Image.fromarray(bytes_image(4, 5)).save(tmp_path / "a.png")

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", deny)  # root reads everything
    monkeypatch.setattr(builtins, "open", deny)
    refuse(tmp_path / "a.png", "you are not permitted to; change the file's permissions")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"hello, this is no image\n" * 9, "not an image of a known format"),
        (b"\x80\x04\x95 pickled", "not an image of a known format"),
        (b"BMI table of patients\n1 2 3\n", "not an image of a known format"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "truncated or damaged BMP"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not an image of a known format"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "truncated or damaged WebP"),
        (b"PK\x03\x04 zipped", "it is an archive"),
        (b"\x89PNG\r\n\x1a\n", "PNG header is truncated or damaged"),
        (b"\xff\xd8\xff\xe0 cut", "truncated or damaged JPEG"),
        (b"GIF89a", "truncated or damaged GIF"),
        (b"II*\0", "TIFF data is truncated or damaged"),
        (b"MM\0*\0\0\0\x08\xff", "TIFF data is truncated or damaged"),
        (b"\x93NUMPY\x01\0", "NPY header is truncated or damaged"),
        (b"\x93NUMPY\x07\0\x10\0{}", "NPY header is truncated or damaged"),
    ],
)
def test_content_that_is_no_image(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    refuse(tmp_path / "a.png", message)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "ppm", "npy"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, bytes_image(64, 64))
    else:
        PIL.Image.fromarray(bytes_image(64, 64, 3)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuse(path, "truncated.*; get a complete copy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"shape \(5,\), but an image has"),
        (np.zeros((1, 1, 2, 2, 2)), r"but an image has shape"),
        (np.zeros((0, 5)), r"no pixels \(its shape is \(0, 5\)\)"),
        (np.zeros((3, 20, 30)), "move channels last"),
        (np.zeros((20, 30, 5)), "5 channels"),
        (np.zeros((2, 2), np.complex128), "values are complex128"),
        (np.zeros((2, 2), [("a", "f4")]), "values are "),
        (np.array([[None, 1]]), "pickled objects, which are never loaded"),
        (np.array([[1, np.nan], [np.inf, 0]]), "1 of its pixels are infinite.*row 1, column 0"),
        (np.full((2, 2), np.nan), "every pixel is NaN or its no-data value"),
    ],
)
def test_bad_npy(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    refuse(tmp_path / "a.npy", message)


@pytest.mark.parametrize("shape", [(-4, 5), (-2, -3, 3), (-4, 5, 3)])
def test_an_npy_of_negative_size_is_refused(tmp_path, shape):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))
    refuse(tmp_path / "a.npy", "it has no pixels")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations_are_refused(tmp_path, suffix):
    frames = [PIL.Image.fromarray(bytes_image(8, 8)) for _ in range(3)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refuse(path, "it is animated, with 3 frames")


def test_png_headers_that_claim_too_much_or_nothing(tmp_path):
    write_png(tmp_path / "a.png", 1, 1, 8, 2, claim=(30_000, 20_000))
    refuse(tmp_path / "a.png", "claims 30000 x 20000 pixels.*uncompressed TIFF or NPY")
    write_png(tmp_path / "a.png", 1, 1, 8, 2, claim=(0, 5))
    refuse(tmp_path / "a.png", r"no pixels \(its size is 0 x 5\)")


@pytest.mark.parametrize("suffix", ["jpg", "webp", "gif", "bmp"])
def test_images_over_the_limit_are_not_decoded(tmp_path, monkeypatch, suffix):
    PIL.Image.fromarray(bytes_image(20, 30)).save(tmp_path / f"a.{suffix}")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 599)
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", None)
    refuse(tmp_path / f"a.{suffix}", "claims 30 x 20 pixels, more than the 599")


@given(st.sampled_from(["png", "jpg", "gif", "webp", "bmp", "tif", "npy"]), st.data())
def test_damaged_files_never_raise_anything_else(tmp_path_factory, kind, data):
    stream = io.BytesIO()
    array = np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)
    if kind == "npy":
        np.save(stream, array)
    else:
        PIL.Image.fromarray(array).save(stream, format={"jpg": "jpeg", "tif": "tiff"}.get(kind, kind))
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(bytes(content))
    try:
        image = Image.read(path)
    except SoftmineError as refusal:
        text = str(refusal)
    else:
        text = f"cannot read {path}: not so"
        assert image.rows(0, image.shape[0]).shape == image.shape
    assert re.fullmatch(rf"cannot read {re.escape(str(path))}: [^\n]+", text)
