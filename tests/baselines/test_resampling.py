"""Resampling of fresh errors: how often candidates come, what density results, and what the weights make of it."""

from typing import Any

import pytest
import torch

from softmine import Box, SoftmineError
from softmine.baselines import Resampling
from softmine.baselines.resampling import reflect, systematic
from softmine.sampling import RandomStream

from helpers import FALSE_ALARM, chi_square_p, histogram

SHAPES = [(40,), (30, 50), (12, 9, 15), (6, 8, 5, 7)]
# Kinds of mixtures: as default, no pairs, few uniform candidates, fewer moved than samples, more, an odd number.
MIXTURES: list[dict[str, Any]] = [
    {},
    {"uniform_share": 1.0},
    {"uniform_share": 0.05},
    {"uniform_share": 0.8},
    {"uniform_share": 0.3, "candidates": 5},
    {"uniform_share": 0.5, "candidates": 1},
]


def error_at(coords):
    """From 0.1 to 6.1, with steps that the default noise jumps over."""
    return 0.1 + ((9 * coords).sum(-1).floor() % 3) * (1 + 2 * coords[:, 0])


def run(sampler, steps, probe=error_at):
    """Coordinates and weights of the last of some steps."""
    coords = weights = torch.empty(0)
    for _ in range(steps):
        batch = sampler.draw(probe)
        coords, error = batch.coords, probe(batch.coords)
        weights = sampler.weigh(batch, error)
        sampler.update(batch, error)
    return coords, weights


def deviation(estimates, exact):
    """How many standard errors the mean of independent estimates is from what it should be."""
    estimates = torch.stack(estimates)
    return ((estimates.mean() - exact) / (estimates.std() / len(estimates) ** 0.5)).abs()


def test_one_draw_is_in_proportion_to_the_chances():
    random = RandomStream(0)
    chances = torch.tensor([0.1, 3.0, 1.0, 0.02, 2.0, 0.5])
    drawn = torch.cat([systematic(chances, 1, random) for _ in range(5000)])
    counts = drawn.bincount(minlength=6)
    assert chi_square_p(counts, chances) > FALSE_ALARM
    assert chi_square_p(counts, torch.ones(6)) < 1e-20, "the test can fail"


def test_every_candidate_comes_as_often_as_expected_rounded_down_or_up():
    random = RandomStream(1)
    for size, count in ((50, 20), (20, 50), (1000, 100), (1, 7), (7, 1)):
        chances = random.uniform(size, 1).view(-1) ** 3 + 1e-6
        expected = count * chances.double() / chances.double().sum()
        for _ in range(20):
            drawn = systematic(chances, count, random)
            counts = drawn.bincount(minlength=size)
            assert counts.sum() == count
            assert (drawn.diff() >= 0).all()
            assert (counts >= (expected - 1e-9).floor()).all()
            assert (counts <= (expected + 1e-9).ceil()).all()


def test_reflection_keeps_the_uniform_density_and_stays_inside():
    found = reflect(torch.tensor([[0.25, -0.25, 1.25, 2.25, -1.75, 1.0, -1e-9, 2.0]])).tolist()[0]
    assert found == pytest.approx([0.25, 0.25, 0.75, 0.25, 0.25, 1.0, 0.0, 0.0], abs=1e-6)
    random = RandomStream(2)
    moved = reflect(random.uniform(50_000, 2) + 0.3 * random.normal(50_000, 2))
    assert ((moved >= 0) & (moved < 1)).all()
    assert chi_square_p(histogram(moved, 10), torch.ones(100)) > FALSE_ALARM


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("jitter", [0.0, 2.0, 1000.0])
def test_samples_stay_in_the_domain(shape, jitter):
    box = Box(shape)
    sampler = Resampling(box, 300, jitter=jitter, seed=3)
    seen = []

    def probe(coords):
        seen.append(coords)
        return error_at(coords)

    for _ in range(10):
        coords, weights = run(sampler, 1, probe)
        assert coords.shape == (300, len(shape))
        assert box.contains(coords).all()
        assert (weights > 0).all()
        assert weights.isfinite().all()
    assert box.contains(torch.cat(seen)).all()


@pytest.mark.parametrize("options", MIXTURES)
def test_full_weight_gives_the_uniform_mean(options):
    """At alpha = 1 the mean over independent runs is within 4.5 standard errors: 2e-5 false alarms (t, 99) for each of 12."""
    # A grid whose points do not fall on the steps.
    box, fine = Box((24, 30)), Box((1201, 1307))
    exact = error_at(fine.centers(torch.arange(fine.cells))).mean()
    ones, errors, unweighted = [], [], []
    for seed in range(100):
        sampler = Resampling(box, 300, alpha=1.0, warmup=0, seed=seed, **options)
        coords, weights = run(sampler, 3)
        ones.append(weights.mean())
        errors.append((weights * error_at(coords)).mean())
        unweighted.append(error_at(coords).mean())
    assert deviation(ones, 1.0) < 4.5
    assert deviation(errors, exact) < 4.5
    if options.get("candidates") != 1:
        assert deviation(unweighted, exact) > 30, "the test can fail"


@pytest.mark.parametrize("options", [{}, {"uniform_share": 0.05}, {"jitter": 1000.0}])
def test_the_estimate_of_the_mean_error_does_not_drift(options):
    sampler = Resampling(Box((24, 30)), 200, seed=11, **options)
    means = []
    for _ in range(200):
        run(sampler, 1)
        means.append(sampler.mean.item())
    # 2.1 is the mean of error_at; one estimate is off by a few tenths.
    assert sum(means[100:]) / 100 == pytest.approx(2.1, abs=0.3)
    assert max(means) < 6


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("candidates", [1, 2, 3])
def test_the_smallest_batches_work(batch_size, candidates):
    for share in (0.01, 0.5, 0.99, 1.0):
        sampler = Resampling(Box((8,)), batch_size, candidates=candidates, uniform_share=share, seed=12)
        coords, weights = run(sampler, 4)
        assert coords.shape == (batch_size, 1)
        assert weights.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_are_in_proportion_to_the_error(shape):
    """In the long run, in eight parts of the domain, within 4.5 standard errors (t, 99) each: 1.5e-4 false alarms a shape."""
    box = Box(shape)
    points = RandomStream(4).uniform(400_000, box.dim)
    part = (points[:, -1] * 8).long()
    expected = torch.bincount(part, weights=error_at(points).double(), minlength=8)
    expected = expected / expected.sum()
    shares = []
    for seed in range(100):
        coords, _ = run(Resampling(box, 800, importance_floor=0.0, seed=seed), 4)
        shares.append(torch.bincount((coords[:, -1] * 8).long(), minlength=8) / 800)
    for index in range(8):
        assert deviation([share[index] for share in shares], expected[index]) < 4.5


def test_one_look_a_step_at_uniform_coordinates_and_moved_samples():
    box, looks = Box((200, 400)), []

    def probe(coords):
        looks.append(coords)
        return (coords[:, 0] > 0.5).float() + 0.01

    sampler = Resampling(box, 2000, jitter=3.0, seed=5)
    before = sampler.draw(probe)
    sampler.update(before, torch.ones(2000))
    sampler.draw(probe)
    assert [len(coords) for coords in looks] == [4000, 4000]
    first, partner, moved = looks[1].split((1000, 1000, 2000))
    assert chi_square_p(histogram(torch.cat((first[::2], partner[1::2])), 8), torch.ones(64)) > FALSE_ALARM
    # Moved samples follow the order of the samples, from any of them on.
    distance = [box.to_native(moved - before.coords.roll(-start, 0)) for start in range(2000)]
    found = min(distance, key=lambda native: native.abs().median())
    for native in (found, box.to_native(partner - first)):
        inside = native[native.abs() < 15]
        # 4.5 standard errors of a standard deviation; a few near the border came back shorter.
        assert inside.std().item() == pytest.approx(3.0, abs=3 * 4.5 / (2 * len(inside)) ** 0.5 + 0.03)


def test_weights_soften_as_alpha_warms_up():
    hard, soft = (Resampling(Box((50,)), 500, alpha=alpha, warmup=4, seed=6) for alpha in (1.0, 0.5))
    for step in range(6):
        full, part = run(hard, 1)[1], run(soft, 1)[1]
        progress = min(step / 4, 1.0)
        torch.testing.assert_close(full, soft.density**-progress)
        torch.testing.assert_close(part, soft.density ** (-0.5 * progress))
    assert soft.alpha == 0.5


def test_the_density_follows_the_error_and_has_its_floor():
    sampler = Resampling(Box((100,)), 2000, candidates=8, importance_floor=0.2, jitter=1.0, seed=7)
    coords, _ = run(sampler, 5, lambda coords: (coords[:, 0] < 0.5).float())
    # 1 and 0.2 of the mean error, which the floor raises: m = (1 + 0.2 m) / 2.
    mean = 0.5 / 0.9
    low = coords[:, 0] >= 0.5
    assert sampler.density[low].mean().item() == pytest.approx(0.2, rel=0.1)
    assert sampler.density[~low].mean().item() == pytest.approx(1 / mean, rel=0.1)
    assert low.float().mean().item() == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e38, float("nan"), float("inf")])
def test_errors_that_are_all_nothing_or_no_number_choose_uniformly(value):
    sampler = Resampling(Box((20, 20)), 4000, alpha=1.0, warmup=0, seed=8)
    coords, weights = run(sampler, 3, lambda coords: torch.full((len(coords),), value))
    torch.testing.assert_close(weights, torch.ones(4000))
    # Candidates are stratified and come at most once or twice, so that counts spread no more than independent ones
    # by much: a tenth of the false-alarm rate makes up for the pairs.
    assert chi_square_p(histogram(coords, 4), torch.ones(16)) > FALSE_ALARM / 10


def test_one_overflow_does_not_decide_where_to_sample():
    def probe(coords):
        return torch.where(coords[:, 0] < 0.1, float("inf"), 1.0)

    coords, weights = run(Resampling(Box((50,)), 1000, seed=9), 4, probe)
    assert (coords[:, 0] < 0.1).float().mean() < 0.05
    assert weights.isfinite().all()


def test_in_half_precision_positions_do_not_merge():
    sampler = Resampling(Box((4000,)), 100, seed=10).half()
    kept = sampler.survivors, sampler.density, sampler.mean, sampler.mean_before
    assert [tensor.dtype for tensor in kept] == [torch.float32] * 4
    assert run(sampler, 2)[0].dtype == torch.float32


def test_mistakes_are_named():
    with pytest.raises(SoftmineError, match=r"looks before it chooses: give draw\(\) a probe at every step"):
        Resampling(Box((8,)), 4).draw()
    with pytest.raises(SoftmineError, match=r"one error for each of N coordinates.*\(8, 1\)"):
        Resampling(Box((8,)), 4).draw(lambda coords: coords)
    with pytest.raises(
        SoftmineError, match="65 candidates for each of 4194304 samples are more than 67108864"
    ):
        Resampling(Box((8,)), 2**22, candidates=65)
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"candidates": 0}, "candidates is 0"),
        ({"uniform_share": 1.5}, "uniform_share is 1.5"),
        ({"uniform_share": 0.0}, "uniform_share is 0, but moved samples alone lose count"),
        ({"jitter": -1.0}, "jitter is -1"),
        ({"importance_floor": float("nan")}, "importance_floor is nan"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"warmup": -5}, "warmup is -5"),
    ]
    for settings, message in mistakes:
        with pytest.raises(SoftmineError, match=message):
            Resampling(Box((8,)), 4, **settings)
