"""User-supplied signals, and the errors about values that training cannot use."""

import math

import pytest
import torch
from torch import nn

from softmine import Box, SoftmineError
from softmine.signals import HasEdges, HasSamplerDefaults
from softmine.training.protocols import able
from softmine.training.user_signal import TRIAL, UserSignal

CPU = torch.device("cpu")
BOX = Box((8, 9))


def wrap(signal, domain=BOX):
    return UserSignal(signal, domain, CPU)


def two(coords):
    """Two values at each coordinate."""
    return coords[:, :1].repeat(1, 2)


class Scaled(nn.Module):
    """A module that brings all that a signal may have."""

    name, fingerprint, auto_options = "scaled", "abc", {"power": 1.0}

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))

    def edges(self):
        return torch.ones(8, 9)

    def forward(self, coords):
        return coords[:, :1] * self.scale


class Doubled:
    def __call__(self, coords):
        return two(coords)


def test_values_come_as_they_are_in_the_type_of_the_coordinates():
    coords = torch.rand(7, 2, generator=torch.Generator().manual_seed(0))
    asked = wrap(lambda coords: two(coords).double())
    values = asked(coords)
    assert values.dtype == torch.float32
    assert torch.equal(values, two(coords))
    assert asked(coords[:0]).shape == (0, 2)


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_channels_are_counted(dim, channels):
    assert wrap(lambda coords: coords[:, :1].repeat(1, channels), Box((5,) * dim)).channels == channels


def test_a_gradient_reaches_the_coordinates():
    coords = torch.full((3, 2), 0.5, requires_grad=True)
    wrap(lambda coords: coords.square())(coords).sum().backward()
    assert torch.equal(coords.grad, torch.ones(3, 2))


def test_what_a_signal_brings_is_known():
    signal = Scaled()
    asked = wrap(signal)
    assert (asked.name, asked.fingerprint, asked.channels) == ("scaled", "abc", 3)
    assert asked.auto_options == {"power": 1.0}
    assert asked.edges().shape == (8, 9)
    assert (asked.domain, asked.device) == (BOX, CPU)


@pytest.mark.parametrize(("signal", "name"), [(two, "two"), (Doubled(), "Doubled")])
def test_a_plain_function_has_the_name_it_was_given_and_nothing_else(signal, name):
    asked = wrap(signal)
    assert (asked.name, asked.fingerprint) == (name, "")
    assert able(asked, HasEdges) is None
    assert able(asked, HasSamplerDefaults) is None


def test_it_is_tried_in_its_domain_with_the_same_coordinates_each_time():
    mask = torch.zeros(8, 9, dtype=torch.bool)
    mask[2, 5] = True
    asked = []

    def noting(coords):
        asked.append(coords)
        return two(coords)

    for _ in range(2):
        wrap(noting, Box((8, 9), mask=mask))
    assert torch.equal(asked[0], asked[1])
    assert asked[0].shape == (TRIAL, 2)
    cells = (asked[0] * torch.tensor([8.0, 9.0])).floor()
    assert torch.equal(cells.unique(dim=0), torch.tensor([[2.0, 5.0]]))


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (
            lambda coords: coords.numpy(),
            r"the signal returns a ndarray, but training needs a tensor of shape \(N, C\): wrap it, as in torch.as_tensor",
        ),
        (lambda coords: None, "returns a NoneType"),
        (lambda coords: coords[:, 0], r"\(1024,\) at 1024 coordinates, but it must return \(1024, C\); add .unsqueeze"),
        (lambda coords: coords[:5, 0], r"shape \(5,\) at 1024 coordinates, but it must return \(1024, C\)$"),
        (lambda coords: coords[:-1], r"shape \(1023, 2\)"),
        (lambda coords: coords[:, :0], r"shape \(1024, 0\)"),
        (lambda coords: coords[None], r"shape \(1, 1024, 2\)"),
        (lambda coords: (coords * 255).byte(), "returns torch.uint8 values: convert them to float32"),
        (lambda coords: coords > 0.5, "returns torch.bool values"),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(signal, message):
    with pytest.raises(SoftmineError, match=message):
        wrap(signal)


def test_channels_may_not_change():
    width = [2]
    asked = wrap(lambda coords: coords[:, :1].repeat(1, width[0]))
    width[0] = 3
    with pytest.raises(SoftmineError, match=r"shape \(6, 3\) at 6 coordinates, but it must return \(6, 2\)$"):
        asked(torch.rand(6, 2))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(bad):
    def signal(coords):
        return torch.where(coords[:, :1] > 0.75, bad, two(coords))

    with pytest.raises(
        SoftmineError, match=r"NaN or infinite at \d+ of 1024 coordinates, first at \(0\.[789]"
    ):
        wrap(signal)


def test_later_values_are_checked_too():
    turned = []
    asked = wrap(lambda coords: two(coords) / (0.0 if turned else 1.0))
    turned.append(True)
    coords = torch.tensor([[0.25, 0.5], [0.5, 0.75]])
    with pytest.raises(
        SoftmineError, match=r"at 2 of 2 coordinates, first at \(0.25, 0.5\): let it return finite values"
    ):
        asked(coords)


def test_a_longer_check_finds_what_the_first_missed():
    def rarely_bad(coords):
        # A 20,000th of the domain.
        return torch.where((coords[:, :1] - 0.70001).abs() < 2.5e-5, math.inf, two(coords))

    asked = wrap(rarely_bad, Box((64, 64)))
    assert asked.check(TRIAL) == 2
    with pytest.raises(SoftmineError, match=r"of 65536 coordinates, first at \(0\.[67]"):
        asked.check(TRIAL * 64)
