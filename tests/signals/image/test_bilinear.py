"""The look-up of cells in memory: what the corners in steps of torch say, values and gradients."""

import threading
from unittest import mock

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from softmine.kernels import set_threads
from softmine.signals import Image
from softmine.signals.grid import gather, to_buffer
from softmine.signals.image import bilinear_kernels
from softmine.signals.image.bilinear import fits_loop, look_up, look_up_in_memory

SIZE = (5, 7)


def pixels_of(dtype, shape):
    values = np.random.default_rng(0).random(shape)
    return values < 0.5 if dtype == "bool" else (values * 200).astype(dtype)


def cells_of(dtype, channels):
    return to_buffer(pixels_of(dtype, (*SIZE, channels)))


def coordinates(dtype):
    """Anywhere, at centers and beyond the outermost ones, and nowhere."""
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
def test_the_loop_equals_steps_of_torch(dtype, channels, work, columns_first):
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
    cells, loop = cells_of("uint8", 3), bilinear_kernels.look_up
    points = torch.rand(4 * bilinear_kernels.POINTS + 17, 2, generator=torch.Generator().manual_seed(2))
    weights = torch.rand(len(points), 3, generator=torch.Generator().manual_seed(3))

    def answers(threads):
        everybody = threading.Barrier(threads)

        def together(*arguments):
            everybody.wait(60)  # breaks, which is an error, where there are fewer
            loop(*arguments)

        set_threads(threads)
        coords = points.clone().requires_grad_()
        with mock.patch.object(bilinear_kernels, "look_up", together):
            values = look_up_in_memory(coords, SIZE, cells, 0.0, 255.0, torch.float32)
        (values * weights).sum().backward()
        return values.detach(), coords.grad

    try:
        alone, shared = answers(1), answers(4)
    finally:
        set_threads(None)
    assert torch.equal(shared[0], alone[0])
    assert torch.equal(shared[1], alone[1])
    assert alone[1].any(0).all()


def test_no_points_have_no_values():
    assert look_up_in_memory(
        torch.zeros(0, 2), SIZE, cells_of("uint8", 3), 0.0, 1.0, torch.float32
    ).shape == (0, 3)


def test_half_precision_has_no_loop_and_the_same_values():
    pixels = np.random.default_rng(0).random((*SIZE, 3)).astype(np.float16)
    half, single = Image(pixels), Image(pixels.astype(np.float32))
    coords = coordinates(torch.float32)[:300].requires_grad_()
    assert fits_loop(coords, single.stored)
    assert not fits_loop(coords, half.stored)
    torch.testing.assert_close(half(coords), single(coords))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_image_moved_to_low_precision_has_the_values_of_its_rounded_pixels(dtype):
    pixels = np.random.default_rng(0).random((*SIZE, 3)).astype(np.float32)
    short = Image(pixels).to(dtype)
    assert short.stored.dtype == dtype
    rounded = Image(torch.from_numpy(pixels).to(dtype).float())
    assert rounded.value_range == (0.0, 1.0)
    given = coordinates(torch.float32)[:300]
    assert not fits_loop(given, short.stored)
    results = []
    for image in (short, rounded):
        coords = given.clone().requires_grad_()
        values = image(coords)
        values.sum().backward()
        results.append((values.detach(), coords.grad))
    torch.testing.assert_close(*results)


KINDS = ("uint8", "uint16", "float32", "float64", "bool")


@pytest.mark.parametrize("dtype", KINDS)
def test_other_pixels_in_memory_have_a_loop(dtype):
    image = Image(pixels_of(dtype, SIZE))
    assert fits_loop(torch.rand(3, 2), image.stored)


def centers_of(image):
    """Centers of pixels that float64 holds, as the sides of the image are powers of two."""
    return image.domain.centers(torch.arange(image.domain.cells), torch.float64)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("dtype", KINDS)
def test_derivatives_forward_at_centers_are_the_differences_to_the_next(dtype):
    image = Image(pixels_of(dtype, (4, 8, 3)))
    coords = centers_of(image)
    for axis, length in enumerate((4, 8)):
        direction = torch.zeros_like(coords)
        direction[:, axis] = 1
        expected = (image(coords + direction * (0.25 / length)) - image(coords)) * (4 * length)
        assert expected.any()
        values, slopes = torch.func.jvp(image, (coords,), (direction,))
        torch.testing.assert_close(values, image(coords), rtol=0, atol=1e-12)
        torch.testing.assert_close(slopes, expected, rtol=0, atol=1e-9)
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(image(forward_ad.make_dual(coords, direction)))
            torch.testing.assert_close(dual.tangent, expected, rtol=0, atol=1e-9)
        backward = coords.clone().requires_grad_()
        image(backward).sum().backward()
        torch.testing.assert_close(backward.grad[:, axis], expected.sum(-1), rtol=0, atol=1e-9)


def test_a_batch_of_batches_of_centers():
    image = Image(np.random.default_rng(0).random((4, 8, 3)).astype(np.float32))
    coords = centers_of(image)
    together = torch.func.vmap(image)(coords.view(4, 8, 2))
    torch.testing.assert_close(together.view(-1, 3), image(coords), rtol=0, atol=1e-7)


@pytest.mark.filterwarnings("ignore")  # of shapes that become constants, and of torch.jit's age
@pytest.mark.parametrize("follow", [False, True])
def test_what_is_traced_at_centers_holds_elsewhere(follow):
    image = Image(np.random.default_rng(0).random((4, 8, 3)).astype(np.float32))
    traced = torch.jit.trace(image, centers_of(image).float().requires_grad_(follow))
    elsewhere = coordinates(torch.float32)[:300]
    torch.testing.assert_close(traced(elsewhere), image(elsewhere))


def test_what_lies_beside_a_center_does_not_depend_on_the_rest_of_the_batch():
    image = Image(np.linspace(0, 1, 2).repeat(500).reshape(1000, 1)[::-1].copy())
    beside = image.domain.centers(torch.tensor([499]), torch.float64) + torch.tensor([[2e-7, 0.0]])
    among = image(torch.cat((beside, torch.tensor([[0.1234, 0.5]]))))[:1]
    torch.testing.assert_close(
        image(beside), torch.full((1, 1), 1 - 2e-4, dtype=torch.float64), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(image(beside), among, rtol=0, atol=1e-12)


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
