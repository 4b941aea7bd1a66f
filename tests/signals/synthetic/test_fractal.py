"""An image of any size that is computed where it is asked."""

import numpy as np
import pytest
import torch

from softmine import SoftmineError
from softmine.signals import Image
from softmine.signals.synthetic.fractal import Fractal


def test_pixels_are_the_same_however_they_are_asked_for():
    image = Image.builtin("fractal-37x23")
    whole = image.rows(0, 23)
    assert whole.shape == (23, 37, 3)
    centers = image.domain.centers(torch.arange(23 * 37))
    np.testing.assert_array_equal(image(centers).numpy().reshape(23, 37, 3), whole)
    np.testing.assert_array_equal(image.preview(99), whole)
    np.testing.assert_array_equal(image.rows(7, 9), whole[7:9])


def test_values_between_pixels_and_gradients_are_those_of_the_image_in_memory():
    computed = Image.builtin("fractal-37x23")
    stored = Image(Fractal(23, 37).rows(0, 23, np.dtype(np.uint8)))
    coords = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.testing.assert_close(computed(coords), stored(coords))
    slopes = [torch.autograd.grad(image(coords).square().sum(), coords)[0] for image in (computed, stored)]
    torch.testing.assert_close(*slopes)
    snapped = stored.domain.snap(coords)
    torch.testing.assert_close(computed(snapped.detach()), stored(snapped), rtol=0, atol=1e-4)


def test_colors_tell_how_soon_a_point_escapes():
    side = 201
    pixels = Fractal(side, side).rows(0, side, np.dtype(np.uint8))
    z = np.array([complex(x, y) for y in (np.arange(side) + 0.5 - side / 2) * 3.2 / side for x in [0.0]])
    # Along the imaginary axis, by the definition.
    escaped = []
    for point in z + (100 + 0.5 - side / 2) * 3.2 / side:
        value, steps = point, 0
        while abs(value) < 256 and steps < 400:
            value, steps = value * value - 0.8 + 0.156j, steps + 1
        escaped.append(steps < 400)
    dark = (pixels[:, 100] == [8, 6, 10]).all(-1)
    np.testing.assert_array_equal(dark, ~np.array(escaped))


def test_it_has_detail_at_every_scale():
    for side in (512, 4096, 32768):
        patch = Fractal(side, side).sample(
            side // 2 + np.arange(-40, 40), side // 2 + np.arange(-40, 40), np.dtype(np.float64)
        )
        assert np.abs(np.diff(patch, axis=0)).mean() > 3


def test_a_gigapixel_costs_nothing_until_it_is_asked():
    image = Image.builtin("fractal-32768x32768")
    assert image.shape == (32768, 32768, 3)
    assert not image.in_memory
    assert image.fingerprint != Image.builtin("fractal-32768x32767").fingerprint
    assert image.edges(100).shape == (10, 10)
    assert image.preview(10).shape == (10, 10, 3)


def test_the_edges_of_a_small_one_are_those_of_all_its_pixels():
    computed, stored = Image.builtin("fractal-30x20"), Fractal(20, 30).rows(0, 20, np.dtype(np.uint8))
    torch.testing.assert_close(computed.edges(600), Image(stored).edges(600))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fractal-12", "write fractal-WIDTHxHEIGHT"),
        ("fractal-0x5", "give 1 to 1,048,576 a side"),
        ("fractal-5x1048577", "give 1 to 1,048,576 a side"),
        ("fractale", "try fractal"),
    ],
)
def test_what_is_no_fractal_says_so(name, message):
    with pytest.raises(SoftmineError, match=message):
        Image.builtin(name)


def test_the_default_size():
    assert Image.builtin("fractal").shape == (4096, 4096, 3)
