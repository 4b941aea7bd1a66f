"""Samplers draw what they drew when this was recorded, so that no change of a draw goes unnoticed."""

import pytest
import torch

from softmine import Box, FieldProbe
from softmine.registry import create

BOX = Box((12, 18))
RECORDED = [
    ("uniform", 0.465676, 0.534051, 1.000000),
    ("shuffled", 0.479779, 0.512308, 1.000000),
    ("langevin", 0.486276, 0.513461, 0.999319),
    ("multinomial", 0.613471, 0.523543, 0.999915),
    ("error-map", 0.533610, 0.545534, 0.999910),
    ("edges", 0.497775, 0.530883, 1.000000),
    ("int", 0.781250, 0.613426, 1.000000),
    ("evos", 0.697917, 0.614583, 1.000000),
    ("nint", 0.597222, 0.589120, 1.000000),
    ("expansive-supervision", 0.522569, 0.569444, 1.000000),
    ("resampling", 0.647058, 0.544860, 0.999923),
    ("quota-map:period=1", 0.534594, 0.395834, 0.999895),
    ("auto:period=1", 0.501608, 0.413195, 0.959086),
    ("uniform:stratified=True", 0.481184, 0.499705, 1.000000),
    ("langevin-published-code", 0.522569, 0.509259, 1.000830),
    ("langevin:prior=uniform", 0.510197, 0.559513, 0.998775),
    ("error-map:cells=9", 0.571940, 0.502371, 0.999892),
    ("quota-map:cells=50,period=1", 0.527492, 0.499369, 0.999827),
]
"""Means of rows, columns and weights of the third batch."""


class Waves(torch.nn.Module):
    name, channels, fingerprint, domain = "waves", 1, "waves", BOX

    def forward(self, coords):
        return (5 * coords).sin().mean(-1, keepdim=True)


@pytest.mark.parametrize(("spec", "row", "column", "weight"), RECORDED)
def test_the_third_batch_is_the_recorded_one(spec, row, column, weight):
    field, signal = torch.nn.Linear(2, 1), Waves()
    with torch.no_grad():
        field.weight.copy_(torch.tensor([[0.5, -0.3]]))
        field.bias.fill_(0.2)
    probe = FieldProbe(field, signal)
    magnitude = torch.arange(54.0).remainder(7).view(6, 9)
    sampler = create(spec, BOX, 48, seed=7, edges=lambda: magnitude)
    for _ in range(3):
        batch = sampler.draw(probe if sampler.needs_probe else None)
        coords = batch.coords
        error = (field(coords) - signal(coords)).abs().mean(-1)
        weights = sampler.weigh(batch, error.detach())
        if coords.requires_grad:
            (weights * error.square()).mean().backward()
        sampler.update(batch, error.detach())
    # Random bits are the same everywhere; logarithms and cosines differ in the last digit between machines.
    found = [*coords.detach().double().mean(0).tolist(), weights.double().mean().item()]
    assert found == pytest.approx([row, column, weight], abs=2e-5)
