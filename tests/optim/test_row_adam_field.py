"""RowAdam as one optimizer of a whole field."""

import contextlib
import copy
import io
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from softmine import HashGrid, HashGridField, Siren, SoftmineError
from softmine.optim import CosineSchedule, RowAdam
from softmine.optim.row_adam import GROWTH, MEMORY, TABLE_RATE
from softmine.radiance.field import RadianceField


def grid_field(dim=2, channels=3, **grid):
    torch.manual_seed(0)
    return HashGridField(dim, channels, levels=6, base_resolution=4, finest_resolution=64, **grid)


def batch(seed, count=200, dim=2):
    return torch.rand(count, dim, generator=torch.Generator().manual_seed(seed))


def train(field, optimizer, seeds, schedule=None):
    for seed in seeds:
        coords = batch(seed)
        optimizer.zero_grad()
        (field(coords) - (9 * coords).sin().sum(-1, keepdim=True)).square().mean().backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


def parameters(field):
    return torch.cat([parameter.detach().flatten() for parameter in field.parameters()])


def row_wise(optimizer):
    return [group["row_wise"] for group in optimizer.param_groups]


def saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return file


def test_tables_have_groups_of_their_own():
    field = grid_field()
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=256)
    of_table, of_network = optimizer.param_groups
    assert of_table["params"] == [field.encoding.table]
    assert of_table["row_wise"]
    assert not of_network["row_wise"]
    assert of_table["lr"] == of_network["lr"] == 1e-2
    assert of_table["table_rate"] == TABLE_RATE
    mine = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(mine) == sorted(id(parameter) for parameter in field.parameters())


def test_a_step_is_row_wise_adam_and_fused_adam():
    field = grid_field()
    train(field, RowAdam(field.parameters(), lr=1e-2, batch_size=256, memory=None), range(5))
    apart = grid_field()
    network = torch.optim.Adam(apart.network.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-15, fused=True)
    table = RowAdam([apart.encoding.table], lr=2e-2, batch_size=256, table_rate=1.0, memory=None)
    for seed in range(5):
        network.zero_grad()
        train(apart, table, [seed])
        network.step()
    assert torch.equal(parameters(field), parameters(apart))


def test_groups_and_named_parameters_are_taken():
    field = grid_field()
    groups = [
        {"params": field.network.parameters(), "lr": 1e-3},
        {"params": field.encoding.parameters(), "lr": 1e-2, "table_rate": 1.0},
    ]
    optimizer = RowAdam(groups, batch_size=256)
    assert [(group["lr"], group["row_wise"]) for group in optimizer.param_groups] == [
        (1e-3, False),
        (1e-2, True),
    ]
    one, other = grid_field(), grid_field()
    train(one, RowAdam(one.parameters(), batch_size=256), range(3))
    named = RowAdam(other.named_parameters(), batch_size=256)
    assert named.param_groups[0]["param_names"] == ["encoding.table"]
    train(other, named, range(3))
    assert torch.equal(parameters(one), parameters(other))


def test_a_group_can_be_added():
    field = grid_field()
    optimizer = RowAdam(field.network.parameters(), lr=1e-3, batch_size=256)
    optimizer.add_param_group({"params": field.encoding.parameters(), "lr": 1e-2})
    assert row_wise(optimizer) == [False, True]
    before = parameters(field)
    train(field, optimizer, range(3))
    assert field.encoding.table.grad is None
    assert (parameters(field) != before).any()
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": field.network.parameters()})


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda field: pickle.loads(pickle.dumps(field)),
        lambda field: torch.load(saved(field), weights_only=False),
        lambda field: field.to("meta").to_empty(device="cpu"),
        lambda field: field.double().float(),
        lambda field: (field.load_state_dict(field.state_dict(), assign=True), field)[1],
    ],
    ids=["deepcopy", "pickle", "save", "move", "type", "assign"],
)
def test_tables_are_recognized_after(copied):
    field = copied(nn.Sequential(grid_field()))
    assert row_wise(RowAdam(field.parameters(), batch_size=256)) == [True, False]


def test_a_copied_field_is_trained_alone():
    field = grid_field()
    optimizer = RowAdam(field.parameters(), batch_size=256)
    other = copy.deepcopy(field)
    train(other, RowAdam(other.parameters(), batch_size=256), range(3))
    assert torch.equal(parameters(field), parameters(grid_field()))
    train(field, optimizer, range(3))
    assert torch.equal(parameters(field), parameters(other))


@pytest.mark.parametrize("order", [1, -1])
def test_a_copied_optimizer_trains_the_copied_field(order):
    field = grid_field()
    optimizer = RowAdam(field.parameters(), batch_size=256)
    train(field, optimizer, range(12))
    other, its = copy.deepcopy((field, optimizer)[::order])[::order]
    train(field, optimizer, range(12, 15))
    train(other, its, range(12, 15))
    assert torch.equal(parameters(field), parameters(other))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_resumes_exactly_while_momentum_grows(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    straight = grid_field()
    optimizer = RowAdam(straight.parameters(), batch_size=256)
    schedule = CosineSchedule(optimizer, steps=30)
    train(straight, optimizer, range(13), schedule)
    files = [saved(thing.state_dict()) for thing in (straight, optimizer, schedule)]
    train(straight, optimizer, range(13, 30), schedule)
    resumed = grid_field()
    later = RowAdam(resumed.parameters(), lr=1.0, batch_size=256)
    again = CosineSchedule(later, steps=30)
    train(resumed, later, range(4), again)
    for thing, file in zip((resumed, later, again), files, strict=True):
        thing.load_state_dict(torch.load(file, weights_only=True))
    train(resumed, later, range(13, 30), again)
    assert torch.equal(parameters(straight), parameters(resumed))
    assert optimizer.param_groups[1]["lr"] == later.param_groups[1]["lr"] == pytest.approx(0.05 * 1e-2)


def test_a_state_of_other_groups_is_refused():
    state = RowAdam(Siren(2, 3, hidden=8, layers=1).parameters()).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        RowAdam(grid_field().parameters()).load_state_dict(state)


def test_fields_without_tables_are_trained_by_adam_bit_for_bit():
    def siren():
        torch.manual_seed(0)
        return Siren(2, 3, hidden=16, layers=1)

    one, other = siren(), siren()
    optimizer = RowAdam(one.parameters(), lr=1e-3)
    torchs = torch.optim.Adam(other.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-15, fused=True)
    train(one, optimizer, range(25))
    train(other, torchs, range(25))
    assert torch.equal(parameters(one), parameters(other))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    for mine, its in zip(*(o.state_dict()["state"].values() for o in (optimizer, torchs)), strict=True):
        assert mine.keys() == its.keys()
        assert all(torch.equal(mine[key], its[key]) for key in its)
    # Its state is Adam's own.
    fresh = RowAdam(other.parameters())
    fresh.load_state_dict(torchs.state_dict())
    train(one, optimizer, range(25, 28))
    train(other, fresh, range(25, 28))
    assert torch.equal(parameters(one), parameters(other))


def test_a_closure_is_called():
    field = grid_field()
    optimizer = RowAdam(field.parameters(), batch_size=256)

    def closure():
        optimizer.zero_grad()
        loss = field(batch(0)).square().mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[-1] < losses[0]


def test_schedulers_of_torch_set_all_rates():
    field = grid_field()
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=256)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(field, optimizer, [0])
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [5e-3, 5e-3]


def test_ordinary_gradients_on_request():
    one, other = grid_field(), grid_field()
    train(one, RowAdam(one.parameters(), batch_size=256), range(5))
    optimizer = RowAdam(other.parameters(), batch_size=256, row_gradients=False)
    train(other, optimizer, range(5))
    assert other.encoding.table.grad is not None
    torch.testing.assert_close(parameters(one), parameters(other), rtol=1e-3, atol=1e-5)
    optimizer.zero_grad()
    assert other.encoding.table.grad is None


def scaled(field, optimizer, unscale, growth=3):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=growth)
    for seed in range(8):
        coords = batch(seed)
        optimizer.zero_grad()
        scaler.scale((field(coords) - (9 * coords).sin().sum(-1, keepdim=True)).square().mean()).backward()
        if unscale:
            scaler.unscale_(optimizer)
            assert torch.nn.utils.clip_grad_norm_(field.parameters(), 1e6) < 1e3
        scaler.step(optimizer)
        scaler.update()
    return scaler


@pytest.mark.parametrize("unscale", [False, True])
def test_a_grad_scaler_changes_nothing(unscale):
    one, other = grid_field(), grid_field()
    train(one, RowAdam(one.parameters(), batch_size=256, row_gradients=False), range(8))
    scaler = scaled(other, RowAdam(other.parameters(), batch_size=256, row_gradients=False), unscale)
    assert scaler.get_scale() > 2.0**10
    torch.testing.assert_close(parameters(one), parameters(other), rtol=1e-4, atol=1e-6)


def test_a_step_whose_gradient_overflows_is_skipped():
    field = grid_field()
    optimizer = RowAdam(field.parameters(), batch_size=256, row_gradients=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = parameters(field)
    scaler.scale(field(batch(0)).mean() * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(parameters(field), before)
    assert scaler.get_scale() == 2.0**9
    assert optimizer.param_groups[0]["steps"] == 0


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_grad_scaler_trains_tables_too(backend, unscale, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    one, other = grid_field(), grid_field()
    before = parameters(one)
    # The scaler's first step is skipped where the gradient is not the table's own.
    first = int(backend == "numba")
    train(one, RowAdam(one.parameters(), batch_size=256, row_gradients=False), range(first, 8))
    optimizer = RowAdam(other.parameters(), batch_size=256)
    with pytest.warns(UserWarning, match="row_gradients=False") if first else contextlib.nullcontext():
        scaled(other, optimizer, unscale)
    assert not torch.equal(parameters(other), before)
    torch.testing.assert_close(parameters(one), parameters(other), rtol=1e-4, atol=1e-6)
    assert optimizer.param_groups[0]["steps"] == 8 - first


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_overflows_leave_everything_as_it_was(backend, unscale, bad, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    field = grid_field()
    optimizer = RowAdam(field.parameters(), batch_size=256)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000)

    def step(seed, factor):
        optimizer.zero_grad()
        features = field.encoding(batch(seed))
        # Of all parameters only the table's gradient overflows.
        overflown = (features * factor).sum() if factor != 1 else 0.0
        scaler.scale(field.network(features).square().mean() + overflown).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

    def everything():
        states = [value for state in optimizer.state.values() for value in state.values()]
        return [parameters(field), *(value.clone() for value in states)], [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step(0, 1)
    for seed in range(1, 4):
        step(seed, 1)
    before = everything()
    for times in (1, 2):
        step(9, bad)
        assert scaler.get_scale() == 2.0 ** (10 - times)
    after = everything()
    assert all(torch.equal(one, other) for one, other in zip(before[0], after[0], strict=True))
    assert before[1] == after[1]
    step(4, 1)
    assert parameters(field).isfinite().all()
    assert not torch.equal(parameters(field), before[0][0])


def test_an_overflow_at_a_scalers_first_step_is_skipped_too():
    field = grid_field()
    optimizer = RowAdam(field.parameters(), batch_size=256)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = parameters(field)
    scaler.scale(field(batch(0)).mean() * float("inf")).backward()
    with pytest.warns(UserWarning, match="this step was skipped"):
        scaler.step(optimizer)
    scaler.update()
    assert torch.equal(parameters(field), before)
    # Nothing of it is left, with the scaler or without.
    train(field, optimizer, [0])
    assert parameters(field).isfinite().all()
    assert not torch.equal(parameters(field), before)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_an_optimizer_whose_table_another_took_over_says_so(first, second):
    field = grid_field()
    older = RowAdam(field.parameters(), batch_size=256, row_gradients=first)
    train(field, older, [0])
    newer = RowAdam(field.parameters(), batch_size=256, row_gradients=second)
    train(field, newer, [1])
    if first or second:
        with pytest.raises(SoftmineError, match=r"made later for the same field"):
            train(field, older, [2])
    before = parameters(field)
    train(field, newer, [3])
    assert not torch.equal(parameters(field), before)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_coarse_levels_have_momentum_and_more_of_them_with_larger_batches(dim):
    def momentum_rows(batch_size):
        return RowAdam(grid_field(dim).parameters(), batch_size=batch_size).param_groups[0]["momentum_rows"]

    counts = [momentum_rows(4**exponent) for exponent in range(12)]
    assert counts[0] == 0 < counts[-1]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert momentum_rows(2**30) == len(grid_field(dim).encoding.table)
    assert momentum_rows(None) is None


def test_every_grid_has_its_own_rows():
    both = nn.ModuleList([grid_field(3), grid_field(3, log2_table_size=6)])
    groups = RowAdam(both.parameters(), batch_size=2**20).param_groups
    tables = [field.encoding.table for field in both if isinstance(field, HashGridField)]
    assert [group["momentum_rows"] for group in groups] == [*(len(table) for table in tables), None]


@pytest.mark.parametrize(("rays", "levels"), [(1024, 0), (2048, 1), (2**20, 3)])
def test_a_radiance_field_counts_rays(rays, levels):
    field = RadianceField(((-1.0,) * 3, (1.0,) * 3), levels=3, finest_resolution=64, seed=0)
    rows = [*field.encoding.offsets.tolist(), len(field.encoding.table)]
    assert RowAdam(field.parameters(), batch_size=rays).param_groups[0]["momentum_rows"] == rows[levels]


def test_momentum_grows_with_the_run_until_each_groups_memory():
    field = HashGridField(1, 1, levels=2, base_resolution=2, finest_resolution=4, hidden=4, layers=1)
    optimizer = RowAdam(field.parameters(), batch_size=256)
    seen = []
    for _ in range(MEMORY * GROWTH + 10):
        optimizer.step()
        seen.append([group["betas"] for group in optimizer.param_groups])
    memories = [min(max(step // GROWTH, 1), MEMORY) for step in range(len(seen))]
    assert seen == [[(1 - 1 / memory, 0.99)] * 2 for memory in memories]


def test_a_bare_grid_is_a_field_too():
    grid = HashGrid(2, levels=2, finest_resolution=16)
    assert row_wise(RowAdam(grid.parameters(), batch_size=256)) == [True]


def test_numba_is_not_imported_with_it():
    code = "import sys, softmine.optim; print('numba' in sys.modules, 'triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
