"""One call for a signal of any kind."""

import math

import pytest
import torch
from torch import nn

import softmine
from softmine import Box, SoftmineError
from softmine.training.fit import fit
from softmine.training.trainer import Point

from helpers import unchecked_types


def waves(coords):
    return 0.5 + 0.5 * torch.sin(9.0 * coords.sum(-1, keepdim=True)).repeat(1, 2)


class Line(nn.Module):
    """Affine in the coordinates."""

    def __init__(self, dim=2, channels=2):
        super().__init__()
        self.linear = nn.Linear(dim, channels)

    def forward(self, coords):
        return self.linear(coords)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("sampler", ["uniform", "auto", "langevin:alpha=0.8"])
def test_any_function_of_one_to_four_coordinates(dim, sampler):
    fitted = fit("siren", waves, sampler, domain=Box((8,) * dim), steps=3, batch_size=16, device="cpu")
    assert fitted.field(torch.rand(5, dim)).shape == (5, 2)
    assert fitted.steps == fitted.curve[-1].step == 3
    assert fitted.loss > 0


def test_a_field_learns_a_function_that_it_can_hold():
    def plane(coords):
        return coords @ torch.tensor([[0.3], [-2.0]]) + 5.0

    def error(field):
        coords = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
        return (field(coords) - plane(coords)).abs().max()

    field = Line(2, 1)
    fitted = fit(
        field,
        plane,
        "uniform",
        domain=Box((64, 64)),
        steps=600,
        learning_rate=0.1,
        device="cpu",
        evaluate=error,
    )
    assert fitted.field is field
    assert fitted.value < 0.02
    assert fitted.curve[0].value > 1


def test_points_of_the_curve_are_reported_in_order():
    seen = []
    fitted = fit(
        Line(),
        waves,
        domain=Box((8, 8)),
        steps=40,
        batch_size=8,
        evaluations=4,
        report=seen.append,
        device="cpu",
    )
    assert seen == fitted.curve
    assert [point.step for point in seen] == [1, 2, 10, 20, 30, 40]
    assert all(isinstance(point, Point) and point.value is None for point in seen)
    assert [point.seconds for point in seen] == sorted(point.seconds for point in seen)


def test_seconds_end_a_fit():
    fitted = fit(Line(), waves, "uniform", domain=Box((8, 8)), seconds=0.2, batch_size=8, device="cpu")
    assert fitted.seconds >= 0.2
    assert fitted.steps >= 1


def test_evaluations_take_no_training_time_and_no_gradient():
    def measure(field):
        assert not torch.is_grad_enabled()
        torch.randn(300, 300) @ torch.randn(300, 300)
        return 1.0

    assert fit(Line(), waves, domain=Box((8, 8)), steps=2, device="cpu", evaluate=measure).value == 1.0


def test_signals_bring_their_domain_and_samplers_theirs():
    image = softmine.Image(torch.rand(8, 9, 2))
    assert fit(Line(), image, steps=1, batch_size=8, device="cpu").sampler.domain is image.domain
    sampler = softmine.Uniform(Box((5, 6)), batch_size=8, seed=0)
    assert fit(Line(), waves, sampler, steps=1, device="cpu").sampler is sampler


def test_the_same_seed_gives_the_same_field_and_leaves_other_random_numbers_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    runs = [
        fit("siren", waves, domain=Box((8, 8)), steps=2, batch_size=8, device="cpu", seed=s)
        for s in (1, 1, 2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (run.field.last.weight for run in runs)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_snapping_trains_at_the_centers_of_cells():
    asked = []

    def noting(coords):
        asked.append(coords.detach())
        return waves(coords)

    fit(Line(), noting, "uniform", domain=Box((4, 4)), steps=1, batch_size=32, snap=True, device="cpu")
    native = asked[-1] * 4
    torch.testing.assert_close(native - native.floor(), torch.full_like(native, 0.5))


def nan_below(coords):
    return torch.where(coords[:, :1] < 0.25, math.nan, coords)


def rarely_nan(coords):
    # Not among the 1,024 places looked at first: a 20,000th of the domain.
    return torch.where((coords[:, :1] - 0.70001).abs() < 2.5e-5, math.inf, coords)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (
            lambda coords: coords[:, 0],
            r"shape \(1024,\) at 1024 coordinates, .* \(1024, C\); add .unsqueeze\(-1\)",
        ),
        (lambda coords: coords.T, r"shape \(2, 1024\)"),
        (lambda coords: coords.numpy(), "returns a ndarray"),
        (lambda coords: coords.long(), "torch.int64 values: convert"),
        (lambda coords: coords.repeat(1, 2), r"the field returns the shape \(2, 2\) .* 4 values"),
        (nan_below, r"NaN or infinite at \d+ of 1024 coordinates, first at \(0\.[01]|\(0\.2[0-4]"),
        (rarely_nan, r"first at \(0\.7"),
    ],
)
def test_wrong_answers_of_a_signal_are_named(signal, message):
    with pytest.raises(SoftmineError, match=message):
        fit(Line(), signal, "uniform", domain=Box((64, 64)), steps=40, batch_size=4096, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "give steps, seconds or both"),
        ({"steps": 0}, "steps is 0: give at least 1"),
        ({"seconds": -1.0}, "seconds is -1.0"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"domain": None}, "does not know where the signal lives"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"device": "tpu"}, "unknown device"),
        ({"sampler": "unifrm"}, "did you mean uniform"),
        ({"field": "hashgrit"}, "did you mean hashgrid"),
        ({"field": nn.Identity()}, "the field Identity has no parameters"),
        (
            {"sampler": softmine.Uniform(Box((9, 9)), 8)},
            r"Box\(\(9, 9\)\), but the signal on Box\(\(8, 8\)\)",
        ),
        ({"sampler": softmine.Uniform(Box((8, 8)), 8), "batch_size": 9}, "leave it out"),
        ({"seed": None}, "seed is None: give a whole number"),
        ({"seed": "x"}, "seed is x: give a whole number"),
        ({"seed": 10**30}, "seed is 10+: give a number from 0"),
        ({"evaluations": 10**9}, "evaluations is 1000000000: give a number from 1 to 10000"),
        ({"evaluate": 5}, "evaluate is 5, but it must be a function"),
        ({"report": "x"}, "report is x, but it must be a function"),
        ({"evaluate": lambda field: None}, "evaluate returned a NoneType, but it must return one number"),
        ({"evaluate": lambda field: "3"}, "evaluate returned a str"),
        ({"evaluate": lambda field: torch.ones(2)}, "evaluate returned a Tensor"),
        ({"batch_size": 0}, "batch_size is 0: give a number from 1 to 4194304"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    given = {"field": Line(), "signal": waves, "domain": Box((8, 8)), "steps": 1, "device": "cpu", **changes}
    with unchecked_types(), pytest.raises(SoftmineError, match=message):
        fit(**given)


def test_divergence_names_the_rate_to_lower():
    with pytest.raises(
        SoftmineError, match=r"at step \d+: start again with a lower learning_rate than 1e\+30"
    ):
        fit(Line(), waves, "uniform", domain=Box((8, 8)), steps=50, learning_rate=1e30, device="cpu")
