"""Samplers under torch.compile and without device waits."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from softmine.registry import SAMPLERS
from softmine.sampling import DRAWINGS

SCRIPT = """
import numpy as np
import torch
from softmine import Box, Image
from softmine.registry import create
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
            batch = draw()
        else:
            batch = draw(error_at) if sampler.needs_probe else draw()
        coords = batch.coords
        seen.append(coords.detach().clone())
        error = error_at(coords)
        weights = weigh(batch, error.detach())
        loss = (weights * error.square()).mean()
        if loss.requires_grad:
            loss.backward()
        update(batch, error.detach())
    return torch.stack(seen)

for spec in {specs}:
    # One process holds one sampler, and the compiler gives up on many versions of one function.
    torch._dynamo.reset()
    plain = run(make(spec), lambda f: f)
    traced = run(make(spec), lambda f: torch.compile(f, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(plain, traced, rtol=0, atol=1e-5)
print("traced")
"""


@pytest.mark.parametrize("masked", [False, True])
def test_draw_weigh_and_update_trace_as_full_graphs(masked):
    # In a process of its own: the shape checks that the tests switch on are not traceable.
    # A map's periods are those of the loop, which refreshes at every second step.
    mapped = ("auto", "quota-map")
    specs = [
        *(f"{name}:period=2" if name in mapped else name for name in SAMPLERS),
        "uniform:stratified=True",
        "instant-ngp-error-map:interval=2",
        "edges:alpha=1,warmup=2",
        "resampling:uniform_share=1,candidates=3",
        "error-map:cells=20",
        "quota-map:cells=20,period=2",
        # Blocks of different sizes.
        "error-map:cells=40",
        "quota-map:cells=40,period=2",
        *(
            f"{name}:drawing={drawing}"
            for name in ("edges", "multinomial", "error-map")
            for drawing in DRAWINGS[1:]
        ),
    ]
    script = SCRIPT.replace("{specs}", repr(specs)).replace("{masked}", repr(masked))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "traced"


FORGETS = """
import torch
from softmine import Box
from softmine.registry import create

def run(spec, fullgraph, refreshes, backend="aot_eager"):
    torch._dynamo.reset()
    sampler = create(spec, Box((20, 30)), 64, seed=0, edges=lambda: torch.rand(10, 15))
    field = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(field.parameters(), lr=0.1)

    def step():
        batch = sampler.draw()
        residual = field(batch.coords) - batch.coords.sum(-1, keepdim=True)
        error = residual.detach().abs().mean(-1)
        loss = (sampler.weigh(batch, error) * residual.square().mean(-1)).mean()
        if not fullgraph:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        sampler.update(batch, error)
        return batch.coords

    step = torch.compile(step, fullgraph=fullgraph, backend=backend)
    drawn = []
    for number in range(2 * sampler.period + 1):
        if number == 0 or refreshes and number % sampler.period == 0:
            sampler.refresh()
        try:
            drawn.append(step().clone())
        except RuntimeError as error:
            assert "call sampler.refresh() outside of the compiled or recorded step" in str(error), error
            break
    assert torch.is_grad_enabled(), "the error left gradients off"
    assert len({tuple(coords.flatten().tolist()) for coords in drawn}) == len(drawn), "a batch came twice"
    return len(drawn), sampler.period

for spec in ("shuffled", "quota-map:period=3", "edges:drawing=error-diffusion"):
    for fullgraph in (True, False):
        drawn, period = run(spec, fullgraph, refreshes=False)
        assert drawn == period, (spec, fullgraph, drawn)
    drawn, period = run(spec, True, refreshes=False, backend="eager")
    assert drawn == period, (spec, drawn)
    drawn, period = run(spec, False, refreshes=True)
    assert drawn == 2 * period + 1, (spec, drawn)
print("raised")
"""


def test_a_compiled_loop_that_forgets_to_refresh_raises():
    done = subprocess.run([sys.executable, "-c", FORGETS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "raised"


WHOLE = """
import numpy as np
import torch
from softmine import FieldProbe, Image
from softmine.registry import create

image = Image(np.random.default_rng(0).random((20, 30)).astype(np.float32))

def run(spec, compiled):
    torch._dynamo.reset()
    sampler = create(spec, image.domain, 64, seed=0, edges=image.edges)
    torch.manual_seed(0)
    field = torch.nn.Linear(2, 1)
    probe = FieldProbe(field, image)
    optimizer = torch.optim.SGD(field.parameters(), lr=0.01)

    def forward():
        batch = sampler.draw()
        residual = field(batch.coords) - (7 * batch.coords).sin().sum(-1, keepdim=True)
        error = residual.detach().abs().mean(-1)
        (sampler.weigh(batch, error) * residual.square().mean(-1)).mean().div(2).backward()
        return batch, error

    def step():
        optimizer.zero_grad()
        batches = [forward(), forward()]
        for batch, error in batches:
            sampler.update(batch, error, loss_scale=0.5)
        optimizer.step()
        return torch.stack([batch.coords.detach() for batch, _ in batches])

    if spec.startswith("langevin"):
        # A graph cannot start a chain.
        for batch in [sampler.draw(), sampler.draw()]:
            batch.coords.sum().backward()
            sampler.update(batch, torch.ones(64))
    step = torch.compile(step, backend="aot_eager") if compiled else step
    drawn = []
    for number in range(5):
        if number % 2 == 0 and hasattr(sampler, "refresh"):
            sampler.refresh(probe)
        drawn.append(step().clone())
    return torch.stack(drawn)

for spec in ("langevin", "langevin-published-code", "quota-map:period=4", "multinomial", "evos", "error-map"):
    torch.testing.assert_close(run(spec, True), run(spec, False), rtol=0, atol=1e-5)
print("same")
"""


def test_a_whole_compiled_step_accumulates_as_an_eager_one():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WHOLE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "same"


NEVER_LOOKED = """
import torch
from softmine import Box
from softmine.registry import create

for name in ("multinomial", "int", "evos", "nint"):
    torch._dynamo.reset()
    sampler = create(name, Box((20, 30)), 64, seed=0)
    draw = torch.compile(lambda: sampler.draw().coords.sum(), backend="aot_eager")
    try:
        draw()
    except RuntimeError as error:
        assert "call sampler.refresh(probe) outside of the compiled" in str(error), (name, error)
    else:
        raise AssertionError(name)
print("raised")
"""


def test_a_compiled_draw_before_any_pass_raises():
    done = subprocess.run([sys.executable, "-c", NEVER_LOOKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "raised"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "name", [*SAMPLERS, "error-map:cells=20", "quota-map:cells=20", "edges:drawing=error-diffusion"]
)
def test_nothing_waits_for_the_gpu(name, masked):
    from softmine import Box, Image
    from softmine.registry import create
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
            batch = sampler.draw(probe)
            error = 1 + (7 * batch.coords).sin().square().sum(-1)
            loss = (sampler.weigh(batch, error.detach()) * error.square()).mean()
            if loss.requires_grad:
                loss.backward()
            sampler.update(batch, error.detach())
    finally:
        torch.cuda.set_sync_debug_mode("default")
