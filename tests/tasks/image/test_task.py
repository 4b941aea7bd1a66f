import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from softmine import Image
from softmine.tasks.image.task import ImageTask
from softmine.training import evaluation as rules
from softmine.training.evaluation import peak_signal_to_noise

CPU = torch.device("cpu")


class Shifted(torch.nn.Module):
    """A picture made wrong by a known amount."""

    def __init__(self, image, shift):
        super().__init__()
        self.image, self.shift = image, shift

    def forward(self, coords):
        return self.image(coords) + self.shift


@pytest.fixture
def picture():
    return (np.random.default_rng(0).random((40, 30, 3)) * 200).astype(np.uint8)


def test_metrics_over_all_pixels_are_those_of_scikit_image(picture):
    image = Image(picture)
    result = ImageTask(image).make_evaluator(CPU)(Shifted(image, 0.05))
    exact, wrong = picture / 255, picture / 255 + 0.05
    assert result.samples == 1200
    assert not result.subset
    assert result.psnr == pytest.approx(peak_signal_noise_ratio(exact, wrong, data_range=1), abs=1e-3)
    ssim = structural_similarity(exact, wrong, data_range=1, channel_axis=-1, win_size=7)
    assert result.ssim == pytest.approx(ssim, abs=1e-4)


def test_predictions_are_clipped_like_the_picture_that_is_written(picture):
    image = Image(np.zeros_like(picture))
    assert ImageTask(image).make_evaluator(CPU)(Shifted(image, -3.0)).psnr == math.inf


def test_a_large_picture_is_measured_on_a_fixed_subset(picture, monkeypatch):
    monkeypatch.setattr(rules, "ALL", 1000)
    monkeypatch.setattr(rules, "SUBSET", 700)
    image = Image(picture)
    one, two = ImageTask(image).make_evaluator(CPU), ImageTask(image).make_evaluator(CPU)
    assert torch.equal(one.cells, two.cells)
    assert len(one.cells.unique()) == 700
    result = one(Shifted(image, 0.1))
    assert result.subset
    assert result.samples == 700
    assert result.psnr == pytest.approx(20.0, abs=0.01)
    assert result.ssim is not None
    assert one.describe() == "PSNR over a fixed subset of 700 of 1,200 pixels, SSIM over 16 tiles of 64 x 64"


def test_a_picture_too_small_for_ssim_has_none():
    image = Image(np.zeros((3, 5), np.uint8))
    assert ImageTask(image).make_evaluator(CPU)(Shifted(image, 0.1)).ssim is None


def test_a_field_that_is_not_finite_has_no_psnr(picture):
    image = Image(picture)
    assert math.isnan(ImageTask(image).make_evaluator(CPU)(Shifted(image, math.nan)).psnr)
    assert math.isnan(peak_signal_to_noise(torch.tensor([math.nan]), torch.zeros(1)))


def test_psnr_of_equal_tensors_is_infinite():
    assert peak_signal_to_noise(torch.ones(3), torch.ones(3)) == math.inf


@pytest.mark.parametrize(
    ("low", "high", "dtype", "words"),
    [
        (
            0,
            4080,
            "uint16",
            "0 to 65,535 count as 0 to 1, but its values lie between 0 and 4,080: PSNR is 24 dB higher",
        ),
        (40000, 56384, "uint16", "lie between 40,000 and 56,384: PSNR is 12 dB higher"),
        (
            100,
            151,
            "uint8",
            "0 to 255 count as 0 to 1, but its values lie between 100 and 151: PSNR is 14 dB higher",
        ),
        (0, 33000, "uint16", None),
        (7, 200, "uint8", None),
        (9, 9, "uint8", None),
    ],
)
def test_a_range_that_is_not_used_flatters_and_is_noted(tmp_path, low, high, dtype, words):
    pixels = np.linspace(low, high, 600).astype(dtype).reshape(20, 30)
    np.save(tmp_path / "a.npy", pixels)
    for in_memory in (True, False):
        notes = ImageTask(Image.read(tmp_path / "a.npy", in_memory=in_memory)).describe()["notes"]
        assert len(notes) == (words is not None)
        assert (
            words is None
            or words.replace("between ", "between " if in_memory else "between about ") in notes[0]
        )


def test_the_range_of_data_leaves_out_gaps():
    pixels = np.full((10, 10), 65535, np.uint16)
    pixels[2:, 3:] = np.arange(56, dtype=np.uint16).reshape(8, 7) * 100 + 3
    assert Image(pixels, nodata=65535).stored_range() == (3, 5503)
    assert Image(pixels).stored_range() == (3, 65535)
