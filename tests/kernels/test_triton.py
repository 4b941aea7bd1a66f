"""The Triton kernels: in their interpreter on the CPU, and on an NVIDIA GPU. ``tests/gpu`` compiles them without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]

INTERPRETED = """
import torch
from kernel_grids import batch_of, grid_of, twin, value_and_gradients
from softmine.kernels import backend_for
from softmine.optim import RowAdam

device = "DEVICE"
plainly = {"table_rate": 1.0, "memory": None}
for dim, features, half, count in [(1, 1, 0, 30), (2, 2, 0, 150), (2, 2, 1, 60), (3, 4, 0, 30), (4, 8, 0, 3), (2, 2, 0, 0)]:
    grid = grid_of(dim, features, levels=4 if dim < 3 else 2, dtype=torch.float16 if half else torch.float32).to(device)
    coords = batch_of(count, dim).detach().to(device).requires_grad_() if count else torch.empty(0, dim, device=device, requires_grad=True)
    assert backend_for(coords, grid.table) == "triton"
    upstream = torch.randn(count, grid.outputs, device=device)
    found = value_and_gradients(lambda g, x: g(x), grid, coords, upstream)
    wanted = value_and_gradients(twin, grid, coords, upstream)
    assert found[2].dtype == grid.table.dtype
    for a, b, tolerance in zip(found, wanted, (1e-6, 1e-4, 4e-3 if half else 1e-5), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)

nan = torch.tensor([[0.5, float("nan")], [0.25, 0.5]], device=device)
assert grid_of(2, 2).to(device)(nan).isnan().all(1).tolist() == [True, False]

# Every row is touched, so the result is Adam's; the second backward adds to the first, zero_grad discards.
line = torch.linspace(0, 1, 12, device=device)
points = torch.cartesian_prod(line, line)
one, two = (grid_of(2, 2, levels=2, finest_resolution=5).to(device) for _ in range(2))
mine = RowAdam([one.table], lr=1e-2, **plainly)
torchs = torch.optim.Adam([two.table], lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
for step in range(4):
    for group in (*mine.param_groups, *torchs.param_groups):
        group["betas"] = (0.3 * step, 0.99)
    for grid, optimizer in ((one, mine), (two, torchs)):
        (grid(points) * 3).sum().backward()
        optimizer.zero_grad()
        for part in (points[:80], points[80:]):
            (grid(part) - torch.sin(7 * part).repeat(1, grid.levels)).square().sum().backward()
        optimizer.step()
    assert one.table.grad is None
    torch.testing.assert_close(one.table, two.table, rtol=1e-4, atol=1e-5)

# Rows that no momentum belongs to follow their last gradient.
one, two = (grid_of(2, 2, levels=2, finest_resolution=5).to(device) for _ in range(2))
rows = 7
mine = RowAdam([{"params": [one.table], "momentum_rows": rows}], lr=1e-2, **plainly)
coarse, fine = (torch.nn.Parameter(part.clone()) for part in (two.table[:rows], two.table[rows:]))
torchs = [torch.optim.Adam([part], lr=1e-2, betas=(beta, 0.99), eps=1e-15) for part, beta in ((coarse, 0.9), (fine, 0.0))]
for step in range(4):
    two.table.grad = None
    for grid in (one, two):
        (grid(points) - torch.sin(7 * points).repeat(1, grid.levels)).square().sum().backward()
    coarse.grad, fine.grad = two.table.grad[:rows], two.table.grad[rows:]
    for optimizer in (mine, *torchs):
        optimizer.step()
    with torch.no_grad():
        two.table.copy_(torch.cat([coarse, fine]))
    torch.testing.assert_close(one.table, two.table, rtol=1e-4, atol=1e-5)

# However rarely they are touched.
one, two = (grid_of(2, 2, levels=2, finest_resolution=5).to(device) for _ in range(2))
mine = RowAdam([{"params": [one.table], "momentum_rows": 0}], **plainly)
plain = RowAdam([two.table], betas=(0.0, 0.99), **plainly)
for step in range(6):
    for grid, optimizer in ((one, mine), (two, plain)):
        optimizer.zero_grad()
        grid(points[7 * step : 7 * step + 9]).square().sum().backward()
        optimizer.step()
torch.testing.assert_close(one.table, two.table, rtol=1e-5, atol=1e-6)

# An untouched row stays; a float16 table learns by steps smaller than its own resolution.
grid = grid_of(2, 2, levels=2, finest_resolution=5, dtype=torch.float16).to(device)
optimizer = RowAdam([grid.table], lr=1e-4, **plainly)
before = grid.table.detach().clone()
for _ in range(20):
    optimizer.zero_grad()
    grid(points[:1] + 0.1).sum().backward()
    optimizer.step()
moved = (grid.table != before).any(1)
assert moved.sum() == 8, moved.sum()
torch.testing.assert_close((before - grid.table)[moved], torch.full((8, 2), 2e-3, device=device).half(), rtol=0, atol=1e-3)
state = optimizer.state_dict()["state"][0]
assert state["step"] == 20 and state["last_step"][moved].eq(20).all() and state["last_step"][~moved].eq(0).all()

copy = grid_of(2, 2, levels=2, finest_resolution=5, dtype=torch.float16).to(device)
copy.load_state_dict(grid.state_dict())
resumed = RowAdam([copy.table])
resumed.load_state_dict(optimizer.state_dict())
for grid, optimizer in ((grid, optimizer), (copy, resumed)):
    grid(points[:1] + 0.1).sum().backward()
    optimizer.step()
assert torch.equal(grid.table, copy.table)

# Steps are counted beyond what float32 can count: rows that rested across 2^24 steps are treated as others.
tables = []
for done in (100_000, 2**24 - 1):
    grid = grid_of(2, 2, levels=2, finest_resolution=5).to(device)
    optimizer = RowAdam([grid.table], **plainly)
    grid(points).square().sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0] |= {"step": torch.tensor(done), "last_step": torch.full((len(grid.table),), done)}
    optimizer.load_state_dict(state)
    for part in (points[:9], points[5:20], points[:30]):
        optimizer.zero_grad()
        grid(part).square().sum().backward()
        optimizer.step()
    assert optimizer.state_dict()["state"][0]["step"] == done + 3
    tables.append(grid.table.detach().clone())
torch.testing.assert_close(*tables, rtol=1e-6, atol=1e-7)
print("good")
"""


def run(code, **environment):
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **environment},
    )
    assert ran.stdout.strip().endswith("good"), ran.stderr


def test_interpreted_on_the_cpu():
    pytest.importorskip("triton", reason="the Triton kernels are tested only where triton is installed")
    # In a process of its own, because Triton decides when it is imported.
    run(INTERPRETED.replace("DEVICE", "cpu"), TRITON_INTERPRET="1", SOFTMINE_KERNELS="triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_on_a_gpu():
    run(INTERPRETED.replace("DEVICE", "cuda"), SOFTMINE_KERNELS="triton")
