"""Samplers under torch.compile and without device waits."""

import subprocess
import sys

import pytest
import torch

from softmine.sampling import SAMPLERS

SCRIPT = """
import torch
from softmine import Box
from softmine.sampling import create

def run(sampler, wrap):
    draw, weigh, update = wrap(sampler.draw), wrap(sampler.weigh), wrap(sampler.update)
    seen = []
    for _ in range(4):
        coords = draw()
        seen.append(coords.detach().clone())
        error = 1 + (7 * coords).sin().square().sum(-1)
        weights = weigh(error.detach())
        loss = (weights * error.square()).mean()
        if loss.requires_grad:
            loss.backward()
        update()
    return torch.stack(seen)

for preset in {presets}:
    plain = run(create(preset, Box((20, 30)), 64, seed=0), lambda f: f)
    traced = run(
        create(preset, Box((20, 30)), 64, seed=0),
        lambda f: torch.compile(f, fullgraph=True, backend="aot_eager"),
    )
    torch.testing.assert_close(plain, traced, rtol=0, atol=1e-5)
print("traced")
"""


def test_draw_weigh_and_update_trace_as_full_graphs():
    # In a process of its own: the shape checks that the tests switch on are not traceable.
    presets = [*SAMPLERS, "uniform:stratified=True", "langevin:preset=published-code"]
    script = SCRIPT.replace("{presets}", repr(presets))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "traced"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", [*SAMPLERS, "langevin:preset=published-code"])
def test_nothing_waits_for_the_gpu(name):
    from softmine import Box
    from softmine.sampling import create

    sampler = create(name, Box((64, 64)), 256, seed=0).to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            coords = sampler.draw()
            error = 1 + (7 * coords).sin().square().sum(-1)
            loss = (sampler.weigh(error.detach()) * error.square()).mean()
            if loss.requires_grad:
                loss.backward()
            sampler.update()
    finally:
        torch.cuda.set_sync_debug_mode("default")
