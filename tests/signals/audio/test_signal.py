"""Look-up, value range, raw values, edges and built-in audio."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softmine.domain import SoftmineError
from softmine.signals import Audio, Signal
from softmine.signals.audio import signal as module


@st.composite
def clips(draw):
    dtype = np.dtype(draw(st.sampled_from(module.DTYPES)))
    length = draw(st.integers(1, 40))
    shape = draw(st.sampled_from([(length,), (length, 1), (length, 2), (length, 5)]))
    values = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    if dtype == np.float64:  # larger than a quarter of the greatest float64 is refused
        values = st.floats(-1e300, 1e300)
    return draw(hnp.arrays(dtype, shape, elements=values))


def unit(audio, samples):
    return (samples.astype(np.float64) / audio.peak / 2 + 0.5).reshape(audio.shape)


@given(clips())
def test_center_of_a_sample_gives_the_sample(samples):
    audio = Audio(samples, 8000)
    cells = torch.arange(len(samples))
    values = audio(audio.domain.centers(cells, torch.float64))
    assert values.dtype == torch.float64
    assert values.shape == audio.shape
    torch.testing.assert_close(values, torch.from_numpy(unit(audio, samples)), rtol=0, atol=1e-6)
    exact = audio.sample_values(cells)
    assert exact.dtype == torch.float32
    torch.testing.assert_close(exact, values.float(), rtol=0, atol=1e-6)


@given(clips())
def test_values_lie_in_0_to_1_and_the_loudest_sample_at_an_end(samples):
    audio = Audio(samples, 8000)
    values = audio.sample_values(torch.arange(len(samples)))
    assert values.min() >= 0
    assert values.max() <= 1
    if np.abs(samples.astype(np.float64)).max() >= np.finfo(np.float64).tiny:
        assert (values - 0.5).abs().max() == pytest.approx(0.5, abs=1e-6)
    else:
        torch.testing.assert_close(values, torch.full_like(values, 0.5))


@given(clips())
def test_raw_values_come_back_in_their_own_type(samples):
    audio = Audio(samples, 8000)
    raw = audio.to_raw(unit(audio, samples))
    assert raw.dtype == samples.dtype
    difference = np.abs(raw.astype(np.float64) - samples.reshape(audio.shape))
    assert difference.max() <= max(1e-6 * audio.peak, 0.0 if samples.dtype.kind == "i" else 1e-300)


def test_integers_are_rounded_and_clipped_and_nan_is_silence():
    audio = Audio(np.array([-32768, 3, 32767], np.int16), 8000)
    raw = audio.to_raw(np.array([[-0.5], [0.5 + 2.6 / 65536], [1.0], [9.0], [np.nan]]))
    assert raw.ravel().tolist() == [-32768, 3, 32767, 32767, 0]


def test_linear_between_samples_and_constant_beyond_the_ends():
    audio = Audio(np.array([[0, 10], [100, -20]], np.int16), 8000)
    coords = torch.tensor([[0.0], [0.25], [0.5], [0.7], [0.75], [0.999]])
    raw = (audio(coords) - 0.5) * 2 * audio.peak
    expected = [[0, 10], [0, 10], [50, -5], [90, -17], [100, -20], [100, -20]]
    torch.testing.assert_close(raw, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-4)


def test_the_gradient_is_the_local_slope():
    samples = np.random.default_rng(0).standard_normal(50)
    audio = Audio(samples, 8000)
    coords = (torch.rand(20, 1, dtype=torch.float64) * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(audio, coords, eps=1e-9, atol=1e-4)
    inside = torch.tensor([[10.8 / 50]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(audio(inside).sum(), inside)
    assert slope.item() == pytest.approx((samples[11] - samples[10]) * 50 / (2 * audio.peak))


@pytest.mark.parametrize("length", [1000, 100_003, 2**20 + 1, module.MAX_SAMPLES])
def test_rounded_centers_give_their_own_sample(length):
    samples = np.random.default_rng(0).integers(-9000, 9000, length).astype(np.int16)
    audio = Audio(samples, 48000, copy=False)
    cells = torch.arange(max(0, length - 10_000), length)
    centers = audio.domain.centers(cells)
    assert torch.equal(audio(centers), audio.sample_values(cells))
    # As training does it, from anywhere in the sample that float32 can say.
    inside = audio.domain.snap(audio.domain.inside(cells, [torch.full((len(cells),), 0.3)]))
    assert torch.equal(audio(inside), audio.sample_values(audio.domain.cell(inside)))


def test_nan_coordinates_give_nan():
    audio = Audio(np.array([1, 2], np.int16), 8000)
    assert audio(torch.tensor([[torch.nan]])).isnan().all()


def test_samples_keep_their_type_and_are_copied_by_default():
    samples = np.array([1, -2, 3], np.int16)
    audio, shared = Audio(samples, 8000), Audio(samples, 8000, copy=False)
    assert audio.stored.dtype == torch.int16
    assert audio.state_dict() == {}
    samples[0] = 3
    assert audio.stored[0, 0] == 1
    assert shared.stored[0, 0] == 3


def test_byte_order_and_layout_do_not_matter():
    samples = np.arange(-6, 6, dtype=np.int16).reshape(6, 2)
    plain = Audio(samples, 8000)
    for same in (samples.astype(">i2"), np.asfortranarray(samples)):
        other = Audio(same, 8000, copy=False)
        assert torch.equal(other.stored, plain.stored)
        assert other.fingerprint == plain.fingerprint


def test_silence_is_0_5_on_the_scale_of_its_type():
    for dtype, peak in ((np.int16, 32768), (np.int32, 2**31), (np.float32, 1)):
        audio = Audio(np.zeros(9, dtype), 8000)
        assert audio.value_range == (-peak, peak)
        assert (audio(torch.rand(9, 1)) == 0.5).all()
        assert (audio.edges() == 0).all()


def test_edges_are_the_slopes_magnitude():
    samples = np.array([[0, 0], [0, 4], [8, 0], [-8, 0]], np.int16)
    audio = Audio(samples, 8000)
    slopes = np.array([[0, 2], [4, 0], [-4, -2], [-8, 0]]) / 16
    torch.testing.assert_close(audio.edges(), torch.from_numpy(np.abs(slopes).mean(1)).float())


def test_edges_on_fewer_cells_are_means_over_them():
    audio = Audio(np.random.default_rng(0).standard_normal(60), 8000)
    whole = audio.edges()
    torch.testing.assert_close(audio.edges(20), whole.view(20, 3).mean(1))
    uneven = audio.edges(7)
    assert uneven.shape == (7,)
    assert uneven.mean().item() == pytest.approx(whole.mean().item(), rel=1e-5)
    share = 60 / 7 - 8
    first = (whole[:8].sum() + share * whole[8]) / (60 / 7)
    assert uneven[0].item() == pytest.approx(first.item(), rel=1e-5)
    with pytest.raises(SoftmineError, match="at least 1"):
        audio.edges(0)


def test_the_built_in_audio_is_the_same_every_time_and_has_loud_and_silent_parts():
    audio = Audio.builtin()
    assert isinstance(audio, Signal)
    assert torch.equal(audio.stored, Audio.builtin().stored)
    assert audio.seconds == 4.0
    loud = audio.stored.float().abs().view(-1, 1600).mean(1)
    assert (loud == 0).any()
    assert loud.max() > 2000


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0, np.int16), 8000, "no samples"),
        (np.zeros((0, 2), np.int16), 8000, "no samples"),
        (np.zeros((4, 2, 2), np.int16), 8000, r"shape \(samples,\) or \(samples, channels\)"),
        (np.zeros((65, 800), np.int16).T, 8000, "too many channels"),
        (np.zeros((2, 800), np.int16), 8000, "channels-first"),
        (np.zeros(4, np.uint8), 8000, "convert them to one of int16"),
        (np.zeros(4, np.complex64), 8000, "convert them"),
        (np.zeros(4, np.int16), 0, "sample rate is 0"),
        (
            np.array([0.0, np.nan, 1.0, np.inf]),
            8000,
            "2 of its samples are NaN or infinite, the first at sample 1",
        ),
        (np.array([0.0, 1e308]), 8000, "scale them down"),
        (np.zeros(module.MAX_SAMPLES + 1, np.int16), 44100, "cut it to 190 seconds"),
    ],
)
def test_what_is_no_audio_is_refused(samples, rate, message):
    with pytest.raises(SoftmineError, match=message):
        Audio(samples, rate, "thing")


def test_coordinates_of_another_kind_are_refused():
    for coords in (torch.rand(3, 2), torch.rand(3), torch.zeros(3, 1, dtype=torch.int64)):
        # In the tests, types are checked before the sound itself looks.
        with pytest.raises((SoftmineError, TypeError)):
            Audio.builtin()(coords)
