"""Images with pixels that hold no data: never measured, shown as clear, written back as they were."""

import json

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
from skimage.metrics import structural_similarity
from torch import nn

from softmine.cli.main import main
from softmine.runs import images as run_images
from softmine.runs.task import Reconstruction
from softmine.signals import Image, tiff_tags
from softmine.tasks.image import task as image_task
from softmine.tasks.image import tiled_tiff
from softmine.tasks.image.crops import crop
from softmine.tasks.image.task import ImageTask
from softmine.tasks.image.tiled_tiff import halve_known, write_tiled
from softmine.training import evaluation as rules

CPU = torch.device("cpu")
HOLE = (slice(10, 20), slice(5, 15))
TINY = ["--log2-table-size", "8", "--batch-size", "64", "--steps", "6", "--evaluations", "2"]


def known(shape=(40, 30)):
    mask = np.ones(shape, bool)
    mask[HOLE] = False
    return mask


def terrain(dtype="float32", gap=-9999.0):
    heights = (500 + 200 * np.random.default_rng(0).random((40, 30))).astype(dtype)
    heights[HOLE] = gap
    return heights


def save(path, array, nodata="-9999", tags=(), **options):
    declared = [(tiff_tags.NODATA, "s", 0, nodata, True)] if nodata else []
    tifffile.imwrite(path, array, extratags=[*declared, *tags], **options)
    return path


class Shifted(nn.Module):
    """A field that knows its image but for a shift, and is far off where there is no data."""

    def __init__(self, image, shift=0.0):
        super().__init__()
        self.image, self.shift = image, shift
        self.holds = image.domain

    def forward(self, coords):
        return self.image(coords) + torch.where(self.holds.contains(coords), self.shift, 0.9)[:, None]


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_measures_are_over_pixels_with_data(tmp_path, dtype):
    image = Image.read(save(tmp_path / "dem.tif", terrain(dtype)))
    task = ImageTask(image)
    evaluator = task.make_evaluator(CPU)
    assert evaluator.describe() == "PSNR and SSIM over all 1,100 pixels with data"
    result = evaluator(Shifted(image, 0.05))
    target = image.rows(0, 40)[..., 0]
    wrong = np.clip(target + 0.05, 0, 1)
    mse = float(np.square((wrong - target)[known()]).mean())
    assert result.psnr == pytest.approx(-10 * np.log10(mse), abs=1e-3)
    assert result.samples == 1100
    # Windows of 7 x 7 pixels that touch no gap, nor the border.
    filled = [np.nan_to_num(values) for values in (target, wrong)]
    scores = structural_similarity(*filled, data_range=1, win_size=7, full=True)[1]
    counts = np.zeros((40, 30), bool)
    counts[3:-3, 3:-3] = True
    counts[7:23, 2:18] = False
    assert result.ssim == pytest.approx(float(scores[counts].mean()), abs=1e-4)


def test_a_large_image_is_measured_on_tiles_between_gaps(monkeypatch):
    monkeypatch.setattr(rules, "ALL", 1000)
    monkeypatch.setattr(rules, "SUBSET", 700)
    monkeypatch.setattr(image_task, "TILE", 16)
    image = Image(terrain(gap=np.nan))
    result = ImageTask(image).make_evaluator(CPU)(Shifted(image))
    assert result.samples == 700
    assert result.psnr > 100
    assert result.ssim == pytest.approx(1, abs=1e-6)
    assert ImageTask(image).make_evaluator(CPU)(Shifted(image, 0.1)).psnr < 25


def test_gaps_are_clear_and_have_no_error(tmp_path):
    image = Image.read(save(tmp_path / "dem.tif", terrain()))
    result = ImageTask(image).reconstruct(Shifted(image, 0.01), CPU)
    for values in (result.values, result.target):
        assert values.shape == (40, 30, 2)
        np.testing.assert_array_equal(values[..., 1], known().astype(np.float32))
        assert (values[HOLE] == 0).all()
    np.testing.assert_array_equal(np.isnan(result.error), ~known())
    assert np.nanmax(result.error) <= 0.01 + 1e-5
    assert result.psnr == pytest.approx(40, abs=0.1)
    assert run_images.error_scale(result) == pytest.approx(0.01, abs=1e-4)


def test_reduced_images_have_gaps_too(monkeypatch):
    monkeypatch.setattr(image_task, "SMALL_SIZE", 100)
    monkeypatch.setattr(image_task, "REDUCED_SIDE", 20)
    image = Image(terrain(gap=np.nan))
    result = ImageTask(image).reconstruct(Shifted(image), CPU, small=True)
    assert result.values.shape == (20, 15, 2)
    assert (result.values[5:10, 3:7, 1] == 0).all()
    assert (result.values[..., 1] == 0).sum() == np.isnan(result.error).sum() == 25


def test_error_maps_leave_out_what_is_not_measured(tmp_path):
    error = np.full((2000, 4), 0.5)
    error[:1000] = np.nan
    error[1500:, 0] = np.nan
    result = Reconstruction(error[..., None], None, error, None, "")
    assert run_images.error_scale(result) == 0.5
    run_images.write_error(error, tmp_path / "error.png", 0.5)
    with PIL.Image.open(tmp_path / "error.png") as picture:
        colors = np.asarray(picture)
    gap = run_images.to_bytes(np.array(run_images.NOT_MEASURED))
    assert (colors[0] == gap).all()
    brightest = run_images.error_colors(np.array([[0.5]]), 0.5)[0, 0]
    assert (colors[-1] == brightest).all()


PLACE = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 4e5, 5e6, 0.0), True),
    (34735, "H", 4, (1, 1, 0, 0), True),
]


@pytest.mark.parametrize(
    ("dtype", "nodata", "gap"), [("float32", "-9999", -9999), ("int16", "-9999", -9999), ("uint8", "0", 0),
                                 ("float32", None, np.nan), ("float64", "nan", np.nan)],
)  # fmt: skip
def test_gaps_and_place_are_written_back(tmp_path, capsys, dtype, nodata, gap):
    heights = np.clip(terrain(), 0, 255) if dtype == "uint8" else terrain()
    heights = np.where(known(), heights, gap).astype(dtype)
    save(tmp_path / "dem.tif", heights, nodata, PLACE)
    out = tmp_path / "run"
    assert main(["fit", "image", str(tmp_path / "dem.tif"), "--out", str(out), *TINY]) == 0
    printed = capsys.readouterr().out
    assert "8.3% without data" in printed
    note = f"no data where a value is {'NaN' if np.isnan(gap) else gap}"
    assert note in printed
    config = json.loads((out / "config.json").read_text())
    assert note in config["signal"]["notes"]
    assert config["signal"]["measured"] == {"cells": 1100, "unit": "pixels with data"}
    assert note in (out / "report.html").read_text()
    with tifffile.TiffFile(out / "images" / "reconstruction.tif") as file:
        page = file.pages.first
        values = page.asarray()
        declared = page.tags.valueof(tiff_tags.NODATA)
        for code, *_, value, _ in PLACE:
            assert page.tags.valueof(code) == value
    assert values.dtype == heights.dtype
    assert declared == (nodata or "nan")
    missing = np.isnan(values) if np.isnan(gap) else values == gap
    np.testing.assert_array_equal(missing, ~known())
    inside = heights[known()]
    if dtype != "uint8":
        assert inside.min() <= values[known()].min() <= values[known()].max() <= inside.max()
    with PIL.Image.open(out / "images" / "reconstruction.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[..., -1] > 0, known())
    # What was written is read as what it was made from.
    again = Image.read(out / "images" / "reconstruction.tif")
    np.testing.assert_array_equal(again.valid.numpy(), known())


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_a_mask_is_written_back_as_one(tmp_path, dtype):
    array = np.where(known(), 7, 3).astype(dtype)
    array[0, 0] = 99
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(array, metadata=None)
        file.write(known(), photometric="mask", subfiletype=4, metadata=None)
    image = Image.read(tmp_path / "a.tif")
    task = ImageTask(image)
    task.write_output(Shifted(image), task.reconstruct(Shifted(image), CPU), tmp_path, CPU)
    again = Image.read(tmp_path / "reconstruction.tif")
    np.testing.assert_array_equal(again.valid.numpy(), known())
    np.testing.assert_allclose(again.rows(0, 40), image.rows(0, 40), atol=1e-6)


def test_resumed_and_compared(tmp_path, capsys):
    file = str(save(tmp_path / "dem.tif", terrain("int16")))
    for name, steps in (("whole", ["12"]), ("parts", ["6", "12"])):
        out = str(tmp_path / name)
        words = [
            "fit",
            "image",
            file,
            "--out",
            out,
            *TINY[:4],
            "--evaluations",
            "2",
            "--schedule",
            "constant",
        ]
        assert main([*words, "--steps", steps[0]]) == 0
        for more in steps[1:]:
            assert main(["fit", "image", "--resume", out, "--steps", more]) == 0
    written = [
        (tmp_path / name / "images" / "reconstruction.tif").read_bytes() for name in ("whole", "parts")
    ]
    assert written[0] == written[1]
    out = tmp_path / "compared"
    words = [
        "compare",
        "image",
        file,
        "--out",
        str(out),
        "--samplers",
        "uniform",
        "auto",
        "--batch-sizes",
        "64",
        *TINY[:2],
        *TINY[4:],
    ]
    code = main(words)
    assert code == 0, capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert "no data where a value is -9999" in results["signal"]["notes"]
    assert "no data where a value is -9999" in (out / "report.html").read_text()


def test_crops_keep_gaps_and_colors():
    pixels = np.random.default_rng(0).integers(1, 9, (40, 30, 3)).astype(np.int16)
    pixels[HOLE] = -1
    part = crop(Image(pixels, nodata=-1), "20x20")
    np.testing.assert_array_equal(part.valid.numpy(), known()[10:30, 5:25])
    assert part.nodata == -1
    raw = part.to_raw(part.rows(0, 20))
    inside = known()[10:30, 5:25]
    np.testing.assert_array_equal(raw[inside], pixels[10:30, 5:25][inside])


def test_corruptions_leave_gaps_alone(tmp_path):
    from softmine.signals.corruptions import Corruption, corrupt

    image = Image((terrain(gap=np.nan) - 500) / 200)
    for word in ("jpeg=30", "gaussian=0.1", "outliers=0.2"):
        dirty = corrupt(image, Corruption.parse(word))
        rows = dirty.rows(0, 40)[..., 0]
        np.testing.assert_array_equal(np.isnan(rows), ~known())
        assert 0 < np.nanmean(np.abs(rows - image.rows(0, 40)[..., 0])) < 0.3


@pytest.mark.parametrize(("dtype", "gap"), [("float32", np.nan), ("int16", -9999)])
def test_tiles_and_smaller_versions_have_gaps(tmp_path, dtype, gap):
    heights = np.full((600, 530), 7, dtype)
    heights[0, 0] = 0
    heights[100:301, 200:400] = gap
    image = Image(heights, nodata=None if np.isnan(gap) else gap)
    psnr = write_tiled(Shifted(image, -0.01), image, tmp_path / "a.tif", CPU)
    assert psnr == pytest.approx(40, abs=0.01)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        assert page.tags.valueof(tiff_tags.NODATA) == ("nan" if np.isnan(gap) else "-9999")
        levels = [page.asarray(), page.pages[0].asarray()]
    missing = [np.isnan(level) if np.isnan(gap) else level == gap for level in levels]
    np.testing.assert_array_equal(missing[0], image.valid.numpy() == 0)
    # Half of the last row of pairs holds data, and their mean is of that.
    assert missing[1][50:150, 100:200].all()
    assert missing[1].sum() == 100 * 100
    assert np.allclose(levels[1][150, 100:200].astype(float), 7, atol=0.2)
    assert tiled_tiff.pyramid(600, 530) == [(600, 530), (300, 265)]


def test_means_leave_gaps_out():
    band = np.array([[4, -1, -1], [8, -1, -1], [2, 3, 5]], np.int16)[..., None]
    np.testing.assert_array_equal(halve_known(band, -1)[..., 0], [[6, -1], [2, 5]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_profiles_are_carried_over(tmp_path, dtype):
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", iccprofile=icc)
    out = tmp_path / "run"
    assert main(["fit", "image", str(tmp_path / "a.tif"), "--out", str(out), *TINY]) == 0
    for name, expected in (("reconstruction", icc), ("target", icc), ("error", None)):
        with PIL.Image.open(out / "images" / f"{name}.png") as picture:
            assert picture.info.get("icc_profile") == expected
    if dtype == np.uint16:
        assert Image.read(out / "images" / "reconstruction.tif").icc_profile == icc
    task = ImageTask(Image.read(tmp_path / "a.tif"))
    write_tiled(Shifted(task.signal), task.signal, tmp_path / "tiled.tif", CPU)
    assert Image.read(tmp_path / "tiled.tif").icc_profile == icc


def test_reports_show_images_with_their_profile(tmp_path):
    from PIL import ImageCms

    from softmine.reports.images import embed, open_image

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for side in (40, 700):  # as PNG, and as WebP
        pixels = np.zeros((side, side, 3), np.float32)
        run_images.write_image(pixels, tmp_path / "a.png", icc)
        import base64
        import io

        shown = embed(open_image(tmp_path / "a.png"))
        content = base64.b64decode(shown.uri.partition(",")[2])
        assert PIL.Image.open(io.BytesIO(content)).info["icc_profile"] == icc
