"""A sampler goes on from its state_dict as if it had not been interrupted."""

import math

import numpy as np
import pytest
import torch

from softmine import Box, Image
from softmine.registry import SAMPLERS, create
from softmine.training.probe import FieldProbe

SHAPE = (12, 18)
IMAGE = Image(np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8))
SPECS = [
    *SAMPLERS,
    "uniform:stratified=True",
    "multinomial:interval=3",
    "instant-ngp-error-map:interval=2",
    "resampling:candidates=3,uniform_share=0.2",
    # Saved within a period, and with cells of several pixels.
    "quota-map:period=3,cells=50",
    "edges:drawing=error-diffusion",
    "multinomial:drawing=error-diffusion,interval=8",
    "error-map:drawing=error-diffusion",
    "error-map:drawing=stratified",
]


def probe_at(step):
    """Probe of a field that changes with every step, so that a pass made at another step is another pass."""
    field = torch.nn.Linear(2, 1, dtype=torch.float32)
    with torch.no_grad():
        field.weight.copy_(torch.tensor([[math.sin(3 * step), math.cos(step)]]))
        field.bias.fill_(0.3)
    return FieldProbe(field, IMAGE)


def run(sampler, steps):
    """Coordinates and weights of every step."""
    seen = []
    for step in steps:
        probe = probe_at(step)
        batch = sampler.draw(probe if sampler.needs_probe else None)
        coords = batch.coords
        error = (probe.field(coords) - IMAGE(coords)).mean(-1).abs() + 0.01
        weights = sampler.weigh(batch, error.detach())
        seen += [coords.detach().clone(), weights.clone()]
        if coords.requires_grad:
            (weights * error.square()).mean().backward()
        sampler.update(batch, error.detach())
    return seen


MASK = torch.rand(SHAPE, generator=torch.Generator().manual_seed(4)) < 0.5


def make(spec, seed, masked):
    return create(spec, Box(SHAPE, MASK if masked else None), 32, seed=seed, edges=IMAGE.edges)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("steps", [1, 9])
@pytest.mark.parametrize("spec", SPECS)
def test_a_fresh_sampler_goes_on_from_a_saved_state_bit_by_bit(spec, steps, masked):
    first = make(spec, 1, masked)
    run(first, range(steps))
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second = make(spec, 2, masked)
    second.load_state_dict(state)
    expected, found = run(first, range(steps, steps + 5)), run(second, range(steps, steps + 5))
    for ours, theirs in zip(expected, found, strict=True):
        assert torch.equal(ours, theirs)
    assert not list(first.parameters())


@pytest.mark.parametrize("spec", SPECS)
def test_samples_and_weights_are_float32_whatever_torchs_default(spec):
    torch.set_default_dtype(torch.float64)
    try:
        seen = run(make(spec, 0, masked=False), range(5))
    finally:
        torch.set_default_dtype(torch.float32)
    assert {values.dtype for values in seen} == {torch.float32}


@pytest.mark.parametrize("spec", ["quota-map:period=4", "shuffled", "multinomial:interval=4"])
def test_what_was_updated_in_a_compiled_graph_resumes_exactly(spec, monkeypatch):
    """There the host does not count the draws: the loop calls ``refresh`` itself."""
    plain, compiled = (make(spec, 0, masked=False) for _ in range(2))
    every = compiled.interval if spec.startswith("multinomial") else compiled.period
    expected = run(plain, range(3 * every))
    for step in range(every + 2):
        if step % every == 0:
            compiled.refresh(probe_at(step))
        with monkeypatch.context() as graph:
            graph.setattr(torch.compiler, "is_compiling", lambda: True)
            run(compiled, [step])
    resumed = make(spec, 1, masked=False)
    resumed.load_state_dict(compiled.state_dict())
    for now, wanted in zip(
        run(resumed, range(every + 2, 3 * every)), expected[2 * (every + 2) :], strict=True
    ):
        assert torch.equal(now, wanted)
