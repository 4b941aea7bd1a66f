"""Masks and discrete axes, for every sampler: nothing is drawn or asked where nothing is, and photos stay apart."""

import numpy as np
import pytest
import torch
from scipy import stats

from softmine import Box, FieldProbe
from softmine.baselines.evos import fitness
from softmine.registry import SAMPLERS, create
from softmine.sampling import Langevin, PiecewiseConstant, PublishedLangevin, RandomStream, edge_prior
from softmine.sampling.density.map_cells import MapCells, map_shape

from helpers import FALSE_ALARM, chi_square_p

COARSE = [
    "uniform:stratified=True",
    "langevin:prior=uniform",
    "error-map:cells=7",
    "instant-ngp-error-map:interval=2,cells=9",
    "quota-map:cells=20,period=2",
    "int:ratio=linear,steps=8",
    "resampling:candidates=3,uniform_share=0.3",
    "edges:drawing=stratified",
    "edges:drawing=error-diffusion",
    "multinomial:drawing=error-diffusion,interval=3",
    "error-map:drawing=error-diffusion,cells=7",
]
SHAPES = [(150,), (13, 18), (7, 9, 8)]


def odd_mask(shape):
    """Holes everywhere, and a good part that is all empty."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) < 0.4
    mask[: shape[0] // 3] = False
    mask[-1] = True
    return mask


class Signal(torch.nn.Module):
    """A smooth signal that is no number where there is nothing, and knows if it was asked there."""

    name, channels, fingerprint = "waves", 1, "waves"

    def __init__(self, box):
        super().__init__()
        self.domain, self.asked_outside = box, 0

    def forward(self, coords):
        valid = self.domain.contains(coords)
        self.asked_outside += int((~valid).sum())
        values = (5 * coords).sin().mean(-1, keepdim=True)
        return torch.where(valid.unsqueeze(-1), values, torch.nan)


def make(spec, box, batch_size=48, seed=7):
    generator = torch.Generator().manual_seed(3)
    magnitude = torch.rand([max(2, size // 2) for size in box.shape], generator=generator)
    return create(spec, box, batch_size, seed=seed, edges=lambda: magnitude)


def train(sampler, steps, signal):
    """Coordinates and weights of every step, with a field that does not learn."""
    torch.manual_seed(0)
    field = torch.nn.Linear(sampler.domain.dim, 1)
    probe = FieldProbe(field, signal)
    seen = []
    for _ in range(steps):
        batch = sampler.draw(probe if sampler.needs_probe else None)
        coords = batch.coords
        error = (field(coords) - signal(coords)).abs().mean(-1)
        weights = sampler.weigh(batch, error.detach())
        seen.append((coords.detach().clone(), weights.clone()))
        if coords.requires_grad:
            (weights * error.square()).mean().backward()
        sampler.update(batch, error.detach())
    return seen


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", [*SAMPLERS, *COARSE])
def test_nothing_is_drawn_or_evaluated_where_nothing_is(spec, shape):
    box = Box(shape, odd_mask(shape))
    signal = Signal(box)
    for coords, weights in train(make(spec, box, 16), 25, signal):
        assert box.contains(coords).all()
        assert weights.isfinite().all()
    assert signal.asked_outside == 0


EXACT = [
    "uniform",
    "uniform:stratified=True",
    "multinomial:alpha=1,warmup=0",
    "error-map:alpha=1,warmup=0,cells=7",
    "error-map:alpha=1,warmup=0",
    "edges:alpha=1,warmup=0",
    "resampling:alpha=1,warmup=0",
    "resampling:alpha=1,warmup=0,uniform_share=1",
    # Its weights are u/q at the start of a run only.
    "expansive-supervision:steps=1000000000",
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", EXACT)
def test_full_weight_gives_the_mean_over_the_valid_cells(spec, shape):
    """Runs of different seeds are independent: Student's t-test of their means, a false alarm of 1e-5 each."""
    mask = odd_mask(shape)
    box = Box(shape, mask)
    # Larger where the error is, so that wrong weights show.
    values = torch.rand(shape, generator=torch.Generator().manual_seed(11)).flatten()
    centers = box.centers(torch.arange(box.cells))
    values += 2 * (5 * centers).sin().mean(-1)
    exact = values[mask.flatten()].mean()
    means = []
    for seed in range(30):
        drawn = train(make(spec, box, 32, seed), 4, Signal(box))
        means.append(
            np.mean([(weights * values[box.cell(coords)]).mean().item() for coords, weights in drawn])
        )
    assert stats.ttest_1samp(means, exact.item()).pvalue > FALSE_ALARM
    assert stats.ttest_1samp(means, values.mean().item()).pvalue < FALSE_ALARM, "the test can fail"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "spec", ["quota-map:alpha=1,warmup=0,cells=20,period=2", "quota-map:alpha=1,warmup=0"]
)
def test_with_error_diffusion_full_weight_gives_nearly_that_mean(spec, shape):
    """What a cell has accumulated when a run begins and ends counts, and in a coarse cell one error after the other."""
    mask = odd_mask(shape)
    box = Box(shape, mask)
    values = 1 + (5 * box.centers(torch.arange(box.cells))).sin().mean(-1)
    drawn = train(make(spec, box, 32), 300, Signal(box))[100:]
    weighted = np.mean([(weights * values[box.cell(coords)]).mean().item() for coords, weights in drawn])
    plain = np.mean([values[box.cell(coords)].mean().item() for coords, _ in drawn])
    exact = values[mask.flatten()].mean().item()
    assert weighted == pytest.approx(exact, rel=0.03)
    assert plain != pytest.approx(exact, rel=0.06), "the test can fail"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "spec", ["uniform", "uniform:stratified=True", "shuffled", "langevin:uniform_share=1"]
)
def test_uniform_draws_cover_all_valid_cells_alike(spec, shape):
    mask = odd_mask(shape)
    box = Box(shape, mask)
    drawn = torch.cat([coords for coords, _ in train(make(spec, box, 500), 60, Signal(box))])
    counts = torch.bincount(box.cell(drawn), minlength=box.cells)
    # Stratified counts vary less than independent ones, and so pass more easily.
    assert chi_square_p(counts[mask.flatten()], np.ones(box.valid)) > FALSE_ALARM


@pytest.mark.parametrize(("fine", "coarse"), [((61,), (9,)), ((13, 18), (4, 18)), ((7, 9, 8), (3, 2, 5))])
def test_a_density_on_coarse_cells_counts_what_each_holds(fine, coarse):
    """Drawn cells against the density that is stated: a false alarm of 1e-5."""
    mask = odd_mask(fine)
    box = Box(fine, mask)
    weights = torch.rand(coarse, generator=torch.Generator().manual_seed(5)) + 0.1
    density = PiecewiseConstant(weights, domain=box)
    stated = density.density(box.centers(torch.arange(box.cells)))
    assert (stated[~mask.flatten()] == 0).all()
    assert stated[mask.flatten()].mean().item() == pytest.approx(1.0, abs=1e-5)
    drawn = torch.bincount(box.cell(density.draw(40_000, RandomStream(0))), minlength=box.cells)
    valid = mask.flatten()
    assert drawn[~valid].sum() == 0
    assert chi_square_p(drawn[valid], stated[valid]) > FALSE_ALARM
    assert chi_square_p(drawn[valid], np.ones(box.valid)) < 1e-20, "the test can fail"


def test_edges_finer_than_a_masked_domain_are_averaged_in_its_cells():
    box = Box((2, 3), torch.tensor([[True, True, False], [True, True, True]]))
    fine = torch.zeros(4, 3)
    fine[2:, 0] = torch.tensor([1.0, 3.0])
    fine[0, 1] = 4.0
    found = PiecewiseConstant(fine).over(box).density(box.centers(torch.arange(6)))
    # Means 2 and 2 in two of five cells.
    torch.testing.assert_close(found, torch.tensor([0.0, 2.5, 0.0, 2.5, 0.0, 0.0]))


def test_edges_only_where_nothing_is_are_refused():
    box = Box((4,), torch.tensor([True, True, False, True]))
    with pytest.raises(ValueError, match="not all zero where there is anything"):
        PiecewiseConstant(torch.tensor([0.0, 0.0, 1.0, 0.0])).over(box)


def test_a_density_without_a_mask_is_taken_as_it_is():
    prior = edge_prior(torch.rand(4, 4))
    assert prior.over(Box((16, 16))) is prior


@pytest.mark.parametrize("kind", [Langevin, PublishedLangevin])
@pytest.mark.parametrize("masked", [False, True])
def test_langevin_does_not_cross_a_discrete_axis(kind, masked):
    shape = (9, 40, 40)
    mask = torch.ones(shape, dtype=torch.bool)
    mask[3] = False
    box = Box(shape, mask if masked else None, discrete=[0])
    steps = {"uniform_share": 0.0, "reinit_share": 0.0, "drift": 2.0 if kind is Langevin else 1e-3}
    sampler = kind(box, 300, seed=0, **steps)
    for _ in range(5):
        # From the middle nobody crosses a border, beyond which samples are drawn anew.
        sampler.particles[0, :, 1:] = 0.5
        batch = sampler.draw()
        coords = batch.coords
        # An error that pulls along the discrete axis most of all.
        error = (coords * torch.tensor([9.0, 1.0, 1.0])).sum(-1) + 0.1
        weights = sampler.weigh(batch, error.detach())
        (weights * error.square()).mean().backward()
        # The released code draws the very lowest anew, whatever the share.
        loss = weights * error.detach().square()
        kept = loss > loss.min() if kind is PublishedLangevin else loss > 0
        before = sampler.particles[0].clone()
        sampler.update(batch, error.detach())
        sampler.check()
        after = sampler.particles[0]
        assert kept.float().mean() > 0.5
        assert torch.equal(after[kept, 0], before[kept, 0])
        assert (after[:, 1:] != before[:, 1:]).any(-1).all(), "the others did move"


@pytest.mark.parametrize("masked", [False, True])
def test_resampling_does_not_cross_a_discrete_axis(masked):
    shape = (9, 20, 20)
    box = Box(shape, odd_mask(shape) if masked else None, discrete=[0])
    sampler = create("resampling:uniform_share=0.5", box, 200, seed=0)
    half, uniform = sampler.uniform_count // 2, sampler.uniform_count
    for _ in range(5):
        survivors = sampler.survivors.clone()
        looks = []

        def probe(coords, looks=looks):
            looks.append(coords.clone())
            return 1 + coords.sum(-1)

        sampler.update(sampler.draw(probe), torch.ones(200))
        first, partners, moved = looks[0].split((half, half, len(looks[0]) - uniform))
        assert torch.equal(first[:, 0], partners[:, 0])
        assert torch.isin(moved[:, 0], survivors[:, 0]).all()
        assert (first[:, 1:] != partners[:, 1:]).any(-1).float().mean() > 0.1, "the others did move"


def test_maps_keep_discrete_axes_apart_while_they_can():
    views = Box((30, 400, 600), discrete=[0])
    shape = map_shape(views, 2**14)
    assert shape[0] == 30
    assert 0.5 * 2**14 < np.prod(shape) < 2 * 2**14
    assert map_shape(views, 12) == (12, 1, 1)
    assert map_shape(Box((400, 30), discrete=[1]), 90) == (3, 30)
    assert create("error-map", views, 64, seed=0).density.grid.shape[0] == 30
    assert create("quota-map:cells=5000", views, 64, seed=0).map.shape[0] == 30


def test_the_laplacian_does_not_cross_a_discrete_axis():
    residual = torch.zeros(3, 4, 4)
    residual[1] = 1.0
    apart = fitness(residual.view(-1, 1), Box((3, 4, 4), discrete=[0]))[1].view(3, 4, 4)
    joined = fitness(residual.view(-1, 1), Box((3, 4, 4)))[1].view(3, 4, 4)
    assert (apart[[0, 2]] == 0).all()
    assert (joined[[0, 2]] > 0).all()


@pytest.mark.parametrize("cells", [(1, 1), (3, 4), (6, 7)])
def test_map_cells_hold_what_is_valid_in_them(cells):
    mask = odd_mask((6, 7))
    box = Box((6, 7), mask)
    pieces = MapCells(cells, box)
    fine = box.centers(mask.flatten().nonzero().squeeze(-1))
    found, valid = pieces.find(fine)
    assert valid.all()
    held = torch.bincount(found, minlength=pieces.count).float()
    volume = torch.ones(pieces.count) if pieces.volume is None else pieces.volume
    torch.testing.assert_close(volume, held / held.mean())
