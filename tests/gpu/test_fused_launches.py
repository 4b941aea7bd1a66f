"""How many kernels a fused training step starts, eagerly and recorded, on a fake GPU."""

from unittest import mock

import pytest
import torch

pytest.importorskip("triton", reason="a step is fused only where triton is installed")

from gpu.fake_gpu import FakeGpu
from gpu.training import field_of, image_of
from softmine import Box, Siren, Uniform, fit
from softmine.fields.hash_grid import HashGrid
from softmine.registry import create
from softmine.training.budget import Budget
from softmine.training.fused_step import why_not_fused
from softmine.training.record import SampleRecord
from softmine.training.trainer import Diverged, Trainer

EAGER = {"uniform": 13, "auto": 13, "shuffled": 15}
"""Most launches of a step and of its rate, drawing ahead left out: raise none without a reason."""
RECORDED = {"uniform": 12, "auto": 15}


def trainer_of(name, kind=None):
    image = image_of().to("cuda")
    if kind is None:
        sampler = create(name, image.domain, 64, seed=0, edges=image.edges, defaults={"snapped": True})
    else:
        sampler = kind(image.domain, 64, seed=0)
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


class Softer(Uniform):
    """Weighs by a density that it says, and grows softness in its own way."""

    recordable = True

    def draw(self, probe=None):
        batch = super().draw(probe)
        batch.density = 0.5 + batch.coords[:, 0]
        return batch

    def alpha_at(self, step):
        return torch.full_like(step, 3.0, dtype=torch.float32)


def test_a_sampler_of_ones_own_weighs_in_its_own_way():
    losses = []
    for fused in (True, False):
        with FakeGpu():
            trainer = trainer_of("uniform", Softer)
            if not fused:
                trainer.fused.end()
                trainer.fused = None
            trainer.advance(lambda: trainer.step >= 1)  # noqa: B023
            losses.append(float(trainer.loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kind", ["frozen", "hooked"])
def test_a_field_that_changes_is_trained_as_it_is(kind, recorded):
    with FakeGpu():
        trainer = trainer_of("uniform")
        if not recorded:
            trainer._captured = None
        trainer.advance(lambda: trainer.step >= 8)
        layer = trainer.field.network[0].weight
        before = layer.detach().cpu()
        if kind == "frozen":
            layer.requires_grad_(False)
        else:
            layer.register_hook(torch.zeros_like)
            trainer.optimizer.state[layer]["exp_avg"].zero_()
            trainer._captured = None
        trainer.advance(lambda: trainer.step >= 12)
        assert trainer.fused is None
        assert trainer.not_fused == (
            "not all of it is trained" if kind == "frozen" else "its parameters have hooks"
        )
        if kind == "frozen":
            assert torch.equal(layer.detach().cpu(), before)
        else:
            torch.testing.assert_close(layer.detach().cpu(), before, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda field: field.double(), "float64"),
        (lambda field: field.encoding.register_forward_hook(lambda *given: None), "hooks"),
        (lambda field: setattr(field, "forward", lambda coords: coords), "a forward of its own"),
        (lambda field: field.encoding.requires_grad_(False), "not all of it is trained"),
        (lambda field: setattr(field.encoding, "__class__", type("Own", (HashGrid,), {})), "no subclass"),
    ],
)
def test_reasons_are_true(change, reason):
    with FakeGpu():
        field = field_of().to("cuda")
        change(field)
        assert reason in why_not_fused(field)


def test_an_interrupted_step_leaves_no_gradient():
    sums = []
    for interrupted in (False, True):
        with FakeGpu():
            trainer = trainer_of("uniform")
            trainer._captured = None
            trainer.advance(lambda: trainer.step >= 3)  # noqa: B023
            if interrupted:
                with (
                    mock.patch.object(trainer.sampler, "update", side_effect=KeyboardInterrupt),
                    pytest.raises(KeyboardInterrupt),
                ):
                    trainer.advance(lambda: False)
            sums.append([float(each.abs().sum()) for each in trainer.fused.gradients])
    assert sums == [[0.0] * 6] * 2


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
