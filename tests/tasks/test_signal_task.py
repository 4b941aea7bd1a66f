"""What quality is measured against where the data are dirty."""

import math

import numpy as np
import pytest
import torch

from softmine.errors import SoftmineError
from softmine.radiance.scenes import procedural
from softmine.signals import Audio, Image, Volume
from softmine.signals.corruptions import Corruption
from softmine.tasks import KINDS, module, plain
from softmine.tasks.audio.task import AudioTask
from softmine.tasks.image.task import ImageTask, Options
from softmine.tasks.nerf.task import NerfTask
from softmine.tasks.signal_task import parse_corruption
from softmine.tasks.volume.task import VolumeTask

CPU = torch.device("cpu")
OUTLIERS = Corruption("outliers", 0.1)


def masked():
    voxels = np.random.default_rng(0).random((8, 9, 10)).astype(np.float32)
    voxels[0] = np.nan
    return Volume(voxels)


TASKS = {
    "image": lambda: ImageTask(
        Image(np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)),
        Options(corrupt="outliers=0.1"),
    ),
    "large image": lambda: ImageTask(
        Image(np.tile(np.arange(256, dtype=np.uint8), (4200, 4))), Options(corrupt="outliers=0.1")
    ),
    "volume": lambda: VolumeTask(masked(), OUTLIERS),
    "audio": lambda: AudioTask(Audio(np.random.default_rng(0).normal(size=4000), 8000), OUTLIERS),
}


@pytest.mark.parametrize("kind", TASKS)
def test_quality_is_measured_against_the_clean_signal(kind):
    task = TASKS[kind]()
    evaluator = task.make_evaluator(CPU)
    assert "of the clean signal" in evaluator.describe()
    # The clean signal as a field is perfect; the one that is trained on is not.
    assert evaluator(task.clean).psnr == math.inf
    assert evaluator(task.signal).psnr < 25


@pytest.mark.parametrize("kind", ["image", "volume", "audio"])
def test_what_is_shown_is_the_clean_signal(kind):
    task = TASKS[kind]()
    assert task.reconstruct(task.clean, CPU).psnr == math.inf
    assert task.reconstruct(task.signal, CPU).psnr < 25
    assert "; corrupted: 10% of the cells" in task.size()
    found = task.describe()
    assert found["corruption"]["name"] == "outliers"
    assert found["fingerprint"] != task.clean.fingerprint


def test_test_views_stay_clean():
    scene = procedural(16, 6, 2)
    clean, dirty = NerfTask(scene), NerfTask(scene, "white", Corruption("patches", 0.5))
    assert torch.equal(clean.test.pixels, dirty.test.pixels)
    assert not torch.equal(clean.signal.pixels, dirty.signal.pixels)
    assert clean.signal.fingerprint != dirty.signal.fingerprint
    assert dirty.describe()["corruption"]["amount"] == 0.5
    assert dirty.size().endswith("; corrupted: an opaque patch in 50% of the training views")


def test_a_clean_task_says_nothing_of_corruption():
    task = ImageTask(Image(np.zeros((8, 8), np.uint8)))
    assert task.clean is task.signal
    assert "corruption" not in task.describe()
    assert "clean" not in task.make_evaluator(CPU).describe()


@pytest.mark.parametrize("kind", ["image", "volume", "audio", "nerf"])
def test_options_are_kept_and_checked_before_anything_is_read(kind):
    options = module(kind).Options(corrupt="jpeg=30" if kind != "image" else "patches=0.1")
    assert plain(options)["corrupt"]
    with pytest.raises(SoftmineError, match="cannot be done to this kind of signal"):
        module(kind).read("no/such/file", options)


def test_no_word_is_no_corruption():
    assert parse_corruption(None, "image") is None
    assert all(parse_corruption("gaussian=0", kind) for kind in KINDS if kind in ("image", "volume", "audio"))
