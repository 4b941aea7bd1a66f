"""Sounds as tasks: fields that suit them, measures, pictures and files."""

import math

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from softmine.fields import FourierField, HashGridField, Siren
from softmine.signals import Audio
from softmine.tasks.audio import images
from softmine.tasks.audio import task as module
from softmine.tasks.audio.task import AudioTask, Options, read
from softmine.training import evaluation as rules
from softmine.training.settings import FieldSettings

CPU = torch.device("cpu")
STEREO = np.stack([np.sin(np.arange(5000) * pace) * 8000 for pace in (0.03, 0.2)], 1).astype(np.int16)


class Echo(nn.Module):
    """A field that knows the sound, but for an offset."""

    def __init__(self, audio, offset=0.0):
        super().__init__()
        self.audio, self.offset = audio, offset

    def forward(self, coords):
        return self.audio(coords) + self.offset


def test_without_a_path_there_is_a_sound():
    task = read(None, Options())
    assert task.size() == "4.00 s mono int16, 64,000 samples at 16,000 Hz"
    assert task.describe()["path"] is None


def test_what_is_said_of_a_file(tmp_path):
    soundfile.write(tmp_path / "a.flac", STEREO, 8000)
    task = read(str(tmp_path / "a.flac"), Options())
    assert task.size() == "0.62 s stereo int16, 5,000 samples at 8,000 Hz"
    said = task.describe()
    assert said["shape"] == [5000, 2]
    assert said["rate"] == 8000
    assert said["value_range"] == [-7999.0, 7999.0]
    assert said["path"] == str(tmp_path / "a.flac")
    other = tmp_path / "b.flac"
    other.write_bytes((tmp_path / "a.flac").read_bytes())
    assert read(str(other), Options()).describe()["fingerprint"] == said["fingerprint"]


@pytest.mark.parametrize(("length", "finest"), [(50_000, 50_000), (1, 2)])
def test_the_hash_grid_has_a_cell_a_sample(length, finest):
    task = AudioTask(Audio(np.zeros((length, 2), np.int16), 8000))
    field = task.make_field(FieldSettings(field="hashgrid"))
    assert isinstance(field, HashGridField)
    assert field.encoding.resolutions[-1].item() == finest
    assert field.encoding.dense_levels == field.encoding.levels
    assert field(torch.rand(7, 1)).shape == (7, 2)


def test_long_sounds_hash_the_levels_that_do_not_fit():
    task = AudioTask(Audio(np.zeros(50_000, np.int16), 8000))
    field = task.make_field(FieldSettings(field="hashgrid", log2_table_size=10))
    assert isinstance(field, HashGridField)
    assert 0 < field.encoding.dense_levels < field.encoding.levels
    assert len(field.encoding.table) <= 16 * 1024


@pytest.mark.parametrize(("length", "omega"), [(100_000, 3000.0), (2_000, 600.0), (3, 30.0)])
def test_networks_get_the_frequencies_of_a_sound(length, omega):
    task = AudioTask(Audio(np.zeros(length, np.int16), 8000))
    siren = task.make_field(FieldSettings(field="siren"))
    assert isinstance(siren, Siren)
    assert siren.omegas == [omega, 30.0, 30.0, 30.0]
    torch.manual_seed(0)
    fourier = task.make_field(FieldSettings(field="fourier"))
    assert isinstance(fourier, FourierField)
    # In cycles over the domain; SIREN's first weights, from -1 to 1 over twice the length, have this spread.
    spread = fourier.projection.std().item() / (2 * math.pi)
    assert spread == pytest.approx(omega / math.pi / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize("offset", [0.01, -0.002])
def test_the_measures_of_a_known_error(offset):
    audio = Audio(np.array([0, 100, -100, 0] * 500, np.int16), 8000)
    evaluator = AudioTask(audio).make_evaluator(CPU)
    # Half of the samples are at an end of the range, and at one of the two the offset is clipped.
    error = offset**2 * 0.75
    result = evaluator(Echo(audio, offset))
    assert result.ssim is None
    assert (result.samples, result.subset) == (2000, False)
    assert result.psnr == pytest.approx(-10 * math.log10(error), abs=0.01)
    assert result.more["snr"] == pytest.approx(10 * math.log10(0.125 / error), abs=0.01)
    assert "all 2,000 samples" in evaluator.describe()


def test_loudness_changes_no_measure():
    noise = np.random.default_rng(0).standard_normal(3000)
    results = []
    for scale in (1.0, 1e-4):
        audio = Audio(noise * scale, 8000)
        results.append(AudioTask(audio).make_evaluator(CPU)(Echo(audio, 0.01)))
    assert results[0].psnr == pytest.approx(results[1].psnr)
    assert results[0].more["snr"] == pytest.approx(results[1].more["snr"])


def test_silence_has_no_signal_to_noise_ratio():
    audio = Audio(np.zeros(100, np.int16), 8000)
    result = AudioTask(audio).make_evaluator(CPU)(Echo(audio, 0.1))
    assert result.psnr == pytest.approx(20.0, abs=1e-3)
    assert result.more == {}


def test_a_field_that_is_not_a_number_has_no_quality():
    audio = Audio.builtin()
    result = AudioTask(audio).make_evaluator(CPU)(Echo(audio, math.nan))
    assert math.isnan(result.psnr)
    assert math.isnan(result.more["snr"])


def test_of_a_long_sound_a_fixed_subset_counts():
    rng = np.random.default_rng(0)
    audio = Audio(rng.integers(-9000, 9000, 2**20 + 1).astype(np.int16), 48000)
    evaluators = [AudioTask(audio).make_evaluator(CPU) for _ in range(2)]
    assert torch.equal(evaluators[0].cells, evaluators[1].cells)
    result = evaluators[0](Echo(audio))
    assert (result.samples, result.subset) == (rules.SUBSET, True)
    assert "a fixed subset of 131,072 of 1,048,577 samples" in evaluators[0].describe()


def test_pictures_of_both_and_the_error_over_time():
    audio = Audio(STEREO, 8000)
    task = AudioTask(audio)
    shares = []
    result = task.reconstruct(Echo(audio, 0.001), CPU, report=shares.append)
    assert shares[-1] == 1.0
    assert result.note == "every sample"
    assert result.psnr == pytest.approx(60.0, abs=0.1)
    assert result.target is not None
    width, height = images.SIZE
    for picture in (result.values, result.target):
        assert picture.shape == (height, width, 3)
        assert 0 <= picture.min() < 0.2 < 0.9 < picture.max() <= 1
    assert result.error.shape == images.STRIP
    assert result.error.mean() == pytest.approx(0.001, rel=0.02)


def test_pictures_of_different_sounds_differ():
    audio = Audio(STEREO, 8000)
    exact = AudioTask(audio).reconstruct(Echo(audio), CPU, small=True)
    off = AudioTask(audio).reconstruct(Echo(audio, 0.1), CPU, small=True)
    assert exact.target is not None
    assert off.target is not None
    assert np.array_equal(exact.target, off.target)
    assert np.abs(exact.values - off.values).mean() > 0.01


@pytest.mark.parametrize("length", [1, 2, 3, 17, 959, 960, 961])
def test_sounds_of_a_few_samples_have_pictures(length):
    audio = Audio(np.arange(length, dtype=np.int16), 8000)
    result = AudioTask(audio).reconstruct(Echo(audio, 0.25), CPU, small=True)
    assert result.values.shape == (*images.SMALL_SIZE[::-1], 3)
    assert result.error.shape == images.STRIP


def test_the_error_strip_averages_equal_spans():
    error = np.zeros(9600, np.float32)
    error[4800:4810] = 1.0
    strip = images.error_strip(error)
    assert strip[:, 480].tolist() == [1.0] * len(strip)
    assert strip.sum() == len(strip)


def test_small_pictures_of_a_long_sound_show_its_middle(monkeypatch):
    monkeypatch.setattr(module, "EXCERPT", 1000)
    audio = Audio(STEREO, 8000)
    asked = []

    class Listener(Echo):
        def forward(self, coords):
            asked.append(coords)
            return super().forward(coords)

    result = AudioTask(audio).reconstruct(Listener(audio), CPU, small=True)
    assert result.psnr is None
    assert result.note == "0.1 s from the middle"
    cells = audio.domain.cell(torch.cat(asked))
    assert cells.tolist() == list(range(2000, 3000))


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_the_sound_is_written_in_its_own_type(tmp_path, dtype):
    samples = STEREO if dtype == "int16" else (STEREO / 8000).astype(dtype)
    if dtype == "int32":
        samples = STEREO.astype(np.int32) * 2**16
    audio = Audio(samples, 22050)
    task = AudioTask(audio)
    field = Echo(audio)
    outputs = task.write_output(field, task.reconstruct(field, CPU), tmp_path, CPU)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(output.file for output in outputs)
    for output in outputs:
        written = Audio.read(tmp_path / output.file)
        assert (written.rate, written.dtype, written.shape) == (22050, dtype, audio.shape)
        difference = written.stored.double() - audio.stored.double()
        # Unit values are kept in float32.
        assert difference.abs().max() / audio.peak < 1e-3
