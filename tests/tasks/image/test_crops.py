"""The middle of an image."""

import numpy as np
import pytest

from softmine.errors import ArgumentError
from softmine.signals import Image
from softmine.tasks.image.crops import crop, parse_size


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_crop_is_the_middle_bit_for_bit(dtype):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (21, 30, 3)).astype(dtype) / (1 if dtype != np.float32 else 255)
    pixels = pixels.astype(dtype)
    found = crop(Image(pixels, "it"), "5x8")
    assert (found.shape, found.dtype, found.name) == ((5, 8, 3), np.dtype(dtype).name, "it")
    assert found.notes[0] == "the middle 8 x 5 of 30 x 21 pixels"
    assert np.allclose(found.to_raw(found.rows(0, 5)), pixels[8:13, 11:19], rtol=1e-6, atol=0)
    assert crop(Image(pixels), "5").shape == (5, 5, 3)


@pytest.mark.parametrize("text", ["", "0", "12x", "12x0", "1x2x3", "-5", "a"])
def test_a_size_that_is_none_is_a_sentence(text):
    with pytest.raises(ArgumentError, match="give a side in pixels"):
        parse_size(text)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ArgumentError, match="only 20 rows and 24 columns"):
        crop(Image(np.zeros((20, 24), np.uint8)), "21x5")
