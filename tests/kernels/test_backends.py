"""Choice of backend, threads, processes, torch.compile."""

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from kernel_grids import grid_of, twin
from softmine import SoftmineError
from softmine.kernels import backend_for, set_threads, thread_pool


def test_numba_is_chosen_on_a_cpu(monkeypatch):
    monkeypatch.delenv("SOFTMINE_KERNELS", raising=False)
    table = torch.zeros(2, 2)
    assert backend_for(table, table) == "numba"
    assert backend_for(table.double(), table.double()) == "numba"
    assert backend_for(table, table.half()) == "torch"
    monkeypatch.setenv("SOFTMINE_KERNELS", "torch")
    assert backend_for(table, table) == "torch"


def test_triton_is_not_chosen_for_features_that_it_cannot_take(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("SOFTMINE_KERNELS", "triton")
    # Whether it interprets, Triton decides when it is imported, which another test may have done.
    monkeypatch.setattr("softmine.kernels.triton.trial.obstacle", lambda: "")
    table = torch.zeros(2, 4)
    assert backend_for(table, table, 4) == "triton"
    with pytest.raises(SoftmineError, match="a power of two, not 3"):
        backend_for(table, table, 3)


@pytest.mark.parametrize(
    ("forced", "dtype", "message"),
    [
        ("cuda", torch.float32, "is no backend"),
        ("triton", torch.float32, "needs an NVIDIA GPU"),
        ("numba", torch.float16, "must both be float32 or float64"),
    ],
)
def test_impossible_backends_are_refused(forced, dtype, message, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", forced)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(SoftmineError, match=message):
        backend_for(torch.zeros(2, 2), torch.zeros(2, 2, dtype=dtype))


def count_up(queue, taken, lock):
    while True:
        with lock:
            part = int(queue[0])
            queue[0] += 1
        if part >= len(taken):
            return
        taken[part] += 1


def test_every_part_is_done_once():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for parts in (1, 3, 50):
            taken = np.zeros(parts)
            thread_pool.run(count_up, taken, threading.Lock(), parts=parts)
            assert (taken == 1).all()
    finally:
        torch.set_num_threads(threads)


def test_threads_may_differ_from_torchs():
    seen = set()

    def loop(queue, meeting):
        seen.add(threading.get_ident())
        meeting.wait(20)

    try:
        set_threads(3)
        thread_pool.run(loop, threading.Barrier(3), parts=8)
        assert len(seen) == 3
        with pytest.raises(SoftmineError, match="at least one thread"):
            set_threads(0)
    finally:
        set_threads(None)


def test_a_failure_in_a_helper_is_raised():
    main = threading.get_ident()
    asked = threading.Event()

    def loop(queue):
        if threading.get_ident() != main:
            asked.set()
            raise ZeroDivisionError
        assert asked.wait(20)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            thread_pool.run(loop, parts=2)
    finally:
        torch.set_num_threads(threads)


def test_several_threads_may_encode_at_once():
    grid = grid_of(2, 2)
    coords = torch.rand(4000, 2)
    wanted = grid(coords).detach()
    same = []

    def work():
        same.extend(torch.equal(grid(coords), wanted) for _ in range(10))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert same == [True] * 40


def _encode_in_child(queue):
    torch.set_num_threads(1)  # OpenMP, unlike us, does not survive a fork
    grid, coords = grid_of(2, 2), torch.rand(4000, 2)
    good = torch.allclose(grid(coords), twin(grid, coords), atol=1e-5)
    torch.set_num_threads(2)
    taken = np.zeros(50)
    thread_pool.run(count_up, taken, threading.Lock(), parts=50)
    queue.put(good and bool((taken == 1).all()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_processes_have_helpers_of_their_own():
    grid_of(2, 2)(torch.rand(4000, 2))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_encode_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60)
    child.join()


COMPILED = """
import torch
from softmine import HashGrid
from softmine.optim import RowAdam

torch.manual_seed(0)
grid = HashGrid(2, levels=4, log2_table_size=7, base_resolution=2, finest_resolution=30)
traced = torch.compile(grid, fullgraph=True, backend="aot_eager")
coords = torch.rand(100, 2, requires_grad=True)

def gradients(encode):
    coords.grad = grid.table.grad = None
    value = encode(coords)
    value.square().sum().backward()
    return value.detach(), coords.grad, grid.table.grad

for a, b in zip(gradients(grid), gradients(traced), strict=True):
    torch.testing.assert_close(a, b)

optimizer = RowAdam([grid.table])
start = grid.table.detach().clone()
tables = []
for encode in (grid, traced):
    grid.table.data.copy_(start)
    optimizer.load_state_dict(RowAdam([start.clone()]).state_dict())
    for _ in range(3):
        optimizer.zero_grad()
        gradients(encode)
        assert grid.table.grad is None
        optimizer.step()
    tables.append(grid.table.detach().clone())
assert not torch.equal(tables[0], start)
torch.testing.assert_close(*tables)

# A backward for coordinates alone leaves the rows alone, and one for the table alone is refused where it is impossible.
slopes = [torch.autograd.grad(encode(coords).square().sum(), coords)[0] for encode in (grid, traced)]
torch.testing.assert_close(*slopes)
traced(coords).sum().backward(inputs=[coords])
optimizer.step()
assert torch.equal(grid.table, tables[1])
assert torch.autograd.grad(grid(coords).sum(), grid.table)[0].any()
try:
    torch.autograd.grad(traced(coords).sum(), grid.table)
except ValueError as error:
    assert "row_gradients=False" in str(error)
else:
    raise AssertionError("a compiled backward cannot give the table's gradient")
traced(coords).sum().backward(inputs=[coords, grid.table])
optimizer.step()
assert not torch.equal(grid.table, tables[1])

for op, arguments in CHECKS(grid, coords):
    torch.library.opcheck(op, arguments)
print("good")
"""

CHECKS = """
def CHECKS(grid, coords):
    levels, table = grid.grid, grid.table.detach().requires_grad_()
    ops = torch.ops.softmine
    yield ops.hash_encode.default, (coords, table, *levels, None, -1)
    grad = torch.rand(100, 8)
    yield ops.hash_encode_gradient_of_coords.default, (grad, coords.detach(), table.detach(), *levels)
    yield ops.hash_encode_gradient_of_table.default, (grad, coords.detach(), table.detach(), *levels)
"""


def test_compiles_into_one_graph():
    # In a process of its own, because the type checker that the tests hook in cannot be traced.
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-W", "error:Dynamo", "-c", CHECKS + COMPILED],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.stdout.strip().endswith("good"), ran.stderr
