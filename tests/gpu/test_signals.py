"""Every kind of signal and every field on a fake GPU: what waits for the device, and where."""

import numpy as np
import pytest
import torch

from gpu.fake_gpu import FakeGpu
from gpu.training import field_of, trainer_of
from softmine import Audio, FourierField, Shape, Siren, Video, Volume, fit
from softmine.registry import SAMPLERS, create
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer

RANDOM = np.random.default_rng(0)
SIGNALS = {
    "audio": lambda: Audio((RANDOM.random((999, 2)) * 2 - 1).astype(np.float32), 8000),
    "video": lambda: Video(RANDOM.integers(0, 256, (3, 10, 12, 3), dtype=np.uint8)),
    "volume": lambda: Volume(torch.from_numpy(RANDOM.random((7, 8, 9)).astype(np.float32))),
    "shape": lambda: Shape.builtin("ball"),
}
FIELDS = {"siren": Siren, "fourier": FourierField}
ON_CPU = "signals/shape/signal.py"
"""Distances to a mesh are computed there, so that a step of a shape waits: once for coordinates, once for values."""


def waits_of(gpu, trainer, steps=3):
    """Waits of a few eager steps after the first."""
    trainer._captured = None
    with trainer.clock:
        for _ in range(3):
            trainer._train_step()
        gpu.reset()
        for _ in range(steps):
            trainer._train_step()
        return gpu.waits.copy()


@pytest.mark.parametrize("sampler", ["auto", "langevin"])
@pytest.mark.parametrize("kind", SIGNALS)
def test_a_step_of_every_signal(kind, sampler):
    signal = SIGNALS[kind]()
    with FakeGpu() as gpu:
        signal.to("cuda")
        field = field_of(signal.domain.dim, signal.channels)
        chosen = create(sampler, signal.domain, 32, seed=0)
        options = {"budget": Budget(steps=99), "learning_rate": 1e-2, "device": torch.device("cuda")}
        waits = waits_of(gpu, Trainer(field, signal, chosen, snap=kind != "shape", **options))
        if kind == "shape":
            assert all(f"at {ON_CPU}" in what for what in waits), waits
            # The slope of a distance is computed beside it, for samplers that follow it.
            assert sum(waits.values()) <= 3 * (3 if sampler == "langevin" else 2), waits
        else:
            assert not waits


@pytest.mark.parametrize("name", FIELDS)
def test_a_step_of_every_field(name):
    with FakeGpu() as gpu:
        torch.manual_seed(0)
        assert not waits_of(gpu, trainer_of("auto", field=FIELDS[name](2, 3)))


@pytest.mark.long
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", FIELDS)
def test_a_step_of_every_field_and_sampler(name, sampler):
    with FakeGpu() as gpu:
        torch.manual_seed(0)
        assert not waits_of(gpu, trainer_of(sampler, field=FIELDS[name](2, 3)))


def test_a_function_is_fitted():
    def waves(coords):
        return (7 * coords).sin()

    from softmine import Box

    with FakeGpu():
        fitted = fit("hashgrid", waves, domain=Box((20, 30)), steps=5, batch_size=32)
        assert next(fitted.field.parameters()).device.type == "cuda"
        assert fitted.loss > 0
