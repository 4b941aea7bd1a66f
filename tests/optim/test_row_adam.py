import copy
import gc
import io
import math

import pytest
import torch

from kernel_grids import grid_of
from softmine import SoftmineError
from softmine.kernels.grid import levels_of
from softmine.optim import RowAdam

from helpers import unchecked_types

ADAM = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-15}
SETTINGS = {**ADAM, "table_rate": 1.0, "memory": None}
"""As torch's Adam: no rate of its own for tables, no momentum that grows."""


@pytest.fixture(params=["numba", "torch"])
def _backend(request, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", request.param)


both_backends = pytest.mark.usefixtures("_backend")


@pytest.fixture
def everywhere():
    """Points that touch every row of a small dense grid."""
    line = torch.linspace(0, 1, 40)
    return torch.cartesian_prod(line, line)


def small():
    return grid_of(2, 2, levels=3, finest_resolution=8)


def loss_of(grid, coords):
    return (grid(coords) - torch.sin(7 * coords).repeat(1, grid.levels)).square().mean()


def train(grid, optimizer, batches):
    for coords in batches:
        optimizer.zero_grad()
        loss_of(grid, coords).backward()
        optimizer.step()


@both_backends
@pytest.mark.parametrize(
    "betas",
    [
        pytest.param(lambda step: (0.9, 0.99), id="constant"),
        pytest.param(lambda step: (1 - 1 / max(1, step // 6), 0.99), id="memory that grows"),
    ],
)
def test_equals_adam_where_every_row_is_touched(everywhere, betas):
    one, two = small(), small()
    mine, torchs = RowAdam([one.table], **SETTINGS), torch.optim.Adam([two.table], **ADAM)
    for step in range(60):
        for group in (*mine.param_groups, *torchs.param_groups):
            group["lr"] = 1e-2 / (1 + step / 20)
            group["betas"] = betas(step)
        noise = everywhere + 0.01 * torch.rand(
            everywhere.shape, generator=torch.Generator().manual_seed(step)
        )
        train(one, mine, [noise])
        train(two, torchs, [noise])
        torch.testing.assert_close(one.table, two.table, rtol=1e-4, atol=1e-5)
    state = mine.state_dict()["state"][0]
    assert state["step"] == 60
    assert (state["last_step"] == 60).all()
    assert (one.table - small().table).abs().min() > 1e-4


@both_backends
def test_only_the_rows_named_have_momentum(everywhere):
    one, two = small(), small()
    rows = levels_of(two.table).coarse_rows(len(everywhere), visits=100.0)
    assert 0 < rows < len(two.table)
    coarse, fine = (torch.nn.Parameter(part.clone()) for part in (two.table[:rows], two.table[rows:]))
    mine = RowAdam([{"params": [one.table], "momentum_rows": rows}], **SETTINGS)
    torchs = [
        torch.optim.Adam([coarse], **ADAM),
        torch.optim.Adam([fine], **{**ADAM, "betas": (0.0, 0.99)}),
    ]
    for _ in range(20):
        train(one, mine, [everywhere])
        two.table.grad = None
        loss_of(two, everywhere).backward()
        coarse.grad, fine.grad = two.table.grad[:rows], two.table.grad[rows:]
        for optimizer in torchs:
            optimizer.step()
        with torch.no_grad():
            two.table.copy_(torch.cat([coarse, fine]))
        torch.testing.assert_close(one.table, two.table, rtol=1e-4, atol=1e-5)
    moments = mine.state_dict()["state"][0]["exp_avg"]
    assert (moments[:rows] != 0).any(1).all()
    assert not moments[rows:].any()


@both_backends
@pytest.mark.parametrize("levels", [0, 2])
def test_rows_without_momentum_are_as_without_a_first_beta_however_rarely_touched(levels):
    batches = [torch.rand(5, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(40)]
    grids = {name: small() for name in ("some", "all", "none")}
    # Levels do not know of each other here, so that those with and those without can be compared apart.
    rows = int(grids["some"].offsets[levels])
    settings = {"some": {"momentum_rows": rows}, "all": {}, "none": {"betas": (0.0, 0.99)}}
    for name, grid in grids.items():
        train(grid, RowAdam([{"params": [grid.table], **settings[name]}], **SETTINGS), batches)
    assert not torch.equal(grids["all"].table, grids["none"].table)
    assert torch.equal(grids["some"].table[rows:], grids["none"].table[rows:])
    assert torch.equal(grids["some"].table[:rows], grids["all"].table[:rows])


def test_a_state_from_before_momentum_was_optional_still_resumes(everywhere):
    grid = small()
    optimizer = RowAdam([grid.table], **SETTINGS)
    train(grid, optimizer, [everywhere])
    state = optimizer.state_dict()
    assert state["param_groups"][0].pop("momentum_rows", "gone") is None
    optimizer.load_state_dict(state)
    train(grid, optimizer, [everywhere])
    assert grid.table.isfinite().all()


@both_backends
def test_untouched_rows_are_left_alone(everywhere):
    grid = small()
    optimizer = RowAdam([grid.table], **SETTINGS)
    train(grid, optimizer, [everywhere])
    before, state = grid.table.detach().clone(), copy.deepcopy(optimizer.state_dict()["state"][0])
    point = torch.tensor([[0.4, 0.4]])
    train(grid, optimizer, [point] * 3)
    moved = (grid.table != before).any(1)
    assert moved.sum() == 4 * grid.levels
    after = optimizer.state_dict()["state"][0]
    assert torch.equal(after["last_step"], state["last_step"] + 3 * moved)
    assert torch.equal(after["exp_avg"][~moved], state["exp_avg"][~moved])


@both_backends
def test_learns_as_fast_as_adam_where_rows_are_touched_rarely(everywhere):
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(32, 2, generator=generator) for _ in range(300)]
    one, two = (grid_of(2, 2, log2_table_size=12, finest_resolution=60) for _ in range(2))
    before = loss_of(one, everywhere)
    train(one, RowAdam([one.table], **SETTINGS), batches)
    train(two, torch.optim.Adam([two.table], **ADAM), batches)
    wanted = loss_of(two, everywhere)
    assert wanted < 0.5 * before
    torch.testing.assert_close(loss_of(one, everywhere), wanted, rtol=0.1, atol=0)


def test_no_dense_gradient_on_the_fast_path(everywhere):
    grid = small()
    optimizer = RowAdam([grid.table], **SETTINGS)
    loss_of(grid, everywhere).backward()
    assert grid.table.grad is None
    del optimizer
    gc.collect()
    loss_of(grid, everywhere).backward()
    assert grid.table.grad is not None, "without its optimizer the table is an ordinary parameter"


@both_backends
@pytest.mark.parametrize("kind", ["plain", "parameter"])
def test_a_backward_for_coordinates_touches_no_row(everywhere, kind):
    grid = small()
    optimizer = RowAdam([grid.table], **SETTINGS)
    before = grid.table.detach().clone()
    coords = everywhere.clone().requires_grad_() if kind == "plain" else torch.nn.Parameter(everywhere)
    (slopes,) = torch.autograd.grad(loss_of(grid, coords), coords)
    loss_of(grid, coords).backward(inputs=[coords])
    assert torch.equal(coords.grad, slopes)
    assert slopes.any()
    optimizer.step()
    assert torch.equal(grid.table, before)
    # The same graph may be asked for everything afterwards.
    loss = loss_of(grid, coords)
    torch.autograd.grad(loss, coords, retain_graph=True)
    loss.backward()
    optimizer.step()
    other = small()
    train(other, RowAdam([other.table], **SETTINGS), [everywhere])
    assert torch.equal(grid.table, other.table)


@both_backends
def test_the_gradient_of_a_table_can_be_asked_for(everywhere):
    grid, other = small(), small()
    optimizer = RowAdam([grid.table], **SETTINGS)
    coords = everywhere.clone().requires_grad_()
    found = torch.autograd.grad(loss_of(grid, coords), (coords, grid.table))
    wanted = torch.autograd.grad(loss_of(other, coords), (coords, other.table))
    torch.testing.assert_close(found, wanted)
    optimizer.step()
    assert torch.equal(grid.table, other.table), "what was returned is not trained on"
    loss_of(grid, coords).backward(inputs=[grid.table])
    optimizer.step()
    assert not torch.equal(grid.table, other.table)
    assert coords.grad is None


def test_a_backward_after_another_took_the_table_says_so(everywhere):
    grid = small()
    older = RowAdam([grid.table], **SETTINGS)
    loss = loss_of(grid, everywhere)
    newer = RowAdam([grid.table], **SETTINGS)
    with pytest.raises(SoftmineError, match="a later one took the table"):
        loss.backward()
    loss_of(grid, everywhere).backward()
    newer.step()
    del older


@pytest.mark.parametrize("bad", [{"eps": -1.0}, {"params": ["no tensor"]}, {"params": "twice"}])
def test_an_optimizer_that_fails_takes_no_table(everywhere, bad):
    grid = small()
    good = RowAdam([torch.zeros(3, 2)])
    if bad.get("params") == "twice":
        bad = {"params": [torch.nn.Parameter(torch.zeros(2)), grid.table]}
    groups = [{"params": [grid.table]}, {"params": [torch.zeros(1)], **bad}]
    with pytest.raises((SoftmineError, TypeError, ValueError)) as kept:
        RowAdam(groups)
    with pytest.raises((SoftmineError, TypeError, ValueError)) as added:
        good.add_param_group({"params": [grid.table, "no tensor"]})
    assert len(good.param_groups) == 1
    loss_of(grid, everywhere).backward()
    assert grid.table.grad is not None, "the table is still autograd's"
    del kept, added


@both_backends
def test_backwards_add_up_and_zero_grad_discards(everywhere):
    one, two = small(), small()
    first, second = RowAdam([one.table], **SETTINGS), RowAdam([two.table], **SETTINGS)
    left, right = everywhere[:500], everywhere[300:]
    for _ in range(3):
        loss_of(one, everywhere).backward()
        first.zero_grad()
        loss_of(one, left).backward()
        loss_of(one, right).backward()
        first.step()
        first.zero_grad()
        second.zero_grad()
        (loss_of(two, left) + loss_of(two, right)).backward()
        second.step()
    torch.testing.assert_close(one.table, two.table, rtol=1e-4, atol=1e-5)


def test_an_ordinary_gradient_is_used_too():
    one, two = small(), small()
    coords = torch.rand(20, 2)
    mine, torchs = RowAdam([one.table], **SETTINGS), torch.optim.Adam([two.table], **ADAM)
    for grid, optimizer in ((one, mine), (two, torchs)):
        (loss_of(grid, coords) + grid.table.square().sum()).backward()
        optimizer.step()
    torch.testing.assert_close(one.table, two.table, rtol=1e-5, atol=1e-6)


@both_backends
def test_resumes_exactly(everywhere):
    batches = [torch.rand(50, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    whole = small()
    train(whole, RowAdam([whole.table], **SETTINGS), batches)

    first = small()
    optimizer = RowAdam([first.table], **SETTINGS)
    train(first, optimizer, batches[:4])
    file = io.BytesIO()
    torch.save({"grid": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = small()
    later = RowAdam([second.table], lr=1.0)
    train(second, later, batches[6:])
    second.load_state_dict(saved["grid"])
    later.load_state_dict(saved["optimizer"])
    train(second, later, batches[4:])
    assert later.param_groups[0]["lr"] == SETTINGS["lr"]
    assert torch.equal(second.table, whole.table)
    assert all(isinstance(value, torch.Tensor) for value in saved["optimizer"]["state"][0].values())


def test_a_state_of_another_shape_is_refused():
    other = grid_of(2, 2, levels=2)
    state = RowAdam([other.table]).state_dict()
    with pytest.raises(SoftmineError, match="has shape"):
        RowAdam([small().table]).load_state_dict(state)


@both_backends
def test_nothing_touched_changes_nothing():
    grid = small()
    optimizer = RowAdam([grid.table])
    before = grid.table.detach().clone()
    optimizer.step()
    grid(torch.empty(0, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(grid.table, before)


@both_backends
def test_a_gradient_that_is_not_finite_shows(everywhere):
    grid = small()
    optimizer = RowAdam([grid.table])
    (grid(torch.tensor([[0.4, 0.4]])) * math.inf).sum().backward()
    optimizer.step()
    bad = ~grid.table.isfinite().all(1)
    assert 0 < bad.sum() <= 4 * grid.levels


@both_backends
def test_copies_are_independent(everywhere):
    grid = small()
    optimizer = RowAdam([grid.table], **SETTINGS)
    train(grid, optimizer, [everywhere])
    before = grid.table.detach().clone()
    alone = copy.deepcopy(grid)
    loss_of(alone, everywhere).backward()
    assert alone.table.grad is not None, "the copy belongs to no optimizer"
    restored = torch.load(_saved(grid), weights_only=False)
    assert torch.equal(restored.table, grid.table)
    twin, its = copy.deepcopy((grid, optimizer))
    train(twin, its, [everywhere])
    assert torch.equal(grid.table, before)
    train(grid, optimizer, [everywhere])
    assert torch.equal(grid.table, twin.table)


def _saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return file


def test_runs_repeat_bit_for_bit():
    batches = [torch.rand(3000, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    tables = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            grid = grid_of(2, 2, levels=16, log2_table_size=12, finest_resolution=500)
            train(grid, RowAdam([grid.table], **SETTINGS), batches)
            tables.append(grid.table.detach().clone())
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(tables[1], tables[0], rtol=1e-3, atol=1e-4)
    assert torch.equal(tables[1], tables[2])


def test_stamps_may_run_out(monkeypatch):
    from softmine.kernels.cpu import backend

    batches = [torch.rand(30, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]
    one = small()
    train(one, RowAdam([one.table]), batches)
    monkeypatch.setattr(backend, "LAST_STAMP", 3)
    two = small()
    train(two, RowAdam([two.table]), batches)
    assert torch.equal(one.table, two.table)


@both_backends
def test_steps_are_counted_beyond_what_float32_can_count():
    batches = [torch.rand(20, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    tables = []
    # All are so many that no bias is left to correct; the second run passes 2^24.
    for done in (100_000, 2**24 - 3, 2**25 + 7):
        grid = small()
        optimizer = RowAdam([grid.table], **SETTINGS)
        train(grid, optimizer, batches[:3])
        state = optimizer.state_dict()
        last = state["state"][0]["last_step"]
        state["state"][0] |= {"step": torch.tensor(done), "last_step": (done - 3 + last.long()) % 2**24}
        optimizer.load_state_dict(state)
        train(grid, optimizer, batches[3:])
        assert optimizer.state_dict()["state"][0]["step"] == done + 5
        tables.append(grid.table.detach().clone())
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_long_runs_have_no_bias_left_to_correct():
    grid = small()
    optimizer = RowAdam([grid.table], lr=1e-2, betas=(0.5, 0.5), memory=None)
    train(grid, optimizer, [torch.rand(30, 2) for _ in range(80)])
    assert grid.table.isfinite().all()


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (torch.zeros(3), {}, "is a matrix"),
        (torch.zeros(3, 2, dtype=torch.long), {}, "is a matrix"),
        (torch.zeros(3, 2), {"betas": (0.9, 1.0)}, "betas is"),
        (torch.zeros(3, 2), {"betas": 0.9}, "betas is"),
        (torch.zeros(3, 2), {"betas": ("a", 0.9)}, "betas is"),
        (torch.zeros(3, 2), {"lr": "fast"}, "lr is fast"),
        (torch.zeros(3, 2), {"eps": 0.0}, "eps is"),
        (torch.zeros(3, 2), {"lr": -1.0}, "lr is"),
        (torch.zeros(3, 2), {"lr": torch.tensor(-1.0)}, "lr is"),
        (torch.zeros(3, 2), {"lr": float("nan")}, "lr is"),
        (torch.zeros(3, 2), {"lr": torch.ones(2)}, "lr is a tensor of shape"),
        (torch.zeros(3, 2), {"table_rate": -1.0}, "table_rate"),
        (torch.zeros(3, 2), {"memory": 0}, "memory is 0"),
        (torch.zeros(3, 2), {"batch_size": 0}, "batch_size is 0"),
        (torch.zeros(3, 2), {"momentum_rows": -1}, "momentum_rows"),
        (torch.zeros(3, 2), {"momentum_rows": True}, "momentum_rows"),
    ],
)
def test_impossible_settings_are_refused(table, settings, message):
    group = {"params": [table], "row_wise": True, **settings}
    with unchecked_types(), pytest.raises(SoftmineError, match=message):
        RowAdam([group])
    optimizer = RowAdam([torch.zeros(3, 2)])
    with pytest.raises(SoftmineError, match=message):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    if settings.keys() - {"momentum_rows"}:
        with unchecked_types(), pytest.raises(SoftmineError, match=message):
            RowAdam([table], **settings)


@both_backends
def test_a_group_has_settings_of_its_own(everywhere):
    alone, grouped = small(), small()
    grouped.load_state_dict(alone.state_dict())
    settings = {"lr": torch.tensor(1e-2), "betas": [0.8, 0.9], "eps": 1e-8, "memory": None}
    train(alone, RowAdam([alone.table], lr=1e-2, betas=(0.8, 0.9), eps=1e-8, memory=None), [everywhere] * 3)
    train(grouped, RowAdam([{"params": [grouped.table], **settings}]), [everywhere] * 3)
    assert torch.equal(alone.table, grouped.table)
