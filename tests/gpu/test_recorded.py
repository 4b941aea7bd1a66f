"""Steps recorded as CUDA graphs on a fake GPU: replays equal eager steps, and use no memory that is gone."""

import gc

import pytest
import torch

from gpu.fake_gpu import FakeGpu
from gpu.training import loop_of
from softmine import SoftmineError, errors
from softmine.errors import SoftmineWarning
from softmine.optim import CapturedStep, CosineSchedule, RowAdam, set_learning_rate

from helpers import unchecked_types

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


def own_loop(name, steps, record, *, draws=1, change=None):
    """A loop as the documentation has it: parameters and losses, and what recorded."""
    field, sampler, _, step = loop_of(name)
    # A recorded loop moves the number to the device by itself.
    rate = 1e-2 if record else torch.tensor(1e-2, device="cuda")
    optimizer = RowAdam(field.parameters(), lr=rate, batch_size=64)
    for group in optimizer.param_groups:
        # Which stops to grow after ten steps.
        group["memory"], group["initial_lr"] = 2, 1e-2
    image = step.__closure__ and next(
        cell.cell_contents for cell in step.__closure__ if type(cell.cell_contents).__name__ == "Image"
    )

    def own_step():
        optimizer.zero_grad()
        total = torch.zeros((), device="cuda")
        for _ in range(draws):
            batch = sampler.draw()
            residual = field(batch.coords) - image(batch.coords)
            error = residual.detach().abs().mean(-1)
            loss = (sampler.weigh(batch, error) * residual.square().mean(-1)).mean() / draws
            loss.backward()
            sampler.update(batch, error, loss_scale=1 / draws)
            total = total + loss.detach()
        optimizer.step()
        return total

    captured = CapturedStep(own_step, [field, sampler, optimizer]) if record else None
    schedule, losses = CosineSchedule(optimizer, steps=steps), []
    for index in range(steps):
        losses.append((captured or own_step)().clone())
        schedule.step()
        if change is not None and index == 23:
            change(field, optimizer)
    return torch.stack(losses).cpu(), [each.detach().cpu() for each in field.parameters()], captured


def compare_loops(name, steps=30, **options):
    with FakeGpu():
        losses, parameters, _ = own_loop(name, steps, False, **options)
        recorded, others, captured = own_loop(name, steps, True, **options)
    assert captured._graph.replays > 2
    assert captured.replayed
    assert torch.equal(recorded, losses)
    assert all(torch.equal(other, one) for one, other in zip(parameters, others, strict=True))


@pytest.mark.parametrize("name", ["auto", "langevin", "shuffled"])
def test_a_loop_of_two_lines_learns_the_same(name):
    compare_loops(name)


def test_a_step_that_draws_twice_learns_the_same():
    compare_loops("auto", draws=2)


def frozen_layer(field, optimizer):
    next(field.network.parameters()).requires_grad_(False)


def other_betas(field, optimizer):
    for group in optimizer.param_groups:
        group["memory"] = 1


@pytest.mark.parametrize("change", [frozen_layer, other_betas])
def test_what_changes_is_recorded_anew(change):
    compare_loops("uniform", 36, change=change)


def test_a_rate_set_as_a_number_is_followed():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(6):
            captured()
        assert captured.replayed
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        before = [parameter.detach().cpu() for parameter in field.parameters()]
        captured()
        assert captured.replayed
        assert all(torch.equal(a, b.detach().cpu()) for a, b in zip(before, field.parameters(), strict=True))


def test_a_rate_set_for_one_group_stays_its_own():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(6):
            captured()
        optimizer.param_groups[0]["lr"] = 0.0
        table, layer = field.encoding.table, field.network[0].weight
        before = [each.detach().cpu() for each in (table, layer)]
        for _ in range(12):
            captured()
        assert captured.replayed
        assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.0, 1e-2])
        assert torch.equal(before[0], table.detach().cpu())
        assert not torch.equal(before[1], layer.detach().cpu())


def test_a_rate_in_a_tensor_of_the_host_is_followed():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        rate = torch.tensor(1e-2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(6):
            captured()
        rate.fill_(0.0)
        before = [parameter.detach().cpu() for parameter in field.parameters()]
        captured()
        assert captured.replayed
        assert all(torch.equal(a, b.detach().cpu()) for a, b in zip(before, field.parameters(), strict=True))


def test_a_group_that_was_added_is_trained_and_replayed():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(6):
            captured()
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2, device="cuda"))], "lr": 5e-3})
        replays = 0
        for index in range(30):
            set_learning_rate(optimizer, 1e-3 * (1 + index))
            captured()
            replays += captured.replayed
        assert replays > 15
        assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([3e-2] * 3)


def test_two_steps_of_the_same_parts_count_what_each_does():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("auto", memory=None)
        twice = CapturedStep(lambda: (step(), step())[1], [field, sampler, optimizer])
        once = CapturedStep(step, [field, sampler, optimizer])
        for captured, times in ((once, 6), (twice, 6), (once, 3)):
            for _ in range(times):
                captured()
        assert sampler.updates == 21 == int(sampler.step)
        assert {group["steps"] for group in optimizer.param_groups} == {21}


def test_modes_and_hooks_of_every_module_are_seen():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        captured, called = CapturedStep(step, [field, sampler, optimizer]), []
        for change in (
            lambda: field.network[1].eval(),
            lambda: field.network[1].register_forward_hook(lambda *given: called.append(1)),
        ):
            for _ in range(12):
                captured()
            assert captured.replayed
            change()
            captured()
            assert not captured.replayed
        assert called


def test_what_a_map_draws_by_is_seen():
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("auto", memory=None)
        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(20):
            captured()
        sampler.uniform_share = 1.0
        for _ in range(3 * sampler.period):
            captured()
        density = sampler.diffusion.density.cpu()
    torch.testing.assert_close(density, torch.ones_like(density), rtol=0, atol=1e-3)


def test_an_optimizer_of_rates_on_the_host_is_refused():
    with FakeGpu():
        field, sampler, _, step = loop_of("uniform")
        with pytest.raises(SoftmineError, match="would freeze the rate and the steps of this SGD"):
            CapturedStep(step, [field, sampler, torch.optim.SGD(field.parameters(), lr=0.1)])


def test_what_the_host_counts_goes_on():
    with FakeGpu() as gpu:
        field, sampler, optimizer, step = loop_of("auto", memory=None)
        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(11):
            captured()
        assert sampler.updates == 11
        assert {group["steps"] for group in optimizer.param_groups} == {11}
        gpu.reset()
        # Outside of the graph nobody has to ask the device.
        step()
        assert not gpu.waits
        assert int(sampler.step) == sampler.updates == 12


def test_a_step_that_waits_runs_as_it_is():
    errors.warn_once.cache_clear()
    with FakeGpu():
        field, sampler, optimizer, step = loop_of("uniform", memory=None)
        seen = []

        def printing():
            loss = step()
            seen.append(loss.item())
            return loss

        captured = CapturedStep(printing, [field, sampler, optimizer])
        for _ in range(2):
            captured()
        with pytest.warns(SoftmineWarning, match="the host waits for the GPU"):
            captured()
        for _ in range(4):
            captured()
        assert len(set(seen)) == 7
        assert captured.refusal
        assert not captured.replayed


def test_an_optimizer_that_counts_on_the_host_is_refused():
    with FakeGpu():
        field, sampler, _, step = loop_of("uniform")
        optimizer = torch.optim.Adam(field.parameters())
        with pytest.raises(SoftmineError, match="capturable=True"):
            CapturedStep(step, [field, sampler, optimizer])


def test_a_part_must_be_one():
    with (
        FakeGpu(),
        unchecked_types(),
        pytest.raises(SoftmineError, match="a part of the step is a Tensor"),
    ):
        CapturedStep(lambda: torch.zeros(()), [torch.zeros(2)])
