"""The look-up of cells in memory: what the corners in steps of torch say, values and gradients."""

import numpy as np
import pytest
import torch

from softmine.signals import Image
from softmine.signals.bilinear import fits_loop, look_up, look_up_in_memory
from softmine.signals.grid import gather, to_buffer

SIZE = (5, 7)


def cells_of(dtype, channels):
    values = np.random.default_rng(0).random((*SIZE, channels)) * (2 if dtype == "bool" else 200)
    return to_buffer(values.astype(dtype))


def coordinates(dtype):
    """Anywhere, at centres and beyond the outermost ones, and nowhere."""
    anywhere = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    rows, columns = torch.meshgrid((torch.arange(5) + 0.5) / 5, (torch.arange(7) + 0.5) / 7, indexing="ij")
    nowhere = torch.tensor([[torch.nan, 0.5], [0.5, torch.nan]])
    coords = torch.cat((anywhere, torch.stack((rows, columns), -1).view(-1, 2), nowhere))
    return coords.to(dtype)


@pytest.mark.parametrize("columns_first", [False, True])
@pytest.mark.parametrize(
    ("dtype", "channels", "work"),
    [
        ("uint8", 1, torch.float32),
        ("uint8", 3, torch.float32),
        ("uint8", 3, torch.float64),
        ("uint16", 3, torch.float32),
        ("float32", 3, torch.float32),
        ("float64", 3, torch.float64),
        ("bool", 1, torch.float32),
    ],
)
def test_the_loop_says_what_steps_of_torch_say(dtype, channels, work, columns_first):
    cells, size = cells_of(dtype, channels), torch.tensor(SIZE)
    given = coordinates(torch.float32)
    stepwise = given.clone().requires_grad_()
    looped = (given.t().contiguous().t() if columns_first else given.clone()).requires_grad_()
    expected = (look_up(stepwise, size, lambda at: gather(cells, at, work), work) - 3.0) / 50.0
    values = look_up_in_memory(looped, SIZE, cells, 3.0, 50.0, work)
    assert values.dtype == work
    torch.testing.assert_close(values, expected, equal_nan=True)
    directions = torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).to(work)
    for result in (expected, values):
        (result * directions).sum().backward()
    # Of numbers near 2^15 float32 keeps eight binary digits after the point, and 7 / 50 of those count here.
    torch.testing.assert_close(looped.grad, stepwise.grad, equal_nan=True, rtol=1e-4, atol=2e-3)


def test_many_points_are_shared_among_threads_with_the_same_result():
    cells, size = cells_of("uint8", 3), torch.tensor(SIZE)
    coords = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(2))
    values = look_up_in_memory(coords, SIZE, cells, 0.0, 255.0, torch.float32)
    expected = look_up(coords, size, lambda at: gather(cells, at, torch.float32), torch.float32) / 255
    torch.testing.assert_close(values, expected)


def test_no_points_have_no_values():
    assert look_up_in_memory(
        torch.zeros(0, 2), SIZE, cells_of("uint8", 3), 0.0, 1.0, torch.float32
    ).shape == (0, 3)


def test_half_precision_has_no_loop_and_the_same_answer():
    pixels = np.random.default_rng(0).random((*SIZE, 3)).astype(np.float16)
    half, single = Image(pixels), Image(pixels.astype(np.float32))
    coords = coordinates(torch.float32)[:300].requires_grad_()
    assert fits_loop(coords, single.pixels)
    assert not fits_loop(coords, half.pixels)
    torch.testing.assert_close(half(coords), single(coords))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coordinates_of_low_precision_get_gradients_of_theirs(dtype):
    image = Image(np.random.default_rng(0).random((*SIZE, 3)).astype(np.float32))
    coords = coordinates(dtype)[:300].requires_grad_()
    values = image(coords)
    values.sum().backward()
    assert values.dtype == coords.grad.dtype == dtype
    single = coords.detach().float().requires_grad_()
    image(single).sum().backward()
    torch.testing.assert_close(coords.grad.float(), single.grad, rtol=0.02, atol=0.02)
