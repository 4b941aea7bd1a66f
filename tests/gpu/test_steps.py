"""Training steps on a fake GPU meet no tensor of the CPU, never wait, and start no more kernels than they did."""

import pytest
import torch

from gpu.fake_gpu import FakeGpu
from gpu.training import trainer_of
from softmine.registry import SAMPLERS

pytestmark = pytest.mark.filterwarnings("ignore:training steps are not recorded")
VARIANTS = ("uniform:stratified=True", "langevin:prior=uniform", "error-map:cells=20", "quota-map:cells=20")
STEPS = 4
"""A period of the samplers that draw ahead, of this image."""
MOST_LAUNCHES = {"uniform": 14, "shuffled": 16, "auto": 110, "quota-map": 51, "langevin": 170}
"""An eager step, drawing ahead and the rate on the device included: raise none of them without a reason."""


def steps_of(gpu, trainer):
    """Four eager steps after the first few, which make an optimizer's state; replays are in ``test_training_recorded.py``."""
    trainer._captured = None
    with trainer.clock:
        for _ in range(5):
            trainer._train_step()
        gpu.reset()
        for _ in range(STEPS):
            trainer._train_step()
        assert not gpu.waits, gpu.report(STEPS)
        return sum(gpu.launches.values()) / STEPS


@pytest.mark.parametrize("name", [*SAMPLERS, *VARIANTS])
def test_a_step_of_every_sampler_never_waits(name):
    with FakeGpu() as gpu:
        launches = steps_of(gpu, trainer_of(name))
        assert launches <= MOST_LAUNCHES.get(name, 300), gpu.report(STEPS)


@pytest.mark.parametrize("name", ["auto", "langevin", "shuffled", "error-map"])
def test_a_masked_step_never_waits(name):
    with FakeGpu() as gpu:
        steps_of(gpu, trainer_of(name, masked=True))


def test_a_step_learns_what_the_cpu_learns():
    fields = []
    for device in ("cuda", "cpu"):
        with FakeGpu() if device == "cuda" else torch.enable_grad():
            trainer = trainer_of("auto", device=device)
            if trainer.fused is not None:
                trainer.fused.product = "ieee"
            trainer.advance(lambda: trainer.step >= 12)  # noqa: B023
            fields.append([value.cpu() for value in trainer.field.state_dict().values()])
    for on_gpu, on_cpu in zip(*fields, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-5)
