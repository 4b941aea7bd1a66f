"""How many kernels a fused training step starts, eagerly and recorded, on a fake GPU."""

import pytest
import torch

pytest.importorskip("triton", reason="a step is fused only where triton is installed")

from gpu.fake_gpu import FakeGpu
from gpu.training import field_of, image_of
from softmine import Box, Siren, fit
from softmine.registry import create
from softmine.training.budget import Budget
from softmine.training.record import SampleRecord
from softmine.training.trainer import Diverged, Trainer

EAGER = {"uniform": 13, "auto": 13, "shuffled": 15}
"""Most launches of a step and of its rate, drawing ahead left out: raise none without a reason."""
RECORDED = {"uniform": 12, "auto": 15}


def trainer_of(name):
    image = image_of().to("cuda")
    sampler = create(name, image.domain, 64, seed=0, edges=image.edges, defaults={"snapped": True})
    options = {"budget": Budget(steps=1000), "learning_rate": 1e-2, "device": torch.device("cuda")}
    return Trainer(field_of(), image, sampler, snap=True, schedule="constant", **options)


@pytest.mark.parametrize("name", EAGER)
def test_a_fused_step_starts_few_kernels_and_never_waits(name):
    with FakeGpu() as gpu:
        trainer, each = trainer_of(name), []
        trainer._captured = None
        assert trainer.fused is not None
        assert trainer.not_fused == ""
        with trainer.clock:
            for _ in range(5):
                trainer._train_step()
            for _ in range(8):
                gpu.reset()
                trainer._train_step()
                assert not gpu.waits, gpu.report()
                each.append(sum(gpu.launches.values()))
        # In one step of four batches are drawn ahead.
        assert sorted(each)[5] <= EAGER[name], each


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_fused_step_learns_what_an_eager_one_does(name):
    found = []
    for recorded in (False, True):
        with FakeGpu():
            trainer, losses = trainer_of(name), []
            if not recorded:
                trainer._captured = None
            with trainer.clock:
                for _ in range(16):
                    trainer._train_step()
                    losses.append(trainer.loss.clone())
            found.append(torch.stack(losses).detach().cpu())
            if recorded:
                assert trainer._captured.replayed
                assert len(trainer._captured._graph.nodes) <= RECORDED[name]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_what_is_not_fused_says_why():
    with FakeGpu():
        fitted = fit(Siren(2, 3), image_of(), "uniform", steps=2, device="cuda")
        assert "HashGridField" in fitted.not_fused
        assert fit(field_of(), image_of(), "uniform", steps=2, device="cuda").not_fused == ""
    assert "Triton" in fit(field_of(), image_of(), "uniform", steps=2, device="cpu").not_fused


def test_a_diverged_step_is_named_although_the_sampler_was_used_before():
    with FakeGpu():
        trainer = trainer_of("uniform")
        for _ in range(5):
            batch = trainer.sampler.draw()
            trainer.sampler.update(batch, torch.zeros(64, device="cuda"))
        trainer.advance(lambda: trainer.step >= 2)
        with torch.no_grad():
            trainer.fused.layers[-1].fill_(float("nan"))
        with pytest.raises(Diverged) as found:
            trainer.advance(lambda: trainer.step >= 4)
    assert found.value.step == 3


def test_samples_are_counted_as_on_the_cpu():
    domain = Box((200, 130))
    coords = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    wanted = SampleRecord(domain, torch.device("cpu"))
    wanted.add(coords)
    with FakeGpu() as gpu:
        record = SampleRecord(domain, torch.device("cuda"))
        record.add(coords.cuda())
        assert gpu.launches["triton count_cells"] == 1
        counts = record.counts.cpu()
    assert torch.equal(counts, wanted.counts)
    assert counts.max() > 1
