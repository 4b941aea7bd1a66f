"""Kernels are compiled once, whatever the batches and steps that follow: a version more would be compiled in the middle of a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

TRITON = """
import collections
import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from kernel_grids import grid_of
from softmine.kernels.touched_rows import AdamRule
from softmine.kernels.triton import backend

class Driver:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)

driver.set_active(Driver())
found = collections.defaultdict(set)

def note(*, key, fn, **rest):
    found[fn.name].add(key)
    return True  # neither compiled nor launched

knobs.runtime.jit_cache_hook = note
for levels, log2 in ((4, 7), (1, 9), (16, 12)):
    grid = grid_of(2, 2, levels=levels, log2_table_size=log2)
    rows = backend.Rows(grid.table.detach())
    for step, count in enumerate((1, 2, 16, 100, 128, 4096, 1000)):
        part = torch.rand(count + 1, 2)[step % 2 :][:count]  # some start where memory is not aligned
        grad = torch.rand(count, 2 * levels)
        shape = grid.grid
        backend.encode(part, grid.table.detach(), shape)
        backend.gradient_of_coords(grad, part, grid.table.detach(), shape)
        rows.add(grad, part, shape)
        memory = 1 + step
        # Settings may be whole numbers.
        betas = (0, 0.99) if step == 3 else (1 - 1 / memory, 0.9 if step == 4 else 0.99)
        rows.update(grid.table.detach(), 0.01 * step, AdamRule(betas, 1e-15, (0, 1, 7, 16)[step % 4]))
names = {name.rpartition(".")[2]: len(keys) for name, keys in found.items()}
# A small batch lists the rows that it touches; one that touches a good part of the table does not.
assert names == {"encode": 1, "gradient_of_coords": 1, "scatter": 2, "update_rows": 2}, names
print("good")
"""

NUMBA = """
import torch
from softmine import HashGridField
from softmine.kernels.cpu import encode_loops, mlp_loops, row_loops
from softmine.optim import RowAdam

field = HashGridField(2, 3, levels=2, log2_table_size=7, finest_resolution=16, hidden=8, layers=1)
optimizer = RowAdam(field.parameters(), batch_size=64)
loops = {f"{m.__name__}.{n}": f for m in (encode_loops, mlp_loops, row_loops) for n, f in vars(m).items() if hasattr(f, "signatures")}
seen = {}
for count in (300, 1, 2, 16, 100, 20_000):
    coords = torch.rand(count, 2)
    with torch.no_grad():
        field(coords)
    for points in (coords, coords.clone().requires_grad_()):
        optimizer.zero_grad()
        field(points).square().mean().backward()
        optimizer.step()
    versions = {name: len(loop.signatures) for name, loop in loops.items() if loop.signatures}
    seen = seen or versions
    assert versions == seen, {name: count for name, count in versions.items() if count != seen.get(name)}
assert {"softmine.kernels.cpu.encode_loops.encode", "softmine.kernels.cpu.row_loops.adam_rows"} <= seen.keys()
print("good")
"""


def run(code):
    paths = os.pathsep.join(path for path in (str(TESTS), os.environ.get("PYTHONPATH", "")) if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, env=environment
    )
    assert ran.stdout.strip().endswith("good"), ran.stderr


def test_no_batch_has_triton_compile_a_version_of_its_own(monkeypatch):
    pytest.importorskip("triton.knobs", reason="versions are counted only where a recent Triton is installed")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    run(TRITON)


def test_no_batch_has_numba_compile_a_version_of_its_own():
    run(NUMBA)
