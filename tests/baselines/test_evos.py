import numpy as np
import pytest
import torch

from softmine import Box, FieldProbe, Image, Siren, SoftmineError
from softmine.baselines import EVOS
from softmine.baselines.evos import crossover, fitness, laplacian

from helpers import FALSE_ALARM, chi_square_p

BOX = Box((16, 20))


class Probe:
    """Errors of three channels on the cells of BOX, and a list of the passes."""

    def __init__(self, seed=0):
        self.errors = torch.randn(BOX.cells, 3, generator=torch.Generator().manual_seed(seed)) * 0.1
        self.asked = 0

    def __call__(self, coords):
        return self.residual(coords).abs().mean(-1)

    def residual(self, coords):
        self.asked += 1
        return self.errors[BOX.cell(coords)]


def passes(sampler, steps):
    """Steps, counted from 1 as in the source, that begin with a pass."""
    probe, seen = Probe(), []
    for step in range(1, steps + 1):
        before = probe.asked
        batch = sampler.draw(probe)
        if probe.asked > before:
            seen.append(step)
        sampler.update(batch, torch.ones(len(batch)))
    return seen


def test_key_iterations_are_the_sources():
    expected = [t for t in range(1, 5001) if t % int(100 + (50 - 100) * t / 5000) == 1]
    assert len(expected) == 72
    assert passes(EVOS(BOX, 8), 5000) == expected


def test_after_the_run_the_last_interval_stays():
    found = passes(EVOS(BOX, 8, steps=100, first_interval=10, last_interval=5), 130)
    assert found[-6:] == [101, 106, 111, 116, 121, 126]


def test_the_laplacian_is_the_sum_of_neighbors_less_the_value():
    values = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    expected = torch.nn.functional.conv2d(values[None, None], kernel[None, None], padding=1)[0, 0]
    torch.testing.assert_close(laplacian(values, [0, 1]), expected)
    assert laplacian(torch.tensor([1.0, 2.0, 4.0]), [0]).tolist() == [0.0, 1.0, -6.0]
    cube = torch.arange(27.0).view(3, 3, 3)
    assert laplacian(cube, [0, 1, 2])[1, 1, 1] == 0
    assert laplacian(torch.ones(1, 1), [0, 1]).tolist() == [[-4.0]]


def test_fitness_is_in_the_sources_units():
    field, signal = torch.rand(2, 30, 3, generator=torch.Generator().manual_seed(0))
    low, high = fitness(field - signal, Box((5, 6)))
    # Signals over [-1, 1]; greys over [0, 255], of which the difference of Laplacians.
    torch.testing.assert_close(low, ((2 * field - 1) - (2 * signal - 1)).square().mean(-1))
    grey = [255 * (x * torch.tensor([0.2989, 0.587, 0.114])).sum(-1).view(5, 6) for x in (field, signal)]
    expected = 1e-5 * (laplacian(grey[0], [0, 1]) - laplacian(grey[1], [0, 1])).square().flatten()
    torch.testing.assert_close(high, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_crossover_keeps_the_intersection_and_fills_up_in_proportion(scale):
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(500, generator=generator)
    high = scale * torch.rand(500, generator=generator)
    found = set(crossover(low, high, 80).tolist())
    assert len(found) == 80
    ours = [set(values.topk(80).indices.tolist()) for values in (low, high)]
    assert ours[0] & ours[1] <= found <= ours[0] | ours[1]
    missing = 80 - len(ours[0] & ours[1])
    from_low = int(missing * (low.mean() / (low.mean() + high.mean())))
    only_low, only_high = found - ours[1], found - ours[0]
    assert (len(only_low), len(only_high)) == (from_low, missing - from_low)
    # Of those in one list only, the fittest.
    for chosen, values, mine, other in ((only_low, low, *ours), (only_high, high, *ours[::-1])):
        left_out = mine - other - chosen
        if chosen and left_out:
            assert min(values[list(chosen)]) > max(values[list(left_out)])


@pytest.mark.parametrize("count", [0, 1, 30])
def test_crossover_where_there_is_nothing_to_cross(count):
    values = torch.rand(30, generator=torch.Generator().manual_seed(2))
    assert sorted(crossover(values, values, count).tolist()) == sorted(values.topk(count).indices.tolist())
    assert len(set(crossover(torch.zeros(30), torch.zeros(30), count).tolist())) == count


def test_half_of_the_batch_are_parents_and_half_mutants_from_the_rest():
    sampler, probe = EVOS(BOX, 41, seed=0), Probe()
    parents = crossover(*fitness(probe.errors, BOX), 21).tolist()
    mutants = []
    for _ in range(3):
        batch = sampler.draw(probe)
        cells = BOX.cell(batch.coords)
        assert len(cells.unique()) == 41
        assert cells[:21].tolist() == parents
        mutants.append(cells[21:].tolist())
        sampler.update(batch, torch.ones(41))
    assert probe.asked == 1
    # Neighboring steps repeat no mutant: 3 x 20 of 299 cells.
    assert len({cell for step in mutants for cell in step}) == 60


def test_mutants_are_uniform():
    counts = torch.zeros(BOX.cells)
    probe = Probe()
    for seed in range(500):
        sampler = EVOS(BOX, 40, mutation_share=0.25, seed=seed)
        cells = BOX.cell(sampler.draw(probe).coords)
        parents = cells[:30]
        counts[cells[30:]] += 1
    rest = np.delete(counts.numpy(), parents.numpy())
    assert counts[parents].sum() == 0
    assert len(rest) == 290
    assert chi_square_p(rest, np.ones(290)) > FALSE_ALARM


def test_a_full_batch_is_every_cell():
    cells = BOX.cell(EVOS(BOX, BOX.cells, seed=0).draw(Probe()).coords)
    assert sorted(cells.tolist()) == list(range(BOX.cells))


def test_a_fields_probe_is_enough_in_any_number_of_channels():
    for channels in (1, 3):
        image = Image(torch.rand(16, 20, channels, generator=torch.Generator().manual_seed(3)))
        sampler = EVOS(BOX, 32, seed=0)
        batch = sampler.draw(FieldProbe(Siren(2, channels, hidden=8), image))
        assert sampler.weigh(batch, batch.coords[:, 0]).tolist() == [1.0] * 32


@pytest.mark.parametrize("options", [{"mutation_share": 1.5}, {"first_interval": 1}, {"steps": 0}])
def test_mistakes_are_named(options):
    (name,) = options
    with pytest.raises(SoftmineError, match=name):
        EVOS(BOX, 8, **options)
