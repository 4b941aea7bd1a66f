"""Steps recorded as CUDA graphs on a fake GPU: replays equal eager steps, and use no memory that is gone."""

import gc

import pytest
import torch

from gpu.fake_gpu import FakeGpu
from gpu.training import loop_of
from softmine.optim import CapturedStep, set_learning_rate

RECORDABLE = ("uniform", "shuffled", "langevin", "auto", "error-map", "edges", "resampling")


def losses_of(name, steps, record):
    field, sampler, optimizer, step = loop_of(name, memory=None)
    call = CapturedStep(step, [field, sampler]) if record else step
    found = []
    for index in range(steps):
        if getattr(sampler, "period", None) and index % sampler.period == 0:
            sampler.refresh()
        set_learning_rate(optimizer, 1e-2 * (1 - index / steps))
        found.append(call().clone())
    return torch.stack(found).cpu()


@pytest.mark.parametrize("name", RECORDABLE)
def test_replays_equal_eager_steps(name):
    with FakeGpu():
        eager, recorded = (losses_of(name, 10, record) for record in (False, True))
    assert len(recorded.unique()) == 10
    torch.testing.assert_close(recorded, eager, rtol=1e-4, atol=1e-6)


def another_batch_size(field, optimizer):
    field(torch.rand(200, 2, device="cuda")).sum().backward()
    optimizer.step()


def another_fit(field, optimizer):
    """Momentum that grows goes through a hundred values of a beta."""
    _, _, other, step = loop_of("uniform")
    for group in other.param_groups:
        group["steps"] = 1
    for index in range(100):
        for group in other.param_groups:
            group["steps"] = 5 * index
        step()


@pytest.mark.parametrize("between", [another_batch_size, another_fit])
def test_a_recorded_step_keeps_its_memory(between):
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        captured = CapturedStep(step, [field, sampler])
        for _ in range(5):
            captured()
        between(field, optimizer)
        gc.collect()
        captured()


def test_eager_steps_use_no_memory_of_a_recording():
    """Rows that an eager backward listed are not overwritten by the replays before its step."""
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        captured = CapturedStep(step, [field, sampler])
        for _ in range(5):
            captured()
        (rows,) = optimizer._rows.values()
        recorded = {id(memory) for node in captured._graph.nodes for memory in node.own}
        # So few that their rows are listed.
        field(torch.rand(8, 2, device="cuda")).sum().backward()
        assert rows._lists
        assert all(id(touched.memory) not in recorded for touched in rows._lists)
