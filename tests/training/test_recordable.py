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
    assert "a class of its own, Counting" in why_not_recorded(field, Counting(Box((8, 8)), 4, seed=0))
    assert not why_not_recorded(field, Checked(Box((8, 8)), 4, seed=0))


def test_fields_of_known_modules_can_be_recorded():
    sampler = Uniform(Box((8, 8)), 4, seed=0)
    known = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    assert not why_not_recorded(known, sampler)

    class Annealed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = known

    assert "a module of the class Annealed" in why_not_recorded(nn.Sequential(Annealed()), sampler)
    field = Annealed()
    field.recordable = True
    assert not why_not_recorded(field, sampler)
    field.recordable = False
    assert why_not_recorded(field, sampler)


@pytest.mark.parametrize("kind", ["a hook", "a forward of its own"])
def test_a_field_that_was_altered_is_not_known(kind):
    field = HashGridField(2, 1, levels=2, log2_table_size=6, finest_resolution=16)
    if kind == "a hook":
        field.encoding.register_forward_hook(lambda module, given, found: found)
    else:
        field.encoding.forward = lambda coords: coords
    assert "hooks on a HashGrid" in why_not_recorded(field, Uniform(Box((8, 8)), 4, seed=0))
