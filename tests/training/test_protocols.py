"""What fields and signals may be able to do."""

import pytest
import torch
from torch import nn

from softmine import Box, Image, Shape
from softmine.radiance.renderer import Renderer
from softmine.signals import HasEdges, HasSamplerDefaults
from softmine.training.protocols import FollowsSteps, Regularized, able


class Wrapper:
    """Passes every name on, as compiled modules do."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Grows(nn.Module):
    def after_step(self, step):
        self.step = step


@pytest.mark.parametrize(
    ("thing", "abilities"),
    [
        (nn.Linear(2, 1), set()),
        (Grows(), {FollowsSteps}),
        (Wrapper(Grows()), {FollowsSteps}),
        (Renderer, {FollowsSteps, Regularized}),
        (Image(torch.rand(4, 4, 1)), {HasEdges}),
        (Shape, {HasEdges, HasSamplerDefaults}),
        (Box((2, 2)), set()),
    ],
)
def test_able_finds_what_a_protocol_declares(thing, abilities):
    for ability in (FollowsSteps, Regularized, HasEdges, HasSamplerDefaults):
        assert able(thing, ability) is (thing if ability in abilities else None)
