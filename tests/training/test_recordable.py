"""Which trainings may be recorded as a CUDA graph."""

import pytest
import torch
from torch import nn

from softmine import Box, HashGridField, Siren, Uniform
from softmine.registry import SAMPLERS, create
from softmine.training.recordable import why_not_recorded

EAGER = {"multinomial", "int", "evos", "nint", "expansive-supervision"}
"""Samplers that pass over the whole signal now and then."""


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_say_whether_they_can_be_recorded(name):
    sampler = create(name, Box((8, 8)), 16, seed=0, edges=lambda: torch.rand(8, 8))
    assert bool(why_not_recorded(Siren(2, 3), sampler)) == (name in EAGER)


def test_a_subclass_of_a_sampler_says_it_anew():
    class Counting(Uniform):
        pass

    class Checked(Uniform):
        recordable = True

    field = HashGridField(2, 3, levels=2, log2_table_size=4)
    assert "the sampler Counting" in why_not_recorded(field, Counting(Box((8, 8)), 4, seed=0))
    assert not why_not_recorded(field, Checked(Box((8, 8)), 4, seed=0))


def test_fields_of_known_modules_can_be_recorded():
    sampler = Uniform(Box((8, 8)), 4, seed=0)
    known = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    assert not why_not_recorded(known, sampler)

    class Annealed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = known

    assert "a Annealed" in why_not_recorded(nn.Sequential(Annealed()), sampler)
    field = Annealed()
    field.recordable = True
    assert not why_not_recorded(field, sampler)
    field.recordable = False
    assert why_not_recorded(field, sampler)
