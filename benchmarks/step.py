"""Times a whole training step: fused encoding and row-wise Adam against their plain-torch twins.

    python benchmarks/step.py --out benchmarks/results/step.json
    python benchmarks/step.py --device cuda          # also the fused step recorded as a CUDA graph

The two take turns in slices within one process, so that a busy machine slows both alike. ``README.md`` beside
this file says how to read the table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

# As the command line does, before torch is loaded: idle OpenMP threads must not spin beside busy ones.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numba
import numpy as np
import torch

import softmine
from softmine.fields.mlp import evaluate
from softmine.kernels import set_threads, thread_pool
from softmine.kernels.backends import VARIABLE
from softmine.kernels.cpu.jit import take
from softmine.kernels.reference import rows_of
from softmine.optim import CapturedStep, RowAdam

BATCHES = (512, 2048, 8192, 65536)
TABLES = (16, 19, 22)
STAGES = (
    "draw",
    "encode",
    "network",
    "network backward",
    "encode backward",
    "update",
)
LINE = 64
THREADS = torch.get_num_threads()


class Run:
    """One field in training: ``step`` trains once and notes when each stage ended."""

    def __init__(self, kind: str, batch: int, log2_table_size: int, device: str) -> None:
        self.backend = "torch" if kind == "twin" else ""
        self.threads, self.device = THREADS, device
        torch.manual_seed(0)
        self.field = softmine.HashGridField(
            2, 1, hidden=64, layers=2, levels=16, features=2, log2_table_size=log2_table_size
        ).to(device)
        self.sampler = softmine.Uniform(softmine.Box((4096, 4096)), batch, seed=0).to(device)
        settings = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-15}
        with self.forced():
            if kind == "twin":
                self.optimizer = torch.optim.Adam(
                    self.field.parameters(), **settings, fused=True, capturable=device == "cuda"
                )
            else:
                self.optimizer = RowAdam(self.field.parameters(), **settings, table_rate=1.0, memory=None)
        self.train = self.train_eagerly
        if kind == "graph":
            self.train = CapturedStep(self.train_eagerly, [self.field, self.sampler, self.optimizer])
        self.seconds: list[float] = []
        self.stages: list[list[float]] = []

    @contextmanager
    def forced(self) -> Iterator[None]:
        os.environ[VARIABLE] = self.backend
        torch.set_num_threads(self.threads)
        yield
        del os.environ[VARIABLE]

    def choose_threads(self, seconds: float) -> None:
        """Settles on torch's own number of threads, or one if a step is faster so."""
        medians = {}
        for self.threads in (THREADS, 1):
            self.slice(self.step, seconds, self.seconds)
            medians[self.threads] = statistics.median(self.seconds)
            self.seconds.clear()
        self.threads = min(medians, key=medians.__getitem__)

    def step(self) -> None:
        start = self.now()
        self.train()
        self.seconds.append(self.now() - start)

    def now(self) -> float:
        """The time at which the device has done all it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def train_eagerly(self) -> torch.Tensor:
        coords = self.sampler.draw().coords
        loss = self.loss(self.field(coords), coords)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def step_by_stage(self) -> None:
        """The same step with its backward cut at the features."""
        marks = [self.now()]
        mark = lambda: marks.append(self.now())  # noqa: E731
        coords = self.sampler.draw().coords
        mark()
        features = self.field.encoding(coords)
        mark()
        between = features.detach().requires_grad_()
        loss = self.loss(evaluate(self.field.network, between), coords)
        mark()
        self.optimizer.zero_grad()
        loss.backward()
        mark()
        features.backward(between.grad)
        mark()
        self.optimizer.step()
        mark()
        self.stages.append(list(np.diff(marks)))

    @staticmethod
    def loss(values: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        return (values - (coords * 40).sin().sum(-1, keepdim=True)).square().mean()

    def slice(self, step: Callable[[], None], seconds: float, kept: list) -> None:
        """Steps for a while; the first only warms the caches."""
        with self.forced():
            end = time.perf_counter() + seconds
            step()
            kept.pop()
            while time.perf_counter() < end or len(kept) < 3:
                step()

    def lines(self) -> float:
        """Cache lines that a step cannot avoid: those of the touched rows and of their optimizer records."""
        grid = self.field.encoding
        coords = self.sampler.draw().coords
        cell = torch.minimum((coords[:, None] * grid.resolutions).long(), grid.resolutions - 1)
        corners = torch.tensor(list(itertools.product((0, 1), repeat=coords.shape[1])), device=coords.device)
        rows = rows_of(cell[:, :, None] + corners, grid.grid).flatten().unique()
        record = 4 * self.optimizer._rows[grid.table].records.shape[1]
        return sum(len((rows * size // LINE).unique()) for size in (4 * grid.features, record))


def compare(batch: int, log2: int, asked: argparse.Namespace, rate: float) -> dict:
    """Twin and fused at one size, and on a GPU the fused step as a graph."""
    kinds = ("twin", "fused", "graph") if asked.device == "cuda" else ("twin", "fused")
    runs = {kind: Run(kind, batch, log2, asked.device) for kind in kinds}
    for run in runs.values():
        run.choose_threads(asked.seconds)
    for _ in range(asked.slices):
        for run in runs.values():
            run.slice(run.step, asked.seconds, run.seconds)
    for kind in ("twin", "fused"):
        runs[kind].slice(runs[kind].step_by_stage, asked.seconds, runs[kind].stages)
    fused = runs["fused"]
    result = {"batch_size": batch, "log2_table_size": log2, "rows": len(fused.field.encoding.table)}
    for name, run in runs.items():
        ms = statistics.median(run.seconds) * 1e3
        quarters = np.quantile(run.seconds, (0.25, 0.75)) * 1e3
        result[name] = {
            "ms": round(ms, 3),
            "ms_quartiles": [round(value, 3) for value in quarters],
            "ns_per_point": round(ms * 1e6 / batch, 1),
            "steps": len(run.seconds),
            "torch_threads": run.threads,
        }
        if run.stages:
            stages = np.median(run.stages, 0) * 1e3
            result[name]["stages_ms"] = dict(zip(STAGES, stages.round(3).tolist(), strict=True))
    fast = result["fused"]["ms"]
    result["speedup"] = round(result["twin"]["ms"] / fast, 2)
    if "graph" in result:
        result["speedup_graph"] = round(result["twin"]["ms"] / result["graph"]["ms"], 2)
    if rate:
        result["lines_per_step"] = fused.lines()
        result["share_of_memory_limit"] = round(result["lines_per_step"] / rate / (fast / 1e3), 3)
    return result


def random_access_rate(megabytes: int = 512) -> float:
    """Cache lines a second that all threads together read from random places, many in flight."""

    @numba.njit(nogil=True)
    def read(queue, memory, order, sums):
        while True:
            part = take(queue)
            if part >= len(order):
                break
            total = 0.0
            for line in order[part]:
                total += memory[line, 0]
            sums[part] = total

    memory = np.ones(((megabytes << 20) // LINE, LINE // 4), np.float32)
    order = np.random.default_rng(0).integers(0, len(memory), (256, 16384)).astype(np.uint32)
    sums = np.zeros(len(order))
    best = 0.0
    for _ in range(6):
        start = time.perf_counter()
        thread_pool.run(read, memory, order, sums, parts=len(order))
        best = max(best, order.size / (time.perf_counter() - start))
    return best


def machine(device: str) -> dict:
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(": ")[1] for line in info.read_text().splitlines() if "model name" in line), cpu
        )
    return {
        "cpu": cpu,
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu,
        "threads": THREADS,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("softmine", "torch", "numba", "numpy")},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCHES, metavar="N")
    parser.add_argument("--tables", type=int, nargs="+", default=TABLES, metavar="LOG2")
    parser.add_argument("--slices", type=int, default=4, help="turns each")
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a turn")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "--device cuda needs an NVIDIA GPU and a CUDA build of torch, and torch finds none here: leave the flag out"
        )
    set_threads(THREADS)  # whatever torch's number is
    rate = random_access_rate() if asked.device == "cpu" else 0.0
    about = machine(asked.device)
    print(f"{about['device']}, {about['threads']} threads, torch {about['torch']}, numba {about['numba']}, "
          f"load {about['load_average'][0]}; random access {rate / 1e6:.0f} million lines/s\n")  # fmt: skip
    last = "graph ms  graph speedup" if asked.device == "cuda" else "of memory limit"
    print(f"      N  table   twin ms  fused ms  speedup  fused ns/point  {last}")
    results = []
    for log2 in asked.tables:
        for batch in asked.batch_sizes:
            found = compare(batch, log2, asked, rate)
            results.append(found)
            twin, fused = found["twin"], found["fused"]
            if "graph" in found:
                last = f"{found['graph']['ms']:8.2f}  {found['speedup_graph']:12.1f}x"
            else:
                last = f"{found['share_of_memory_limit']:15.0%}"
            print(
                f"{batch:7d}   2^{log2}  {twin['ms']:8.2f}  {fused['ms']:8.2f}  {found['speedup']:6.1f}x"
                f"  {fused['ns_per_point']:14.0f}  {last}",
                flush=True,
            )
    about["load_average_after"] = [round(value, 2) for value in os.getloadavg()]
    if asked.out:
        command = "python benchmarks/step.py " + " ".join(sys.argv[1:])
        content = {
            "schema": 1,
            "command": command.strip(),
            "machine": about,
            "lines_per_second": round(rate),
            "results": results,
        }
        asked.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
