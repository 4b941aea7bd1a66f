"""Samplers under torch.compile and without device waits."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from softmine.sampling import SAMPLERS

SCRIPT = """
import numpy as np
import torch
from softmine import Box, Image
from softmine.sampling import create
from softmine.training.probe import FieldProbe

image = Image(np.random.default_rng(0).random((20, 30)).astype(np.float32))
torch.manual_seed(0)
probe = FieldProbe(torch.nn.Linear(2, 1), image)

def error_at(coords):
    return 1 + (7 * coords).sin().square().sum(-1)

mask = torch.rand((20, 30), generator=torch.Generator().manual_seed(0)) < 0.6

def make(spec):
    box = Box((20, 30), mask, discrete=[1]) if {masked} else image.domain
    return create(spec, box, 64, seed=0, edges=image.edges)

def run(sampler, wrap):
    draw, weigh, update = wrap(sampler.draw), wrap(sampler.weigh), wrap(sampler.update)
    seen = []
    for step in range(4):
        if hasattr(sampler, "refresh"):
            # A graph cannot make a pass over the whole signal; the loop around it does.
            if step % 2 == 0:
                sampler.refresh(probe)
            coords = draw()
        else:
            coords = draw(error_at) if sampler.needs_probe else draw()
        seen.append(coords.detach().clone())
        error = error_at(coords)
        weights = weigh(error.detach())
        loss = (weights * error.square()).mean()
        if loss.requires_grad:
            loss.backward()
        update()
    return torch.stack(seen)

for preset in {presets}:
    # One process holds one sampler, and the compiler gives up on many versions of one function.
    torch._dynamo.reset()
    plain = run(make(preset), lambda f: f)
    traced = run(make(preset), lambda f: torch.compile(f, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(plain, traced, rtol=0, atol=1e-5)
print("traced")
"""


@pytest.mark.parametrize("masked", [False, True])
def test_draw_weigh_and_update_trace_as_full_graphs(masked):
    # In a process of its own: the shape checks that the tests switch on are not traceable.
    # A map's periods are those of the loop, which refreshes at every second step.
    mapped = ("auto", "quota-map")
    presets = [
        *(f"{name}:period=2" if name in mapped else name for name in SAMPLERS),
        "uniform:stratified=True",
        "langevin:preset=published-code",
        "error-map:preset=instant-ngp,interval=2",
        "edges:alpha=1,warmup=2",
        "resampling:uniform_share=1,candidates=3",
        "error-map:cells=20",
        "quota-map:cells=20,period=2",
    ]
    script = SCRIPT.replace("{presets}", repr(presets)).replace("{masked}", repr(masked))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "traced"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "name", [*SAMPLERS, "langevin:preset=published-code", "error-map:cells=20", "quota-map:cells=20"]
)
def test_nothing_waits_for_the_gpu(name, masked):
    from softmine import Box, Image
    from softmine.sampling import create
    from softmine.training.probe import FieldProbe

    image = Image(np.random.default_rng(0).random((64, 64)).astype(np.float32)).to("cuda")
    box = Box((64, 64), np.random.default_rng(1).random((64, 64)) < 0.6) if masked else image.domain
    # The first pass of a sampler that ranks every cell brings the mask along.
    box.prepare(torch.device("cuda"))
    sampler = create(name, box, 256, seed=0, edges=image.edges).to("cuda")
    probe = FieldProbe(torch.nn.Linear(2, 1).cuda(), image) if sampler.needs_probe else None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(9):  # two periods of a map
            coords = sampler.draw(probe)
            error = 1 + (7 * coords).sin().square().sum(-1)
            loss = (sampler.weigh(error.detach()) * error.square()).mean()
            if loss.requires_grad:
                loss.backward()
            sampler.update()
    finally:
        torch.cuda.set_sync_debug_mode("default")
