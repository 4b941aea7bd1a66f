"""Look-up, value range and raw values of images given as arrays."""

import copy
import pickle
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mutations import png_chunk
from softmine import Box, SoftmineError
from softmine.signals import Image, Signal
from softmine.signals.image.signal import PHOTOS

DTYPES = ("uint8", "uint16", "float16", "float32", "float64", "bool")


@st.composite
def images(draw, dtypes=DTYPES):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    side = st.integers(1, 7)
    shape = draw(st.tuples(side, side) | st.tuples(side, side, st.integers(1, 4)))
    values = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    if dtype == np.float64:  # wider than a float64 is refused
        values = st.floats(-1e300, 1e300)
    return draw(hnp.arrays(dtype, shape, elements=values))


def centers(height, width, dtype=torch.float64):
    return Box((height, width)).centers(torch.arange(height * width), dtype)


def unit(image, pixels):
    low, high = image.value_range
    return ((pixels.astype(np.float64) - low) / (high - low)).reshape(-1, image.channels)


@given(images())
def test_center_of_a_pixel_gives_the_pixel(pixels):
    image = Image(pixels)
    values = image(centers(*pixels.shape[:2]))
    assert values.dtype == torch.float64
    assert values.shape == (pixels.shape[0] * pixels.shape[1], image.channels)
    torch.testing.assert_close(values, torch.from_numpy(unit(image, pixels)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
def test_values_all_below_zero_stay_what_they_are(dtype):
    pixels = np.array([[-5.25, -1.5, -2.75]]).astype(dtype)
    image = Image(pixels)
    assert image.value_range == (pixels.min(), pixels.max())
    torch.testing.assert_close(image(centers(1, 3)), torch.from_numpy(unit(image, pixels)), rtol=0, atol=1e-9)


@given(images())
def test_values_lie_in_0_to_1_and_rows_agree_with_look_up(pixels):
    image = Image(pixels)
    height, width, channels = image.shape
    values = image(torch.rand(50, 2))
    assert values.dtype == torch.float32
    assert values.min() >= -1e-6
    assert values.max() <= 1 + 1e-6
    rows = image.rows(0, height)
    assert rows.dtype == np.float32
    assert rows.shape == image.shape
    looked = image(centers(height, width, torch.float32)).reshape(height, width, channels)
    # Float32 coordinates miss a center by a part in ten million of the side.
    torch.testing.assert_close(looked, torch.from_numpy(rows), rtol=0, atol=1e-5)


@given(images(), st.floats(0, 1), st.floats(0, 1))
def test_linear_between_centers(pixels, down, across):
    pixels = np.tile(pixels, (2, 2) + (1,) * (pixels.ndim - 2))  # at least two pixels a side
    image = Image(pixels)
    height, width = pixels.shape[:2]
    corner = torch.from_numpy(unit(image, pixels)).reshape(height, width, -1)[:2, :2]
    coords = torch.tensor([[(0.5 + down) / height, (0.5 + across) / width]], dtype=torch.float64)
    weights = torch.tensor([[1 - down], [down]]) * torch.tensor([[1 - across, across]])
    expected = (weights.double()[..., None] * corner).sum((0, 1))[None]
    torch.testing.assert_close(image(coords), expected, rtol=0, atol=1e-6)


@given(images(), st.floats(0, 1e6), st.sampled_from([-1, 1]))
def test_constant_beyond_the_border(pixels, distance, side):
    image = Image(pixels)
    edge = torch.linspace(0, 1, 9, dtype=torch.float64)
    for axis in (0, 1):
        inside, outside = torch.stack((edge, edge), 1), torch.stack((edge, edge), 1)
        inside[:, axis] = 0.0 if side < 0 else 1.0
        outside[:, axis] = -distance if side < 0 else 1 + distance
        assert torch.equal(image(inside), image(outside))


def test_nan_and_infinite_coordinates_do_not_reach_memory():
    image = Image(np.arange(12, dtype=np.uint8).reshape(3, 4))
    values = image(torch.tensor([[float("nan"), 0.5], [float("inf"), -float("inf")]]))
    assert values[0].isnan().all()
    assert values[1].item() == pytest.approx(8 / 255)


def test_no_coordinates_give_no_values():
    assert Image(np.zeros((3, 4, 2), np.uint8))(torch.rand(0, 2)).shape == (0, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_with_respect_to_coordinates(dtype):
    rng = np.random.default_rng(0)
    image = Image((rng.random((6, 5, 3)) * 200).astype(dtype))
    native = torch.from_numpy(rng.integers(-1, 6, (40, 2)) + rng.uniform(0.1, 0.9, (40, 2)))
    coords = ((native + 0.5) / torch.tensor([6, 5])).requires_grad_()
    assert torch.autograd.gradcheck(image, coords, eps=1e-7, atol=1e-4)


def test_gradient_is_zero_beyond_the_border():
    coords = torch.tensor([[-0.3, 0.5], [1.2, 1.7]], requires_grad=True)
    Image(np.random.default_rng(0).random((5, 5)))(coords).sum().backward()
    assert coords.grad is not None
    assert coords.grad[0, 0] == 0
    assert (coords.grad[1] == 0).all()


@pytest.mark.parametrize(
    "coords", [torch.rand(4, 3), torch.zeros(4, 2, dtype=torch.int64)], ids=["3-d", "integer"]
)
def test_wrong_coordinates_are_refused(coords):
    # Called without the type checker of the tests, as users call it.
    forward = getattr(Image.forward, "__wrapped__", Image.forward)
    with pytest.raises(SoftmineError, match=r"float \(row, column\) coordinates of shape \(N, 2\)"):
        forward(Image(np.zeros((3, 4))), coords)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixels_keep_their_type_in_memory(dtype):
    image = Image(np.ones((3, 4, 3), dtype))
    assert image.dtype == dtype
    assert image.stored.nbytes == 36 * np.dtype(dtype).itemsize
    assert image.state_dict() == {}


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[3, 7]], np.uint8), (0, 255)),
        (np.array([[3, 7]], np.uint16), (0, 65535)),
        (np.array([[-3, 700]], np.int16), (-3, 700)),
        (np.array([[3, 7]], np.uint32), (3, 7)),
        (np.array([[True]]), (0, 1)),
        (np.array([[0.25, 0.5]]), (0, 1)),
        (np.array([[-2.0, 6.0]], np.float32), (-2, 6)),
        (np.array([[7.0, 7.0]], np.float32), (0, 7)),
        (np.array([[-7.0]]), (-7, 1)),
        (np.array([[-1e-320]]), (-1e-320, 1)),
    ],
)
def test_value_range(pixels, expected):
    image = Image(pixels)
    assert image.value_range == expected
    assert image(torch.rand(5, 2)).isfinite().all()


@given(images())
def test_raw_values_come_back(pixels):
    image = Image(pixels)
    raw = image.to_raw(image.rows(0, pixels.shape[0]))
    assert raw.dtype == pixels.dtype
    expected = pixels.reshape(image.shape)
    if pixels.dtype.kind == "f":
        span = image.value_range[1] - image.value_range[0]
        np.testing.assert_allclose(
            raw.astype(np.float64), expected.astype(np.float64), rtol=2e-3, atol=span * 1e-6
        )
    else:
        np.testing.assert_array_equal(raw, expected)


def test_raw_values_are_clipped_and_rounded():
    values = np.array([-1.0, 0.5, 2.0, np.nan], np.float32)
    assert Image(np.zeros((2, 2), np.uint8)).to_raw(values).tolist() == [0, 128, 255, 0]
    assert Image(np.zeros((2, 2), np.uint16)).to_raw(values).tolist() == [0, 32768, 65535, 0]
    assert Image(np.zeros((2, 2), bool)).to_raw(values).tolist() == [False, False, True, False]
    half = Image(np.array([[-6e4, 6e4]], np.float16)).to_raw(values)
    assert half[:3].tolist() == [-65504, 0, 65504]


def test_float16_coordinates_are_placed_in_float32():
    image = Image(np.arange(2000, dtype=np.float32)[None])
    values = image(torch.tensor([[0.5, 0.7]], dtype=torch.float16))
    assert values.dtype == torch.float16
    assert values.item() == pytest.approx(0.7, abs=1e-3)


def test_float64_pixels_keep_their_precision():
    pixels = np.array([[1e9, 1e9 + 1e-3, 1e9 + 2e-3]])
    middle = Image(pixels)(torch.tensor([[0.5, 0.5]]))
    assert middle.item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("source", ["strided", "fortran", "big-endian", "read-only", "tensor"])
def test_any_array_layout(source):
    plain = np.random.default_rng(0).integers(0, 65535, (6, 8, 3)).astype(np.uint16)
    made = {
        "strided": lambda: plain[::2, ::-1],
        "fortran": lambda: np.asfortranarray(plain),
        "big-endian": lambda: plain.astype(">u2"),
        "read-only": lambda: np.frombuffer(plain.tobytes(), np.uint16).reshape(plain.shape),
        "tensor": lambda: torch.from_numpy(plain),
    }[source]()
    expected = np.asarray(made).astype(np.float64) / 65535
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = Image(made)
    np.testing.assert_allclose(image.rows(0, image.shape[0]), expected, atol=1e-7)
    if expected.shape == plain.shape:
        assert image.fingerprint == Image(plain).fingerprint


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_array_may_change_after_it_was_given(dtype):
    pixels = np.zeros((2, 2), dtype)
    image = Image(pixels)
    pixels[:] = 1
    assert image(torch.rand(3, 2)).sum() == 0


def test_fingerprints_differ_with_dtype_shape_and_values():
    arrays = [
        np.zeros((4, 4), np.uint8),
        np.zeros((2, 8), np.uint8),
        np.zeros((4, 4, 1), np.float32),
        np.ones((4, 4), np.uint8),
    ]
    prints = {Image(array).fingerprint for array in arrays}
    assert len(prints) == 4
    assert Image(arrays[0]).fingerprint == Image(arrays[0].copy(), "other").fingerprint


def test_attributes():
    image = Image(np.zeros((3, 5, 2), np.uint8), "grid")
    assert (image.name, image.path, image.channels) == ("grid", None, 2)
    assert image.shape == (3, 5, 2)
    assert image.domain.shape == (3, 5)
    assert image.in_memory
    assert repr(image) == "Image('grid', shape=(3, 5, 2), dtype=uint8, in_memory=True)"


def test_an_image_is_a_signal():
    assert isinstance(Image(np.zeros((3, 5), np.uint8)), Signal)


def test_moves_between_devices_and_copies():
    image = Image(np.zeros((3, 5), np.uint8))
    assert image.to("meta").stored.device.type == "meta"
    image = Image(np.full((3, 5), 255, np.uint8))
    for other in (copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert (other(torch.rand(4, 2)) == 1).all()


def test_rows_outside_the_image_are_refused():
    image = Image(np.zeros((3, 5), np.uint8), "grid")
    for start, stop in ((-1, 2), (0, 4), (2, 1)):
        with pytest.raises(SoftmineError, match=r"not all in 'grid', which has 3"):
            image.rows(start, stop)
    assert image.rows(1, 1).shape == (0, 5, 1)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros(5, np.uint8), r"shape \(5,\), but an image has shape \(H, W\)"),
        (np.zeros((1, 1, 2, 2, 2)), r"shape \(1, 1, 2, 2, 2\)"),
        (np.zeros((0, 5)), r"no pixels \(its shape is \(0, 5\)\)"),
        (np.zeros((3, 20, 30)), r"looks channels-first; move channels last"),
        (np.zeros((20, 30, 5)), r"5 channels, but an image has 1 to 4"),
        (np.zeros((2, 2), np.complex64), r"values are complex64; convert them"),
        (np.zeros((2, 2), object), r"values are object"),
        (torch.zeros((2, 2), dtype=torch.bfloat16), r"values are bfloat16"),
        (np.array([[-1.7e308, 1.7e308]]), r"span more than a float64 holds"),
    ],
)
def test_bad_arrays_are_refused(pixels, message):
    with pytest.raises(SoftmineError, match=message):
        Image(pixels)


@pytest.mark.parametrize("order", ["C", "F"])
def test_infinite_pixels_are_counted_and_located(order, monkeypatch):
    monkeypatch.setattr("softmine.signals.grid.BLOCK_VALUES", 7)  # several blocks
    pixels = np.zeros((9, 5, 2), order=order)
    pixels[7, 1, 0] = -np.inf
    pixels[3, 4] = np.inf
    with pytest.raises(SoftmineError, match=r"2 of its pixels.*first at row 3, column 4"):
        Image(pixels)


def test_builtin_images_need_no_network():
    assert Image.builtin().name == "astronaut"
    assert Image.builtin().shape == (512, 512, 3)
    assert Image.builtin("retina").shape == (1411, 1411, 3)
    assert Image.builtin("hubble").shape == (872, 1000, 3)
    assert Image.builtin("camera").shape == (512, 512, 1)
    with pytest.raises(SoftmineError, match=r"no built-in image 'astronot'; try astronaut"):
        Image.builtin("astronot")


def test_every_builtin_image_loads():
    for name in PHOTOS:
        assert Image.builtin(name).dtype == "uint8"


TRACED = """
import numpy as np, torch
from softmine.signals import Image

for channels in (1, 3):
    image = Image((np.random.default_rng(0).random((6, 5, channels)) * 9).astype(np.uint16))
    coords = torch.rand(8, 2, requires_grad=True)
    compiled = torch.compile(image, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(coords), image(coords))
    compiled(coords).sum().backward()
"""


def test_look_up_traces_as_a_full_graph():
    # In a process of its own: the shape checks that the tests switch on are not traceable.
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("dtype", DTYPES)
def test_look_up_does_not_wait_for_the_gpu(dtype):
    plain = Image((np.random.default_rng(0).random((6, 5, 3)) * 200).astype(dtype))
    expected = plain(torch.rand(64, 2, generator=torch.Generator().manual_seed(0)))
    coords = torch.rand(64, 2, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
    image = plain.to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        values = image(coords)
        values.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(values.cpu(), expected)


def test_values_below_zero_stay_as_they_are():
    pixels = np.array([[-1.0, -0.5], [-0.25, -4.0]], np.float32)
    image = Image(pixels)
    assert image.value_range == (-4.0, -0.25)
    assert image.stored.dtype == torch.float32
    assert np.array_equal(image.to_raw(image.rows(0, 2))[..., 0], pixels)


def test_png_that_is_far_too_short_is_refused(tmp_path):
    # Pillow leaves rows black that are not there.
    path = tmp_path / "tall.png"
    header = struct.pack(">IIBBBBB", 10, 2**24, 1, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"\0\xff\xff")), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks))
    with pytest.raises(SoftmineError, match="it is a truncated or damaged PNG; get a complete copy"):
        Image.read(path)
