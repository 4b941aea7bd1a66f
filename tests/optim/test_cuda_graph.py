"""What of a recorded step can be tested without a GPU, and the step itself on one."""

import subprocess
import sys

import pytest
import torch

from softmine import Box, HashGridField, SoftmineError, Uniform
from softmine.optim import CapturedStep, RowAdam, set_learning_rate, unchanged_places
from softmine.registry import create


def training(device, sampler="uniform", rate=1e-2):
    torch.manual_seed(0)
    field = HashGridField(2, 1, log2_table_size=10, finest_resolution=64).to(device)
    chosen = create(sampler, Box((64, 64)), 256, seed=0).to(device)
    optimizer = RowAdam(field.parameters(), lr=torch.tensor(rate, device=device), batch_size=256, memory=None)

    def step():
        batch = chosen.draw()
        coords = batch.coords
        residual = field(coords) - (9 * coords).sin().sum(-1, keepdim=True)
        loss = residual.square().mean(-1)
        error = residual.detach().abs().mean(-1)
        objective = (chosen.weigh(batch, error) * loss).mean()
        optimizer.zero_grad()
        objective.backward()
        chosen.update(batch, error, loss=loss.detach())
        optimizer.step()
        return objective.detach()

    return field, chosen, optimizer, step


@pytest.mark.parametrize("sampler", ["uniform", "langevin"])
def test_a_step_changes_everything_in_place(sampler):
    field, chosen, _, step = training("cpu", sampler)
    before = field.encoding.table.detach().clone()
    for _ in range(3):
        with unchanged_places([field, chosen]):
            step()
    assert not torch.equal(field.encoding.table, before)


def test_a_replaced_buffer_is_named():
    sampler = Uniform(Box((4, 4)), 8, seed=0)
    with pytest.raises(SoftmineError, match=r"replaces Uniform\.strata"), unchanged_places([sampler]):
        sampler.strata = torch.ones(2)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_rate_in_a_tensor_is_followed(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    tables = []
    for in_tensors in (False, True):
        field, _, optimizer, step = training("cpu")
        if not in_tensors:
            set_learning_rate_as_number(optimizer, 1e-2)
        for rate in (1e-2, 5e-3, 0.0):
            set_learning_rate(optimizer, rate)
            assert {isinstance(group["lr"], torch.Tensor) for group in optimizer.param_groups} == {in_tensors}
            before = field.encoding.table.detach().clone()
            step()
            assert torch.equal(field.encoding.table, before) == (rate == 0)
        tables.append(field.encoding.table.detach().clone())
    torch.testing.assert_close(*tables)


def set_learning_rate_as_number(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_it_is_refused():
    with pytest.raises(SoftmineError, match="needs an NVIDIA GPU"):
        CapturedStep(lambda: torch.zeros(()), [])


TRACED = """
import torch
import softmine

torch.manual_seed(0)
field = softmine.HashGridField(2, 1, levels=4, log2_table_size=8, finest_resolution=32)
sampler = softmine.Uniform(softmine.Box((32, 32)), 100, seed=0)

def objective():
    coords = sampler.draw().coords
    return (field(coords) - (9 * coords).sin().sum(-1, keepdim=True)).square().mean()

def gradients(function):
    sampler.random.counter.zero_()
    field.zero_grad()
    loss = function()
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in field.parameters())]

traced = torch.compile(objective, fullgraph=True, backend="aot_eager")
for one, other in zip(gradients(objective), gradients(traced), strict=True):
    torch.testing.assert_close(one, other)
print("traced")
"""


def test_forward_and_backward_trace_as_one_graph():
    # In a process of its own: the shape checks that the tests switch on are not traceable.
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", TRACED], capture_output=True, text=True)
    assert done.stdout.strip() == "traced", done.stderr[-2000:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("sampler", ["uniform", "langevin"])
def test_replays_equal_eager_steps(sampler):
    losses, tables = [], []
    for recorded in (False, True):
        field, chosen, optimizer, step = training("cuda", sampler)
        run = CapturedStep(step, [field, chosen, optimizer]) if recorded else step
        found = []
        for rate in torch.linspace(1e-2, 0, 8).tolist():  # three eager, then five replays
            set_learning_rate(optimizer, rate)
            found.append(run().clone())
        losses.append(torch.stack(found))
        tables.append(field.encoding.table.detach().clone())
    # Sums of several points in one row are atomic, in any order.
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(*tables, rtol=1e-2, atol=1e-4)
