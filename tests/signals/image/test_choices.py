"""What readers of images choose, convert or leave out, and that they say so."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile

from softmine import SoftmineError
from softmine.signals import Image

rng = np.random.default_rng(0)


def pixels_of(*shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def read(path):
    image = Image.read(path)
    return image.to_raw(image.rows(0, image.shape[0])), image.notes


def profile(space="RGB "):
    """An ICC profile that says of itself that it is of RGB, GRAY or CMYK colors."""
    made = bytearray(PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes())
    made[16:20] = space.encode()
    return bytes(made)


PHOTO, THUMB = pixels_of(48, 64, 3), pixels_of(12, 16, 3)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "jpeg", "packbits"])
def test_a_photo_in_a_subifd_behind_its_thumbnail(tmp_path, bigtiff, byteorder, compression):
    if compression == "jpeg":
        pytest.importorskip("imagecodecs")  # to write it
    if compression == "packbits":
        pytest.importorskip("imagecodecs")
    with tifffile.TiffWriter(tmp_path / "a.dng", bigtiff=bigtiff, byteorder=byteorder) as file:
        file.write(THUMB, photometric="rgb", subifds=1, subfiletype=1, metadata=None)
        file.write(PHOTO, photometric="rgb", compression=compression, metadata=None)
    raw, notes = read(tmp_path / "a.dng")
    np.testing.assert_allclose(raw.astype(int), PHOTO, atol=60 if compression == "jpeg" else 0)
    assert notes == ["read the image of 64 x 48 in a SubIFD of its TIFF; left out: 16 x 12 (reduced)"]


def test_pillow_finds_a_photo_in_a_subifd(tmp_path):
    colors, indices = rng.integers(0, 65536, (3, 256)).astype(np.uint16), pixels_of(48, 64)
    with tifffile.TiffWriter(tmp_path / "a.dng") as file:
        file.write(THUMB, photometric="rgb", subifds=1, subfiletype=1, metadata=None)
        file.write(indices, photometric="palette", colormap=colors, metadata=None)
    raw, notes = read(tmp_path / "a.dng")
    np.testing.assert_array_equal(raw, (colors >> 8).T[indices])
    assert notes[1] == "its palette became RGB"


@pytest.mark.parametrize("photometric", ["rgb", "palette"])
@pytest.mark.parametrize(("first", "own"), [(6, None), (None, 6), (3, 6)])
def test_a_photo_in_a_subifd_lies_as_its_first_page_says(tmp_path, photometric, first, own):
    def tags(orientation):
        return [(274, "H", 1, orientation, False)] if orientation else []

    colors = {"colormap": np.stack([np.arange(256) * 257] * 3).astype(np.uint16)}
    colors, array = ({}, PHOTO) if photometric == "rgb" else (colors, PHOTO[..., 0])
    with tifffile.TiffWriter(tmp_path / "a.dng") as file:
        file.write(THUMB, photometric="rgb", subifds=1, subfiletype=1, metadata=None, extratags=tags(first))
        file.write(array, photometric=photometric, metadata=None, extratags=tags(own), **colors)
    raw, notes = read(tmp_path / "a.dng")
    expected = PHOTO if photometric == "rgb" else PHOTO[..., :1].repeat(3, 2)
    np.testing.assert_array_equal(raw, np.rot90(expected, -1))
    assert "turned upright, as its orientation 6 says" in notes


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_the_largest_page_is_read(tmp_path, marked, last):
    small = {"subfiletype": 1} if marked else {}
    pages = [(PHOTO, {}), (PHOTO[::2, ::2], small), (PHOTO[::4, ::4], small)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page, kind in pages[::-1] if last else pages:
            file.write(page, photometric="rgb", metadata=None, **kind)
    raw, (note,) = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(raw, PHOTO)
    assert f"64 x 48 on page {2 if last else 0}" in note
    assert "32 x 24" in note


def test_a_reduced_page_larger_than_the_image_is_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(PHOTO, photometric="rgb", subfiletype=1, metadata=None)
        file.write(THUMB, photometric="rgb", metadata=None)
    raw, (note,) = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(raw, THUMB)
    assert "left out: 64 x 48 (reduced)" in note


def test_levels_of_a_pyramid(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(PHOTO, photometric="rgb", subifds=2, tile=(16, 16))
        for factor in (2, 4):
            file.write(
                np.ascontiguousarray(PHOTO[::factor, ::factor]),
                photometric="rgb", subfiletype=1, tile=(16, 16),
            )  # fmt: skip
    raw, (note,) = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(raw, PHOTO)
    assert note.endswith("left out: 32 x 24 (reduced), 16 x 12 (reduced)")


def test_a_page_that_is_only_marked_as_reduced_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PHOTO, photometric="rgb", subfiletype=1)
    raw, notes = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(raw, PHOTO)
    assert notes == []


def test_images_of_like_size_are_not_chosen_from(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(THUMB, photometric="rgb", metadata=None)
        file.write(PHOTO, photometric="rgb", metadata=None)
        file.write(PHOTO[:-4], photometric="rgb", metadata=None)
    with pytest.raises(SoftmineError, match=r"a\.tif: it has 2 pages; save the one you want"):
        Image.read(tmp_path / "a.tif")


@pytest.mark.parametrize("text", ["9" * 400, "1e999", "what", "", "0x10"])
def test_odd_declarations_mask_nothing(tmp_path, text):
    tifffile.imwrite(tmp_path / "a.tif", THUMB, photometric="rgb", extratags=[(42113, "s", 0, text, True)])
    assert Image.read(tmp_path / "a.tif").valid is None


def test_subifds_that_lead_in_circles(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(PHOTO, photometric="rgb", subifds=2, metadata=None)
        for _ in range(2):
            file.write(THUMB, photometric="rgb", subfiletype=1, metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tag, page = file.pages[0].tags[330], file.pages[0]
        content[tag.valueoffset : tag.valueoffset + 8] = struct.pack("<II", page.offset, page.subifds[1])
    (tmp_path / "a.tif").write_bytes(content)
    raw, (note,) = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(raw, PHOTO)
    assert note.endswith("left out: 16 x 12 (reduced)")


@pytest.mark.parametrize(("photometric", "word"), [("cfa", "CFA"), (34892, "linear")])
@pytest.mark.parametrize("place", ["first", "subifd"])
def test_camera_raw_is_refused_by_name(tmp_path, photometric, word, place):
    raw = rng.integers(0, 4096, (48, 64) if word == "CFA" else (48, 64, 3)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.dng") as file:
        if place == "subifd":
            file.write(THUMB, photometric="rgb", subifds=2, subfiletype=1, metadata=None)
        file.write(raw, photometric=photometric, metadata=None)
        if place == "subifd":
            file.write(PHOTO, photometric="rgb", subfiletype=1, metadata=None)
    with pytest.raises(SoftmineError, match=rf"a\.dng: it is camera raw \({word}.*; develop it"):
        Image.read(tmp_path / "a.dng")


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"II*\0\x10\0\0\0CR\x02\0", "CR2"), (b"\0\0\0\x18ftypcrx ", "CR3"), (b"FUJIFILMCCD-RAW 0201", "RAF"),
     (b"IIU\0\x18\0\0\0", "ORF or RW2")],
)  # fmt: skip
def test_camera_files_are_refused_by_name(tmp_path, start, name):
    (tmp_path / "a.raw").write_bytes(start + bytes(100))
    with pytest.raises(SoftmineError, match=rf"camera raw \({name}\)"):
        Image.read(tmp_path / "a.raw")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_are_kept(tmp_path, format):
    icc = profile()
    PIL.Image.fromarray(PHOTO).save(tmp_path / "a", format, icc_profile=icc)
    image = Image.read(tmp_path / "a")
    assert image.icc_profile == icc
    assert image.notes == []
    tifffile.imwrite(tmp_path / "b.tif", PHOTO.astype(np.uint16), photometric="rgb", iccprofile=icc)
    assert Image.read(tmp_path / "b.tif").icc_profile == icc


def test_profiles_of_other_colors_are_left_out(tmp_path):
    PIL.Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=profile("CMYK"))
    image = Image.read(tmp_path / "a.jpg")
    assert image.icc_profile is None
    converted, left_out = image.notes
    assert converted == "its CMYK colors became RGB"
    assert "of CMYK colors" in left_out


def save_bits(path):
    PIL.Image.fromarray(pixels_of(6, 11)).convert("1").save(path, "PNG")


def save_two_bits(path):
    data = zlib.compress(b"\0\x1b")
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(content)


def save_gamma(path):
    info = PIL.PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100000))
    PIL.Image.fromarray(PHOTO).save(path, "PNG", pnginfo=info)


def save_turned(path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(PHOTO).save(path, "PNG", exif=exif)


def save_turned_tiff(path):
    tifffile.imwrite(path, PHOTO, photometric="rgb", extratags=[(274, "H", 1, 6, True)])


def save_two_photos(path):
    PIL.Image.fromarray(PHOTO).save(path, "MPO", save_all=True, append_images=[PIL.Image.fromarray(THUMB)])


def save_key(path):
    PIL.Image.fromarray(PHOTO).save(path, "PNG", transparency=(1, 2, 3))


def save_bands(path):
    tifffile.imwrite(path, PHOTO, photometric="minisblack", planarconfig="contig")


def save_infrared(path):
    tifffile.imwrite(path, pixels_of(6, 7, 4), photometric="rgb", extrasamples=["unspecified"])


def save_premultiplied(path):
    tifffile.imwrite(path, pixels_of(6, 7, 4), photometric="rgb", extrasamples=["assocalpha"])


def save_heights(path):
    with path.open("wb") as file:
        np.save(file, np.array([[-5.5, 20]]))


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (save_bits, "its grays of 1 bit became ones of 8"),
        (save_two_bits, "its grays of 2 bits became ones of 8"),
        (save_gamma, "its gamma of 1 is left out"),
        (save_turned, "turned upright, as its orientation 6 says"),
        (save_turned_tiff, "turned upright, as its orientation 6 says"),
        (save_two_photos, "read the first of its 2 images"),
        (save_key, "its transparent color became opacity"),
        (save_bands, "its 3 channels have no stated colors"),
        (save_infrared, "its channel 4 has no stated meaning, and is shown as opacity"),
        (save_premultiplied, "its colors are multiplied by opacity"),
        (save_heights, "values from -5.5 to 20 count as 0 to 1"),
    ],
)
def test_what_is_converted_or_left_out_is_noted(tmp_path, save, words):
    save(tmp_path / "a")
    notes = Image.read(tmp_path / "a").notes
    assert sum(words in note for note in notes) == 1, notes


def test_exr_notes(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    flat = np.full((4, 5), 0.5, np.float32)
    header = {"dataWindow": (np.array([2, 1], np.int32), np.array([6, 4], np.int32)),
              "displayWindow": (np.array([0, 0], np.int32), np.array([9, 9], np.int32))}  # fmt: skip
    with openexr.File(header, {name: flat for name in ("R", "G", "B", "A", "Z")}) as file:
        file.write(str(tmp_path / "a.exr"))
    channels, window, opacity = Image.read(tmp_path / "a.exr").notes
    assert channels == "read its channels R, G, B, A; left out: Z"
    assert "window of 10 x 10" in window
    assert "multiplied by opacity" in opacity


def test_frames_are_not_chosen_from(tmp_path):
    first, *others = (PIL.Image.fromarray(pixels_of(8, 9)) for _ in range(3))
    for format, other in (("GIF", ""), ("PNG", ""), ("WEBP", "convert it to GIF, PNG or MP4 to ")):
        file = io.BytesIO()
        first.save(file, format, save_all=True, append_images=others)
        (tmp_path / "a").write_bytes(file.getvalue())
        with pytest.raises(
            SoftmineError, match=f"with 3 frames; save one as an image, or {other}fit all as a video"
        ):
            Image.read(tmp_path / "a")


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_heic_is_named(tmp_path, brand):
    (tmp_path / "a").write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + bytes(40))
    with pytest.raises(SoftmineError, match="it is HEIC; convert it to PNG, JPEG or AVIF first"):
        Image.read(tmp_path / "a")


def test_avif_in_a_general_container_is_no_heic(tmp_path):
    (tmp_path / "a").write_bytes(struct.pack(">I", 24) + b"ftypmif1" + bytes(4) + b"mif1avif" + bytes(40))
    with pytest.raises(SoftmineError) as caught:
        Image.read(tmp_path / "a")
    assert "HEIC" not in str(caught.value)
