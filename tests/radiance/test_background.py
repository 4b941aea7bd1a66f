"""The channels of transparent pictures against backgrounds that are really drawn."""

import torch
from scipy import stats

from softmine.radiance.background import from_channels, over_background, to_channels

from helpers import FALSE_ALARM


def colors(count, seed):
    random = torch.Generator().manual_seed(seed)
    opacity = torch.rand(count, generator=random, dtype=torch.float64)
    return torch.rand(count, 3, generator=random, dtype=torch.float64) * opacity[:, None], opacity


def test_channels_are_those_of_the_formula_and_in_range():
    premultiplied, opacity = colors(1000, 0)
    channels = to_channels(premultiplied, opacity)
    assert channels.min() >= 0
    assert channels.max() <= 1
    back, alpha = from_channels(channels)
    torch.testing.assert_close(back, premultiplied)
    torch.testing.assert_close(alpha, opacity)


def test_composite_lays_color_over_the_background():
    premultiplied, opacity = colors(50, 1)
    background = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = premultiplied + (1 - opacity[:, None]) * background
    channels = to_channels(premultiplied, opacity)
    torch.testing.assert_close(over_background(channels, background), expected)
    torch.testing.assert_close(over_background(channels, 1.0), premultiplied + 1 - opacity[:, None])
    torch.testing.assert_close(over_background(premultiplied, 1.0), premultiplied)


def test_squared_error_is_the_mean_over_random_backgrounds():
    """A z-test on each of 5 pairs; together they fail with a chance of FALSE_ALARM if the formula is right."""
    random = torch.Generator().manual_seed(3)
    (p, a), (q, b) = colors(5, 4), colors(5, 5)
    expected = (to_channels(p, a) - to_channels(q, b)).square().sum(-1)
    draws = torch.rand(200_000, 1, 3, generator=random, dtype=torch.float64)
    errors = ((p - q) - draws * (a - b)[:, None]).square().sum(-1)
    z = (errors.mean(0) - expected) / (errors.std(0) / len(draws) ** 0.5)
    assert 2 * stats.norm.sf(z.abs().max().item()) > FALSE_ALARM / 5
