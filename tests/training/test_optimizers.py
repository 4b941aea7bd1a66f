import pytest
import torch
from torch import nn

from softmine import HashGridField, Siren, Uniform, Volume
from softmine.kernels import RowAdam
from softmine.radiance.field import RadianceField
from softmine.training.budget import Budget
from softmine.training.optimizers import NETWORK_RATE, TABLE_RATE, make_optimizers
from softmine.training.trainer import Trainer


def grid_field(dim=2, channels=3, **grid):
    return HashGridField(dim, channels, levels=6, base_resolution=4, finest_resolution=64, **grid)


def test_tables_have_row_wise_adam_and_rates_of_their_own():
    field = grid_field()
    of_table, of_network = make_optimizers(field, 1e-2, 256)
    assert isinstance(of_table, RowAdam)
    assert [group["params"] for group in of_table.param_groups] == [[field.encoding.table]]
    assert of_table.param_groups[0]["initial_lr"] == of_table.param_groups[0]["lr"] == TABLE_RATE * 1e-2
    assert of_network.param_groups[0]["initial_lr"] == NETWORK_RATE * 1e-2
    mine = {
        id(p) for optimizer in (of_table, of_network) for g in optimizer.param_groups for p in g["params"]
    }
    assert mine == {id(parameter) for parameter in field.parameters()}


def test_a_field_without_tables_is_trained_at_the_rate_given():
    (only,) = make_optimizers(Siren(2, 1, hidden=8, layers=1), 1e-4, 256)
    assert only.param_groups[0]["initial_lr"] == 1e-4


def test_coarse_levels_of_volumes_have_momentum_and_more_of_them_with_larger_batches():
    counts = [
        make_optimizers(grid_field(3), 1e-2, batch)[0].param_groups[0]["momentum_rows"]
        for batch in (0, 16, 256, 4096, 2**20)
    ]
    assert counts[:2] == [0, 0]
    assert counts[1:] == sorted(set(counts))
    assert counts[-1] == len(grid_field(3).encoding.table)


@pytest.mark.parametrize("dim", [1, 2])
def test_pictures_and_sounds_are_trained_without_momentum(dim):
    of_table = make_optimizers(grid_field(dim), 1e-2, 2**20)[0]
    assert of_table.param_groups[0]["momentum_rows"] == 0


def test_every_grid_has_its_own_rows():
    both = nn.ModuleList([grid_field(3), grid_field(3, log2_table_size=6)])
    of_tables = make_optimizers(both, 1e-2, 2**20)[0]
    tables = [field.encoding.table for field in both if isinstance(field, HashGridField)]
    assert [group["momentum_rows"] for group in of_tables.param_groups] == [len(table) for table in tables]


def test_grids_of_a_radiance_field_have_no_momentum():
    field = RadianceField(
        ((-1.0,) * 3, (1.0,) * 3), levels=3, log2_table_size=10, finest_resolution=16, seed=0
    )
    optimizers = make_optimizers(field, 1e-2, 2**20)
    assert [group["momentum_rows"] for group in optimizers[0].param_groups] == [0]


@pytest.mark.parametrize("snap", [True, False])
def test_only_samples_at_centres_get_momentum(snap):
    volume = Volume(torch.rand(9, 10, 11))
    trainer = Trainer(
        grid_field(3, channels=1),
        volume,
        Uniform(volume.domain, 2048, seed=0),
        budget=Budget(steps=1),
        learning_rate=1e-2,
        device=torch.device("cpu"),
        snap=snap,
    )
    assert (trainer.optimizers[0].param_groups[0]["momentum_rows"] > 0) == snap
