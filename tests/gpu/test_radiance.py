"""Radiance fields on a fake GPU: no step waits, whatever kind of scene; a step is few launches, and can be recorded."""

import dataclasses

import pytest
import torch

from gpu.fake_gpu import FakeGpu
from softmine.optim import CapturedStep, RowAdam
from softmine.radiance import bounded_rays, gpu_twins
from softmine.radiance.bounded_rays import OccupancyGrid
from softmine.radiance.field import RadianceField
from softmine.radiance.scenes.procedural import procedural
from softmine.radiance.scenes.scene import Bounds, Ndc
from softmine.registry import create
from softmine.tasks.nerf.task import NerfTask
from softmine.training.budget import Budget
from softmine.training.settings import FieldSettings
from softmine.training.trainer import Trainer

MOST_LAUNCHES = {"box": 60, "ndc": 73, "unbounded": 73}
"""A step of rays and field, without the sampler: raise none of them without a reason."""
KERNELS = {
    "box": {"march", "shorten", "repeat"},
    "ndc": {"propose", "resample", "ray_losses", "ray_losses_backward"},
    "unbounded": {"propose", "resample", "ray_losses", "ray_losses_backward"},
}
ALL = set(gpu_twins.KERNELS) - set.union(*KERNELS.values())
"""What every kind uses."""
KINDS = tuple(MOST_LAUNCHES)


def task_of(kind):
    scene = procedural(size=12, train=4, test=1)
    if kind == "ndc":
        # Cameras look along -z there.
        views = tuple(
            dataclasses.replace(view, pose=view.pose * 0 + [[1, 0, 0, 0.1], [0, -1, 0, 0], [0, 0, -1, 0]])
            for view in scene.views
        )
        scene = dataclasses.replace(
            scene, views=views, bounds=Bounds("ndc", 0.0, 1.0), ndc=Ndc((1.5, 1.5), 1.0)
        )
    if kind == "unbounded":
        scene = dataclasses.replace(scene, bounds=Bounds("unbounded", 0.05, 100.0))
    return NerfTask(scene)


def field_of(task, monkeypatch):
    torch.manual_seed(0)
    field = task.make_field(FieldSettings(steps=100, log2_table_size=8))
    if hasattr(field.field.rays, "occupancy"):
        # Whose 2 million cells would take the fake GPU long.
        field.field.rays.occupancy = OccupancyGrid(16, threshold=field.field.rays.occupancy.threshold)
        monkeypatch.setattr(bounded_rays, "CELLS", 256)
    return field.to("cuda")


@pytest.mark.parametrize("sampler", ["auto", "langevin"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_never_waits(kind, sampler, monkeypatch):
    """Past the first look at the whole occupancy grid, a look at a part of it, and two changes of the room for points."""
    task = task_of(kind)
    with FakeGpu() as gpu:
        task.signal.to("cuda")
        field, chosen = field_of(task, monkeypatch), create(sampler, task.signal.domain, 32, seed=0)
        options = {"budget": Budget(steps=1000), "learning_rate": 1e-2, "device": torch.device("cuda")}
        trainer = Trainer(field, task.signal, chosen, snap=True, **options)
        trainer._captured = None
        with trainer.clock:
            for _ in range(3):
                trainer._train_step()
            gpu.reset()
            for start in (4, 15, 31, 63, 79):
                trainer.step = start
                trainer._train_step()
            assert not gpu.waits, gpu.report(5)


def loop_of(kind, monkeypatch, count=32):
    """Field, sampler and step of a user's own loop."""
    task = task_of(kind)
    photos = task.signal.to("cuda")
    field = field_of(task, monkeypatch)
    sampler = create("uniform", photos.domain, count, seed=0).to("cuda")
    rate = torch.tensor(1e-2, device="cuda")
    optimizer = RowAdam(field.parameters(), lr=rate, batch_size=count, memory=None)

    def step():
        coords = sampler.draw().coords
        loss = (field(coords) - photos(coords)).square().mean()
        extra = field.regularization()
        loss = loss if extra is None else loss + extra
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return field, sampler, step


@pytest.mark.parametrize("kind", KINDS)
def test_replays_equal_eager_steps(kind, monkeypatch):
    found = []
    for record in (False, True):
        with FakeGpu():
            field, sampler, step = loop_of(kind, monkeypatch)
            call = CapturedStep(step, [field, sampler]) if record else step
            found.append(torch.stack([call().clone() for _ in range(6)]).cpu())
    assert len(found[0].unique()) == 6
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_takes_few_launches(kind, monkeypatch):
    with FakeGpu() as gpu:
        _, sampler, step = loop_of(kind, monkeypatch)
        for _ in range(3):
            step()
        gpu.reset()
        step()
        ours = {name.removeprefix("triton "): count for name, count in gpu.launches.items()}
        ours = {name: count for name, count in ours.items() if name in gpu_twins.KERNELS}
        assert ours == dict.fromkeys(ALL | KERNELS[kind], 1)
        whole = sum(gpu.launches.values())
        gpu.reset()
        sampler.draw()
        assert whole - sum(gpu.launches.values()) <= MOST_LAUNCHES[kind], gpu.report()


def test_a_second_gpu_renders():
    with FakeGpu(2):
        field = RadianceField(
            ((-1.0,) * 3, (1.0,) * 3), levels=2, log2_table_size=6, finest_resolution=20, steps=32
        ).to("cuda:1")
        origins, directions = torch.tensor([[0.0, 0.1, -3.0]] * 5), torch.tensor([[0.0, 0.0, 1.0]] * 5)
        rendered = field(origins.to("cuda:1"), directions.to("cuda:1"))
        rendered.color.sum().backward()
        assert rendered.color.device == torch.device("cuda:1")
