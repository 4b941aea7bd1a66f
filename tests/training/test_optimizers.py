import pytest
import torch
from torch import nn

from softmine import HashGridField, Image, Siren, Uniform, Volume
from softmine.kernels import RowAdam
from softmine.radiance.field import RadianceField
from softmine.training.budget import Budget
from softmine.training.optimizers import (
    GROWTH,
    MEMORY,
    TABLE_RATE,
    make_optimizers,
    set_rates,
)
from softmine.training.trainer import Trainer


def grid_field(dim=2, channels=3, **grid):
    return HashGridField(dim, channels, levels=6, base_resolution=4, finest_resolution=64, **grid)


def groups_of(optimizers):
    return [group for optimizer in optimizers for group in optimizer.param_groups]


def test_tables_have_row_wise_adam_and_rates_of_their_own():
    field = grid_field()
    of_table, of_network = make_optimizers(field, 1e-2, 256)
    assert isinstance(of_table, RowAdam)
    assert [group["params"] for group in of_table.param_groups] == [[field.encoding.table]]
    assert of_table.param_groups[0]["initial_lr"] == of_table.param_groups[0]["lr"] == TABLE_RATE * 1e-2
    assert of_network.param_groups[0]["initial_lr"] == of_network.param_groups[0]["lr"] == 1e-2
    mine = {id(p) for group in groups_of((of_table, of_network)) for p in group["params"]}
    assert mine == {id(parameter) for parameter in field.parameters()}


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_coarse_levels_have_momentum_and_more_of_them_with_larger_batches(dim):
    def momentum_rows(batch_size):
        return make_optimizers(grid_field(dim), 1e-2, batch_size)[0].param_groups[0]["momentum_rows"]

    counts = [momentum_rows(4**exponent) for exponent in range(12)]
    assert counts[0] == 0 < counts[-1]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert momentum_rows(2**30) == len(grid_field(dim).encoding.table)


def test_every_grid_has_its_own_rows():
    both = nn.ModuleList([grid_field(3), grid_field(3, log2_table_size=6)])
    of_tables = make_optimizers(both, 1e-2, 2**20)[0]
    tables = [field.encoding.table for field in both if isinstance(field, HashGridField)]
    assert [group["momentum_rows"] for group in of_tables.param_groups] == [len(table) for table in tables]


@pytest.mark.parametrize(("rays", "levels"), [(1024, 0), (2048, 1), (2**20, 3)])
def test_a_radiance_field_counts_rays(rays, levels):
    field = RadianceField(((-1.0,) * 3, (1.0,) * 3), levels=3, finest_resolution=64, seed=0)
    rows = [*field.encoding.offsets.tolist(), len(field.encoding.table)]
    of_table = make_optimizers(field, 1e-2, rays)[0]
    assert [group["momentum_rows"] for group in of_table.param_groups] == [rows[levels]]


def test_momentum_grows_with_the_run_until_each_groups_memory():
    optimizers = make_optimizers(grid_field(), 1e-2, 256)

    def memories(step):
        set_rates(optimizers, step, 1.0)
        return [1 / (1 - group["betas"][0]) for group in groups_of(optimizers)]

    assert [group["betas"][0] for group in groups_of(optimizers)] == [0, 0]
    assert memories(0) == memories(GROWTH) == memories(2 * GROWTH - 1) == [1, 1]
    assert memories(2 * GROWTH) == [2, 2]
    assert memories(10**6) == pytest.approx([MEMORY, MEMORY])
    assert {group["betas"][1] for group in groups_of(optimizers)} == {0.99}
    every = {round(memory, 6) for step in range(1000) for memory in memories(step)}
    assert every == set(range(1, MEMORY + 1))  # few, as each has a table of its own


def test_rates_fall_by_the_schedule_from_where_they_started():
    optimizers = make_optimizers(grid_field(), 1e-2, 256)
    for decay in (1.0, 0.5, 0.25):
        set_rates(optimizers, 3, decay)
        rates = [group["lr"] for group in groups_of(optimizers)]
        assert rates == [decay * TABLE_RATE * 1e-2, decay * 1e-2]


def test_fields_without_tables_are_trained_by_plain_adam():
    optimizers = make_optimizers(Siren(2, 1, hidden=8, layers=1), 1e-4, 256)
    assert [type(optimizer) for optimizer in optimizers] == [torch.optim.Adam]
    set_rates(optimizers, 0, 0.5)
    (group,) = groups_of(optimizers)
    assert (group["lr"], group["betas"]) == (0.5e-4, (0.9, 0.99))


@pytest.mark.parametrize("snap", [True, False])
@pytest.mark.parametrize("signal", [Image(torch.rand(30, 40, 1)), Volume(torch.rand(9, 10, 11))])
def test_a_trainer_sets_the_momentum_of_every_step(signal, snap):
    trainer = Trainer(
        grid_field(signal.domain.dim, channels=1),
        signal,
        Uniform(signal.domain, 2048, seed=0),
        budget=Budget(steps=10 * GROWTH),
        learning_rate=1e-2,
        device=torch.device("cpu"),
        snap=snap,
    )
    of_table, of_network = groups_of(trainer.optimizers)
    assert 0 < of_table["momentum_rows"] < len(of_table["params"][0])
    seen = []

    def pause():
        seen.append((of_table["betas"], of_network["betas"]))
        return trainer.step >= 4 * GROWTH

    trainer.advance(pause)
    # The last one looked at is that of the step before.
    memories = [1] + [max(step // GROWTH, 1) for step in range(4 * GROWTH)]
    assert seen == [((1 - 1 / memory, 0.99),) * 2 for memory in memories]
