"""All of it on the second GPU, while torch's current device is the first, as it is in most programs."""

import pytest
import torch

from gpu.fake_gpu import FakeGpu
from gpu.training import image_of, loop_of, trainer_of
from softmine import SoftmineError, fit
from softmine.optim import CapturedStep
from softmine.training import devices

pytestmark = pytest.mark.filterwarnings("ignore:training steps are not recorded")


@pytest.mark.parametrize("name", ["auto", "langevin", "nint"])
def test_training_stays_on_the_second_gpu(name):
    with FakeGpu(count=2) as gpu:
        trainer = trainer_of(name, device="cuda:1")
        trainer.advance(lambda: trainer.step >= 20)
        assert {tensor.device for tensor in trainer.field.state_dict().values()} == {torch.device("cuda:1")}
        assert gpu.started == {1}


def test_fit_takes_the_second_gpu():
    with FakeGpu(count=2) as gpu:
        fitted = fit("hashgrid", image_of(), steps=2, batch_size=16, device="cuda:1")
        assert next(fitted.field.parameters()).device == torch.device("cuda:1")
        assert gpu.started == {1}


def test_a_step_is_recorded_on_the_second_gpu():
    with FakeGpu(count=2) as gpu:
        field, sampler, _, step = loop_of("uniform", "cuda:1", memory=None)
        captured = CapturedStep(step, [field, sampler])
        losses = [captured().item() for _ in range(8)]
        assert losses[-1] != losses[-2]
        assert gpu.started == {1}


def test_devices_have_numbers():
    with FakeGpu(count=2):
        assert devices.choose("cuda:1") == torch.device("cuda:1")
        assert devices.choose("auto") == torch.device("cuda")
        with pytest.raises(
            SoftmineError, match=r"'cuda:2' was asked for, but .* 2 NVIDIA GPUs here, .* cuda:1"
        ):
            devices.choose("cuda:2")
        for name in ("cuda:", "cuda:-1", "cuda:x", "cpu:1", "cuda:01"):
            with pytest.raises(SoftmineError, match="unknown device"):
                devices.choose(name)


def test_the_cpu_starts_no_gpu():
    with FakeGpu(count=2) as gpu:
        fit("hashgrid", image_of(), steps=1, batch_size=16, device="cpu")
        assert gpu.started == set()
