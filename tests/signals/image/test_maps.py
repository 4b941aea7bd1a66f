"""Previews and edge maps of images."""

import numpy as np
import pytest
import skimage.filters
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine import SoftmineError
from softmine.signals import Image, grid

rng = np.random.default_rng(0)
LUMA = np.array([0.2125, 0.7154, 0.0721])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(grid, "BLOCK_VALUES", 64)  # so that small images take many blocks


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(30, 21), (1, 40), (40, 1), (2, 2), (1, 1)])
def test_edges_equal_a_sobel_filter(channels, size):
    pixels = rng.random((*size, channels))
    color = pixels[..., :3] @ LUMA if channels >= 3 else pixels[..., 0]
    gray = color * pixels[..., -1] if channels in (2, 4) else color
    edges = Image(pixels).edges()
    assert edges.dtype == torch.float32
    np.testing.assert_allclose(edges, skimage.filters.sobel(gray), atol=1e-5)


def test_edges_are_averaged_over_cells():
    image = Image(rng.random((24, 36)))
    full = image.edges().numpy()
    small = image.edges(max_cells=6)
    assert small.shape == (2, 3)
    np.testing.assert_allclose(small, full.reshape(2, 12, 3, 12).mean((1, 3)), atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 300))
def test_edge_cells_fit_and_keep_the_mean(height, width, max_cells):
    image = Image(rng.random((height, width)).astype(np.float32))
    small = image.edges(max_cells)
    assert small.numel() <= max_cells
    assert small.shape[0] <= height
    assert small.shape[1] <= width
    torch.testing.assert_close(small.mean(), image.edges().mean(), rtol=1e-4, atol=1e-6)


def test_edge_map_has_the_aspect_of_the_image():
    assert Image(np.zeros((60, 120), np.uint8)).edges(200).shape == (10, 20)
    assert Image(np.zeros((1, 5000), np.uint8)).edges(100).shape == (1, 100)


def test_flat_images_have_no_edges():
    assert Image(np.full((9, 9), 77, np.uint8)).edges().abs().max() == 0


@pytest.mark.parametrize("size", [(40, 20), (21, 37), (1, 30)])
def test_preview_is_an_average(size):
    image = Image(rng.random((*size, 3)))
    small = image.preview(10)
    assert small.dtype == np.float32
    assert max(small.shape[:2]) == 10
    np.testing.assert_allclose(small.mean((0, 1)), image.rows(0, size[0]).mean((0, 1)), atol=1e-5)


def test_preview_averages_boxes():
    pixels = rng.random((20, 30, 2))
    boxes = pixels.reshape(10, 2, 15, 2, 2).mean((1, 3))
    np.testing.assert_allclose(Image(pixels).preview(15), boxes, atol=1e-6)


def test_preview_weighs_parts_of_pixels():
    preview = Image(np.array([[0.0, 1.0, 0.0]])).preview(2)
    np.testing.assert_allclose(preview[..., 0], [[1 / 3, 1 / 3]], atol=1e-6)


def test_small_images_are_their_own_preview():
    pixels = rng.random((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(Image(pixels).preview(100)[..., 0], pixels)


def test_sizes_below_one_are_refused():
    image = Image(np.zeros((3, 3)))
    with pytest.raises(SoftmineError, match="max_side of at least 1, not 0"):
        image.preview(0)
    with pytest.raises(SoftmineError, match="max_cells of at least 1, not 0"):
        image.edges(0)
