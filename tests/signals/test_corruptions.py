"""Dirty data: what is changed, by how much, and what stays."""

import numpy as np
import pytest
import torch

from softmine.errors import ArgumentError, SoftmineError
from softmine.signals import Audio, Image, Volume
from softmine.signals.corruptions import COMMON, CORRUPTIONS, Corruption, corrupt
from softmine.signals.synthetic.fractal import NAME as FRACTAL


def gray(shape=(60, 80), dtype=np.uint8):
    return Image(np.full(shape, 100, dtype))


def masked_volume():
    voxels = np.random.default_rng(0).normal(size=(12, 10, 8)).astype(np.float32)
    voxels[:, :5] = np.nan
    return Volume(voxels)


def kept(signal):
    return signal.stored.double().nan_to_num(-1e9)


def all_values(signal):
    return signal.cell_values(torch.arange(signal.domain.cells))


SIGNALS = {
    "gray": lambda: Image(np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8)),
    "rgba": lambda: Image(np.random.default_rng(0).integers(0, 255, (30, 40, 4), np.uint8)),
    "uint16": lambda: Image(np.random.default_rng(0).integers(0, 65535, (30, 40, 3), np.uint16)),
    "float": lambda: Image(np.random.default_rng(0).normal(size=(30, 40, 3))),
    "mask": masked_volume,
    "int16": lambda: Volume(np.random.default_rng(0).integers(-1000, 3000, (9, 10, 11), np.int16)),
    "small uint16": lambda: Volume(np.random.default_rng(0).integers(0, 3000, (9, 10, 11), np.uint16)),
    "large uint16": lambda: Volume(np.random.default_rng(0).integers(0, 60000, (9, 10, 11), np.uint16)),
    "time": lambda: Volume(np.random.default_rng(0).random((5, 6, 7, 8))),
    "audio": lambda: Audio(np.random.default_rng(0).integers(-9000, 9000, (3000, 2), np.int16), 8000),
}


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("word", ["outliers=0.1", "gaussian=0.05"])
def test_a_corruption_repeats_and_leaves_the_clean_signal(name, word):
    clean = SIGNALS[name]()
    before = kept(clean)
    first, second = corrupt(clean, Corruption.parse(word)), corrupt(SIGNALS[name](), Corruption.parse(word))
    other = corrupt(clean, Corruption.parse(word + ",seed=1"))
    assert torch.equal(kept(clean), before)
    assert torch.equal(kept(first), kept(second))
    assert first.fingerprint == second.fingerprint
    assert len({clean.fingerprint, first.fingerprint, other.fingerprint}) == 3
    assert not torch.equal(kept(first), kept(other))
    assert (first.value_range, first.name, first.dtype, first.shape) == (
        clean.value_range, clean.name, clean.dtype, clean.shape,
    )  # fmt: skip
    assert type(first) is type(clean)


@pytest.mark.parametrize("name", SIGNALS)
def test_outliers_are_a_share_and_nothing_else_changes(name):
    clean = SIGNALS[name]()
    dirty = corrupt(clean, Corruption("outliers", 0.1))
    before, after = all_values(clean), all_values(dirty)
    colors = 3 if name == "rgba" else clean.channels
    changed = (after != before).any(-1)
    count = round(0.1 * clean.domain.valid)
    # What was at an end of the range already may stay.
    assert 0.95 * count <= changed.sum() <= count
    ends = after[changed][:, :colors]
    assert (np.isclose(ends, 0, atol=1e-6) | np.isclose(ends, 1, atol=1e-6)).all()
    assert (ends == ends[:, :1]).all()
    assert 0.3 < ends[:, 0].mean() < 0.7
    if name == "rgba":
        assert (after[..., 3] == before[..., 3]).all()


def test_masked_cells_are_left_alone():
    clean = masked_volume()
    for word in ("outliers=1", "gaussian=0.3"):
        dirty = corrupt(clean, Corruption.parse(word))
        changed = (dirty.stored.nan_to_num(9) != clean.stored.nan_to_num(9)).view(clean.domain.shape)
        assert not changed[:, :5].any()
        assert changed[:, 5:].float().mean() > 0.9
        assert dirty.domain.valid == clean.domain.valid


def test_a_share_of_zero_changes_nothing():
    clean = SIGNALS["gray"]()
    assert torch.equal(corrupt(clean, Corruption("outliers", 0.0)).stored, clean.stored)


@pytest.mark.parametrize("make", [lambda: gray((200, 200, 3)), lambda: Image(np.full((200, 200), 0.4))])
def test_noise_has_its_sigma(make):
    clean = make()
    noise = all_values(corrupt(clean, Corruption("gaussian", 0.05))) - all_values(clean)
    count = noise.size
    assert abs(noise.mean()) < 5 * 0.05 / np.sqrt(count)
    assert abs(noise.std() - 0.05) < 5 * 0.05 / np.sqrt(2 * count)


def test_noise_stays_within_the_range():
    clean = SIGNALS["int16"]()
    values = all_values(corrupt(clean, Corruption("gaussian", 0.5)))
    assert values.min() == 0
    assert values.max() == 1


@pytest.mark.parametrize("shape", [(64, 48), (64, 48, 3), (64, 48, 4), (64, 48, 2)])
def test_jpeg_is_nearer_at_a_higher_quality(shape):
    ramp = np.add.outer(np.arange(64), np.arange(48)).astype(np.float32)[..., None] * np.ones(shape[2:] or 1)
    clean = Image(
        (ramp + np.random.default_rng(0).integers(0, 60, ramp.shape)).reshape(shape).astype(np.uint8)
    )
    errors = []
    for quality in (10, 30, 95):
        dirty = corrupt(clean, Corruption("jpeg", float(quality)))
        errors.append(np.square(all_values(dirty) - all_values(clean)).mean())
        if shape[-1] in (2, 4):
            assert (all_values(dirty)[:, -1] == all_values(clean)[:, -1]).all()
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[0] < 0.02


def test_a_dirty_signal_is_read_like_any_other():
    dirty = corrupt(gray((20, 30, 3)), Corruption("outliers", 0.2))
    values = dirty.rows(0, 20).reshape(-1, 3)
    assert np.allclose(values, all_values(dirty))
    assert torch.allclose(dirty(dirty.domain.centers(torch.arange(600))), torch.from_numpy(values))
    assert dirty.edges().shape == (20, 30)


def test_what_is_not_in_memory_is_refused():
    with pytest.raises(SoftmineError, match="not in memory"):
        corrupt(Image.builtin(f"{FRACTAL}-4096x4096"), Corruption("gaussian", 0.1))


def test_every_common_word_reads_back():
    for kind, words in COMMON.items():
        for word in words:
            found = Corruption.parse(word)
            assert str(found) == word
            assert kind in CORRUPTIONS[found.name].kinds
            found.check_suits(kind, "")
    assert Corruption.parse("outliers=0.25,seed=7") == Corruption("outliers", 0.25, 7)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("outlier=0.1", "did you mean outliers"),
        ("sepia=1", "choose one of outliers"),
        ("outliers", "with its share, as in outliers=0.01"),
        ("outliers=1.5", "a share from 0 to 1"),
        ("outliers=-0.1", "a share from 0 to 1"),
        ("patches=nan", "a share from 0 to 1"),
        ("gaussian=x", "a sigma from 0 to 1"),
        ("jpeg=0", "a quality from 1 to 95"),
        ("jpeg=96", "a quality from 1 to 95"),
        ("jpeg=30.5", "a quality from 1 to 95"),
        ("outliers=0.1,seed=-1", "a seed, a whole number"),
        ("outliers=0.1,speed=1", "a seed, a whole number"),
    ],
)
def test_bad_words_are_sentences(word, message):
    with pytest.raises(ArgumentError, match=message):
        Corruption.parse(word)


def test_what_does_not_suit_a_kind_is_refused():
    with pytest.raises(ArgumentError, match=r"choose outliers=0\.01 or gaussian=0\.05$"):
        Corruption.parse("jpeg=30").check_suits("volume", "volume")
