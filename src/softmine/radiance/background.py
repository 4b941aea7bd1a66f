"""Transparent images: colors whose squared error is what a random background gives on average.

An image with opacity says nothing of what lies behind it, so fields are trained before backgrounds drawn at random;
else a field paints the background color into the air. With premultiplied color p and opacity a, the error before a
background b is d = (p - p') - b (a - a'). For b uniform in [0, 1], E d^2 = (dp - da/2)^2 + da^2/12, because b has mean
1/2 and variance 1/12. The channels here have exactly this as their squared error, without drawing anything.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import PerSample

Colors = Float[Tensor, "n 3"]
Channels = Float[Tensor, "n c"]


def to_channels(premultiplied: Colors, opacity: PerSample) -> Float[Tensor, "n 4"]:
    """Color before mid-gray, p + (1 - a)/2, and half the opacity, a/2; all in [0, 1].

    The sum of squared differences of two such rows is the expected squared error, summed over colors, before a
    background uniform in [0, 1]^3; their mean is 3/4 of the mean over colors.

    Args:
        premultiplied: color times opacity, (N, 3).
        opacity: (N,).

    Example:
        >>> to_channels(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([0.0]))
        tensor([[0.5000, 0.5000, 0.5000, 0.0000]])
    """
    alpha = opacity.unsqueeze(-1)
    return torch.cat((premultiplied + (1 - alpha) / 2, alpha / 2), -1)


def from_channels(channels: Float[Tensor, "n 4"]) -> tuple[Colors, PerSample]:
    """Premultiplied color (N, 3) and opacity (N,) of ``to_channels``."""
    alpha = 2 * channels[:, 3:]
    return channels[:, :3] - (1 - alpha) / 2, alpha[:, 0]


def over_background(channels: Channels, background: Float[Tensor, "#n 3"] | float) -> Colors:
    """Color (N, 3) of channels (N, 4) laid over a background; channels (N, 3) have none and stay as they are.

    Args:
        channels: what ``to_channels`` gives, or plain color.
        background: color in [0, 1]: one number, (1, 3) or (N, 3).

    Example:
        >>> over_background(to_channels(torch.tensor([[0.2, 0.0, 0.0]]), torch.tensor([0.5])), 1.0)
        tensor([[0.7000, 0.5000, 0.5000]])
    """
    if channels.shape[-1] == 3:
        return channels
    return channels[:, :3] + (1 - 2 * channels[:, 3:]) * (background - 0.5)
