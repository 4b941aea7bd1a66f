"""Everything that a GPU is needed for, in one run of at most eight minutes.

    python benchmarks/gpu.py --out gpu --kodak kodim*.png --pluto pluto.jpg --headline relief.jpg --chair nerf_synthetic/chair
    python benchmarks/gpu.py --out rehearsal --rehearse      # every part in miniature, on a GPU that is none

Each part runs in a process of its own, is ended when its time is up, and leaves ``PART.json`` (what it found so far, too, if it
failed or ran out of time) and ``PART.log``. The same command again runs what is not done. ``README.md`` beside this file says
what the numbers are.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import cProfile
import functools
import json
import multiprocessing
import os
import platform
import pstats
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

# As the command line does, before torch is loaded: idle OpenMP threads must not spin beside busy ones.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
from torch import Tensor

import softmine
from softmine.cli.main import main as softmine_command
from softmine.optim import CapturedStep, RowAdam
from softmine.radiance import bounded_rays
from softmine.registry import create
from softmine.study.curves import time_to
from softmine.study.results import Comparison
from softmine.tasks.nerf import task as nerf
from softmine.training import devices
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
MINUTES = 8.0
SAMPLERS = ("uniform", "auto", "langevin")
SECTOR = 32
"""Bytes: the least that a GPU reads or writes."""
LEVELS_DB = (30.0, 32.0, 34.0, 35.0)
WARM = 6
"""Steps that compile, make state and record."""
STARTS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
"""Calls that give the GPU something to do, by how their names begin."""

TINY_CUDA_NN = {
    "us": 1000,
    "samples": 2**18,
    "gpu": "RTX 4090",
    "says": "1000 steps of mlp_learning_an_image with data/config_hash.json take a bit over 1 second; its batch is 256k by default",
    "source": "README.md of github.com/NVlabs/tiny-cuda-nn, commit 02919511",
}
CONFIG_HASH = {"log2_table_size": 15, "levels": 16, "base_resolution": 16, "finest_resolution": 7006}
"""Its table: 16 levels of 2^15 entries, each 1.5 times as fine as the one before."""
INSTANT_NGP = {
    "psnr": 35.07,
    "seconds": 169,
    "gpu": "A100",
    "says": "Instant NGP on the chair; source not verified",
}


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes:
        image: height and width of the image of steps and profile.
        samples: base-2 logarithms of their batch sizes.
        grid: their hash table.
        network: neurons of their hidden layers.
        copy: bytes that are copied to measure the bandwidth.
        steps: of a stretch that is timed,
        stretches: of each kind of step.
        profiled: base-2 logarithm of the batch size of the profile.
    """

    image: tuple[int, int]
    samples: tuple[int, ...]
    grid: dict[str, int]
    network: int
    copy: int
    steps: int
    stretches: int
    profiled: int


FULL = Size((2048, 2048), tuple(range(12, 19)), {}, 64, 2**30, 64, 4, 13)
SMALL_GRID = {"log2_table_size": 8, "levels": 4, "finest_resolution": 32}
SMALL = Size((24, 32), (6,), SMALL_GRID, 16, 2**16, 2, 1, 6)
COUNTED = Size((24, 32), (6,), SMALL_GRID, 64, 0, 4, 1, 6)
"""Of launches, whose number does not depend on it; the fake GPU has to do them, too."""


class Notes:
    """What a part has found, written to its file with every row, so that nothing is lost when it is ended."""

    def __init__(self, path: Path, rehearsed: bool) -> None:
        self.path, self.start = path, time.perf_counter()
        self.content: dict[str, Any] = {
            "schema": 1,
            "part": path.stem,
            "state": "running",
            "rehearsed": rehearsed,
            "found": {},
        }

    def set(self, **values: Any) -> None:
        self.content["found"].update(values)
        self.write()

    def add(self, **row: Any) -> None:
        self.content["found"].setdefault("rows", []).append(row)
        self.write()

    def end(self, state: str, **more: Any) -> None:
        self.content.update(state=state, **more)
        self.write()

    def write(self) -> None:
        self.content["seconds"] = round(time.perf_counter() - self.start, 1)
        write_json(self.path, self.content)


class Failures(Exception):
    """Some rows of a part are errors."""


# What is measured


class Loop:
    """A user's own loop on an image, its step as it is (``eager``) or as a CUDA graph (``recorded``)."""

    def __init__(self, sampler: str, samples: int, size: Size, record: bool, **grid: int) -> None:
        self.grid = {**size.grid, **grid}
        self.image, self.field, self.sampler = subject(sampler, samples, size, grid)
        rate = torch.tensor(1e-2, device="cuda")
        self.optimizer = RowAdam(self.field.parameters(), lr=rate, batch_size=samples)
        self.probe = softmine.FieldProbe(self.field, self.image)
        parts = [self.field, self.sampler, self.optimizer]
        self.step = CapturedStep(self.train, parts) if record else self.train

    def train(self) -> Tensor:
        batch = self.sampler.draw(self.probe if self.sampler.needs_probe else None)
        residual = self.field(batch.coords) - self.image(batch.coords)
        loss, error = residual.square().mean(-1), residual.detach().abs().mean(-1)
        objective = (self.sampler.weigh(batch, error) * loss).mean()
        self.optimizer.zero_grad()
        objective.backward()
        self.sampler.update(batch, error, loss=loss.detach())
        self.optimizer.step()
        return objective.detach()

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()


class Commands:
    """What ``softmine fit`` and ``softmine.fit`` do, whatever that is."""

    def __init__(self, sampler: str, samples: int, size: Size, **grid: int) -> None:
        image, field, chosen = subject(sampler, samples, size, grid)
        options = {"budget": Budget(steps=10**9), "learning_rate": 1e-2, "device": torch.device("cuda")}
        self.trainer = Trainer(field, image, chosen, snap=True, **options)

    def run(self, steps: int) -> None:
        end = self.trainer.step + steps
        self.trainer.advance(lambda: self.trainer.step >= end)


KINDS: dict[str, Callable[..., Loop | Commands]] = {
    "eager": lambda *what, **grid: Loop(*what, record=False, **grid),
    "recorded": lambda *what, **grid: Loop(*what, record=True, **grid),
    "trainer": Commands,
}


def subject(
    sampler: str, samples: int, size: Size, grid: dict[str, int]
) -> tuple[softmine.Image, softmine.HashGridField, softmine.Sampler]:
    """Image, field and sampler, on the GPU."""
    image = softmine.Image(np.random.default_rng(0).integers(0, 256, (*size.image, 3), dtype=np.uint8))
    torch.manual_seed(0)
    field = softmine.HashGridField(2, image.channels, hidden=size.network, **{**size.grid, **grid})
    chosen = create(sampler, image.domain, samples, seed=0, edges=image.edges)
    return image.to("cuda"), field.to("cuda"), chosen.to("cuda")


def step_us(run: Callable[[int], None], steps: int) -> float:
    """Microseconds of a step on the GPU's own clock, the time in which it waits for the host included."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run(steps)
    end.record()
    end.synchronize()
    return 1e3 * begin.elapsed_time(end) / steps


def copy_rate(size: int) -> float:
    """Bytes a second that the GPU reads and writes, counting both."""
    source = torch.ones(size // 4, device="cuda")
    target = torch.empty_like(source)
    fastest = min(step_us(lambda _: target.copy_(source), 1) for _ in range(10))
    return 2 * size / fastest * 1e6


def step_bytes(loop: Loop) -> int:
    """Bytes that a step cannot avoid if nothing is cached: sectors of the entries it touches and of their two moments, read and
    written, and the batch."""
    # The gradient is dense where no RowAdam has taken the table over.
    fresh = softmine.HashGridField(2, 1, hidden=16, **loop.grid).to("cuda").encoding
    coords = loop.sampler.draw(loop.probe if loop.sampler.needs_probe else None).coords.detach()
    fresh(coords).sum().backward()
    grad = fresh.table.grad
    touched = (grad != 0).any(-1).nonzero().flatten()
    width = 4 * grad.shape[1]
    sectors = sum(len((touched * entry // SECTOR).unique()) for entry in (width, 2 * width))
    return 2 * SECTOR * sectors + 4 * len(coords) * (2 + loop.image.channels)


# The parts


def tests(notes: Notes, asked: argparse.Namespace) -> None:
    """All tests that need a GPU, and all of ``tests/gpu``: each file in a process, as many at once as there are cores."""
    needing = [[test for test in found] for found in needing_a_gpu().values()]
    on_fake = [
        [file.relative_to(ROOT).as_posix()] for file in sorted((ROOT / "tests" / "gpu").glob("test_*.py"))
    ]
    chunks = [*needing, *on_fake]
    if asked.rehearse:
        chunks = [[needing[0][0], "tests/gpu/test_rounding.py"]]
    notes.set(files=len(chunks))
    bad = 0
    # What needs the GPU goes first, and one after the other.
    for chunk in chunks[: 1 if asked.rehearse else len(needing)]:
        row = tested(chunk, notes.path.parent)
        bad += row["failed"] > 0
        notes.add(**row)
    if not asked.rehearse:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for ended in as_completed([pool.submit(tested, chunk, notes.path.parent) for chunk in on_fake]):
                bad += ended.result()["failed"] > 0
                notes.add(**ended.result())
    if bad:
        raise Failures(f"tests of {bad} of {len(chunks)} files fail")


def needing_a_gpu() -> dict[str, list[str]]:
    """Tests that are skipped where there is no GPU, by file."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            marks = map(ast.unparse, getattr(node, "decorator_list", ()))
            if any("not torch.cuda.is_available()" in mark for mark in marks):
                name = file.relative_to(ROOT).as_posix()
                found.setdefault(name, []).append(f"{name}::{node.name}")  # pyright: ignore[reportAttributeAccessIssue]
    return found


def tested(chunk: Sequence[str], folder: Path) -> dict[str, Any]:
    """What pytest says of some tests."""
    name = chunk[0].split("::")[0]
    report = folder / "tests" / f"{name.replace('/', '-')}.xml"
    report.parent.mkdir(exist_ok=True)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report.resolve()}", *chunk]
    ran = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    print(ran.stdout, ran.stderr, flush=True)
    if not report.exists():
        return {
            "file": name,
            "failed": 1,
            "failures": [{"test": name, "says": (ran.stdout + ran.stderr)[-2000:]}],
        }
    suite = next(ET.parse(report).iter("testsuite"))
    total, failed, errors, skipped = (
        int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")
    )
    failures = [
        {"test": f"{case.get('classname')}.{case.get('name')}", "says": (bad.text or "")[-2000:]}
        for case in suite.iter("testcase")
        for bad in (*case.findall("failure"), *case.findall("error"))
    ]
    return {
        "file": name,
        "passed": total - failed - errors - skipped,
        "failed": failed + errors,
        "skipped": skipped,
        "seconds": float(suite.get("time", 0)),
        "failures": failures,
    }


def steps(notes: Notes, asked: argparse.Namespace) -> None:
    """Times of steps, eager, recorded and as the commands do them, and what the card's memory allows."""
    size = SMALL if asked.rehearse else FULL
    rate = copy_rate(size.copy)
    notes.set(bytes_per_second=round(rate), steps=size.steps, tiny_cuda_nn=TINY_CUDA_NN)
    cases = [(sampler, log2, {}) for log2 in size.samples for sampler in SAMPLERS]
    cases.append(("uniform", size.samples[-1], {} if asked.rehearse else CONFIG_HASH))
    bad = 0
    for sampler, log2, grid in cases:
        row: dict[str, Any] = {
            "sampler": sampler,
            "samples": 2**log2,
            "like_tiny_cuda_nn": grid == CONFIG_HASH,
        }
        sides: dict[str, Loop | Commands] = {}
        times = collections.defaultdict(list)
        for turn in range(size.stretches):
            for kind, make in KINDS.items():
                try:
                    if not turn:
                        sides[kind] = make(sampler, 2**log2, size, **grid)
                        sides[kind].run(WARM)
                    if kind in sides:
                        times[kind].append(step_us(sides[kind].run, size.steps))
                except Exception as error:
                    sides.pop(kind, None)
                    row[kind] = {"error": f"{type(error).__name__}: {error}"}
                    bad += 1
        for kind in sides:
            row[kind] = {
                "us": round(statistics.median(times[kind]), 1),
                "all": [round(us, 1) for us in times[kind]],
            }
        if isinstance(eager := sides.get("eager"), Loop):
            moved = step_bytes(eager)
            row |= {"bytes": moved, "bound_us": round(moved / rate * 1e6, 1)}
        notes.add(**row)
        print(row, flush=True)
    if bad:
        raise Failures(f"{bad} of {len(cases) * len(KINDS)} kinds of steps fail")


class Started(NamedTuple):
    """What a stretch of steps gave the GPU to do.

    Attributes:
        calls: of the host, by name, that start something.
        kernels: that ran, by name.
        waited: how often the host waited, by what for or where.
    """

    calls: dict[str, int]
    kernels: dict[str, int]
    waited: dict[str, int]


def launches(notes: Notes, asked: argparse.Namespace) -> None:
    """Launches and waits of a step; on a GPU beside what the fake one counts of the same step."""
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    if not asked.rehearse:
        folder = notes.path.parent / "counted-without"
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, __file__, "--out", str(folder), "--rehearse", "--parts", "launches"]
        subprocess.run(command, check=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
        rows = json.loads((folder / "launches.json").read_text(encoding="utf-8"))["found"]["rows"]
        expected = {(row["sampler"], row["kind"]): row for row in rows}
    notes.set(steps=COUNTED.steps, samples=2 ** COUNTED.samples[0])
    for sampler in SAMPLERS:
        for kind, make in KINDS.items():
            side = make(sampler, 2 ** COUNTED.samples[0], COUNTED)
            side.run(WARM)
            found = started_on_none(side.run) if asked.rehearse else started(side.run)
            row = {
                "sampler": sampler,
                "kind": kind,
                "launches": sum(found.calls.values()) / COUNTED.steps,
                "waits": sum(found.waited.values()),
                **found._asdict(),
            }
            if counted := expected.get((sampler, kind)):
                row |= {"fake_launches": counted["launches"], "fake_waits": counted["waits"]}
            notes.add(**row)


def started_on_none(run: Callable[[int], None]) -> Started:
    """As the fake GPU counts it: replays are none of its launches."""
    from gpu.fake_gpu import FakeGpu

    assert FakeGpu.active is not None
    FakeGpu.active.reset()
    run(COUNTED.steps)
    return Started(dict(FakeGpu.active.launches), {}, dict(FakeGpu.active.waits))


def started(run: Callable[[int], None]) -> Started:
    """As torch.profiler counts it; waits as torch warns of them."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run(COUNTED.steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        run(COUNTED.steps)
        torch.cuda.synchronize()
    ran = [(event.name, event.device_type.name == "CUDA") for event in profile.events()]
    waits = collections.Counter(
        f"{Path(one.filename).name}:{one.lineno}" for one in told if "synchronizing" in str(one.message)
    )
    return Started(*sorted_out(ran), dict(waits))


def sorted_out(events: Iterable[tuple[str, bool]]) -> tuple[dict[str, int], dict[str, int]]:
    """How often what starts something was called, and how often what ran on the GPU did, of events (name, whether on the GPU)."""
    calls, kernels = collections.Counter(), collections.Counter()
    for name, on_gpu in events:
        if on_gpu:
            kernels[name] += 1
        elif name.startswith(STARTS):
            calls[name] += 1
    return dict(calls), dict(kernels)


def images(notes: Notes, asked: argparse.Namespace) -> None:
    """Samplers at equal time on Pluto, the headline's relief and Kodak photos."""
    large = ("uniform@32768", "uniform@262144", "shuffled@32768", "shuffled@262144", "auto", "auto@262144")
    large_words = ["--samplers", *large, "--seconds", "5"]
    photo_words = ["--samplers", "uniform@12288", "shuffled@12288", "auto@12288", "--seconds", "2"]
    cases = [
        ("pluto", asked.pluto or "builtin:fractal-4344x4408", large_words),
        ("headline", asked.headline or "builtin:fractal-8192x8192", large_words),
        *(("kodak", path, photo_words) for path in asked.kodak or ["builtin:astronaut"]),
    ]
    if asked.rehearse:
        cases = [("kodak", "builtin:fractal-32x24", ["--samplers", "uniform@64", "auto@64"])]
    for index, (name, path, words) in enumerate(cases):
        found = compared("image", str(path), [*words, "--evaluations", "10"], notes, f"{index:02d}-{name}")
        notes.add(what=name, path=str(path), **found)


def chair(notes: Notes, asked: argparse.Namespace) -> None:
    """Training time to some PSNR on the test views, from 4,096 rays a step."""
    path = str(asked.chair or "builtin:still-life")
    words = ["--samplers", *(["auto@64"] if asked.rehearse else ["uniform@4096", "auto@4096"])]
    words += ["--seconds", "40", "--evaluations", "40", "--test-views", "10"]
    found = compared("nerf", path, words, notes, "chair")
    notes.set(path=path, public=INSTANT_NGP, **found)


def compared(kind: str, path: str, words: list[str], notes: Notes, name: str) -> dict[str, Any]:
    """What ``softmine compare`` finds."""
    folder = notes.path.parent / notes.path.stem / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    if notes.content["rehearsed"]:
        words = [*words, "--steps", "2", "--evaluations", "1", "--log2-table-size", "8"]
        drop = words.index("--seconds") if "--seconds" in words else None
        words = words if drop is None else words[:drop] + words[drop + 2 :]
    command = ["compare", kind, path, *words, "--device", "cuda", "--out", str(folder)]
    if code := softmine_command(command):
        raise Failures(
            f"softmine {' '.join(command)} ends with exit code {code}: {notes.path.stem}.log says why"
        )
    comparison = Comparison.parse(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    runs = [
        {
            "sampler": run.name,
            "batch_size": run.batch_size,
            "steps": run.steps,
            "seconds": run.train_seconds,
            "step_ms": run.step_ms,
            "psnr": run.final_psnr,
            "seconds_to": {f"{level:g}": time_to(run.curve, level, "seconds") for level in LEVELS_DB},
        }
        for run in comparison.runs
    ]
    speedups = {f"{line.name}@{line.batch_size}": line.speedup_seconds for line in comparison.lines}
    return {"command": f"softmine {' '.join(command)}", "runs": runs, "speedup_seconds": speedups}


def profile(notes: Notes, asked: argparse.Namespace) -> None:
    """Where the host's time goes in a step, which on a GPU is what small batches wait for."""
    size = SMALL if asked.rehearse else FULL
    for sampler in SAMPLERS[: 1 if asked.rehearse else None]:
        for kind in ("eager", "trainer"):
            side = KINDS[kind](sampler, 2**size.profiled, size)
            side.run(WARM)
            torch.cuda.synchronize()
            start = time.perf_counter()
            side.run(size.steps)
            host = time.perf_counter() - start
            torch.cuda.synchronize()
            profiler = cProfile.Profile()
            profiler.runcall(side.run, size.steps)
            functions = sorted(pstats.Stats(profiler).stats.items(), key=lambda item: -item[1][2])[:30]  # pyright: ignore[reportAttributeAccessIssue]
            notes.add(
                sampler=sampler,
                kind=kind,
                samples=2**size.profiled,
                host_us=round(1e6 * host / size.steps, 1),
                functions=[
                    {
                        "function": f"{Path(file).name}:{line} {name}",
                        "calls": calls / size.steps,
                        "own_us": round(1e6 * own / size.steps, 2),
                        "us": round(1e6 * whole / size.steps, 2),
                    }
                    for (file, line, name), (_, calls, own, whole, _) in functions
                ],
            )


class Part(NamedTuple):
    """What is done, and the seconds it may take."""

    run: Callable[[Notes, argparse.Namespace], None]
    seconds: float


PARTS = {
    "tests": Part(tests, 100),
    "steps": Part(steps, 80),
    "launches": Part(launches, 35),
    "images": Part(images, 110),
    "chair": Part(chair, 120),
    "profile": Part(profile, 20),
}


# How they are run


def work(name: str, path: Path, asked: argparse.Namespace) -> None:
    """A part, in a process of its own, to whose group all processes belong that it starts."""
    os.setsid()
    log = path.with_suffix(".log").open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log.fileno(), stream.fileno())
    notes = Notes(path, asked.rehearse)
    try:
        with pretended_gpu() if asked.rehearse and name != "tests" else contextlib.nullcontext():
            notes.content["machine"] = machine()
            notes.write()
            PARTS[name].run(notes, asked)
    except Exception as error:
        traceback.print_exc()
        notes.end("failed", error=f"{type(error).__name__}: {error}")
    else:
        notes.end("done")
    sys.stdout.flush()


@contextlib.contextmanager
def pretended_gpu() -> Iterator[None]:
    """The fake GPU, and a scene that is small enough for it."""
    # A folder, which this file would hide, whose name it has.
    sys.path[:] = [
        str(ROOT / "tests"),
        *(path for path in sys.path if Path(path).resolve() != ROOT / "benchmarks"),
    ]
    from gpu.fake_gpu import FakeGpu

    small = {"OccupancyGrid": functools.partial(bounded_rays.OccupancyGrid, 16), "CELLS": 256}
    scene = functools.partial(nerf.procedural, size=12, train=4, test=1)
    with mock.patch.multiple(bounded_rays, **small), mock.patch.object(nerf, "procedural", scene), FakeGpu():
        yield


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    found = {
        **devices.versions(),
        "system": platform.platform(),
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
    }
    with contextlib.suppress(PackageNotFoundError):
        found["triton"] = version("triton")
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["capability"] = list(torch.cuda.get_device_capability())
    return found


def carried_out(name: str, folder: Path, asked: argparse.Namespace, limit: float) -> str:
    """The state in which a part ends, within ``limit`` seconds."""
    path = folder / f"{name}.json"
    path.unlink(missing_ok=True)
    # What has used a GPU cannot be forked; what has none starts at once so.
    process = multiprocessing.get_context("fork" if asked.rehearse else "spawn").Process(
        target=work, args=(name, path, asked)
    )
    process.start()
    try:
        process.join(limit)
        late = process.is_alive()
    finally:
        # Also what a part left behind; the group is gone if the part never came so far as to make it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # pyright: ignore[reportArgumentType]
        process.kill()
        process.join()
    content = state_of(path) or {"schema": 1, "part": name, "rehearsed": asked.rehearse, "found": {}}
    if late:
        content |= {"state": "cut off", "error": f"its {limit:.0f} seconds were over"}
    elif content.get("state") not in ("done", "failed"):
        content |= {"state": "failed", "error": f"its process ended with exit code {process.exitcode}"}
    write_json(path, content)
    return content["state"]


def state_of(path: Path) -> dict[str, Any] | None:
    """What a part has written, or None."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all, as a part may be ended at any time."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of a JSON file and a log for each part"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="for all of them (default: %(default)g)"
    )
    parser.add_argument("--rehearse", action="store_true", help="in miniature, on a fake GPU, without CUDA")
    parser.add_argument(
        "--kodak", type=Path, nargs="+", metavar="PNG", help="photos; without, a built-in one"
    )
    parser.add_argument("--pluto", type=Path, help="an image; without, a built-in one of the same size")
    parser.add_argument("--headline", type=Path, help="a larger image; without, a built-in one")
    parser.add_argument("--chair", type=Path, help="folder of a scene; without, the built-in one")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all parts that were asked for are done, 1 if not, 2 if there is no GPU."""
    asked = parsed(words)
    if not asked.rehearse and not torch.cuda.is_available():
        reason = devices.unused_gpu() or "torch finds no NVIDIA GPU here"
        print(
            f"benchmarks/gpu.py measures a GPU, but {reason}; --rehearse tries it without one",
            file=sys.stderr,
        )
        return 2
    end = time.perf_counter() + 60 * asked.minutes
    asked.out.mkdir(parents=True, exist_ok=True)
    states = {}
    for name in asked.parts:
        before = state_of(asked.out / f"{name}.json")
        if before and before["rehearsed"] != asked.rehearse:
            other = "a rehearsal" if before["rehearsed"] else "a GPU"
            print(f"{asked.out} holds {name} of {other}: give another --out", file=sys.stderr)
            return 2
        if before and before["state"] == "done":
            states[name] = "done"
            print(f"{name:10} done before", flush=True)
            continue
        # A rehearsal may run on a busy machine, and its times mean nothing.
        most = PARTS[name].seconds * (5 if asked.rehearse else 1)
        left = min(most, end - time.perf_counter())
        if left < 1:
            states[name] = "not begun"
            print(f"{name:10} not begun: no time is left", flush=True)
            continue
        start = time.perf_counter()
        states[name] = carried_out(name, asked.out, asked, left)
        error = (state_of(asked.out / f"{name}.json") or {}).get("error", "")
        print(f"{name:10} {states[name]} in {time.perf_counter() - start:.0f} s  {error}", flush=True)
    return 0 if set(states.values()) == {"done"} else 1


if __name__ == "__main__":
    sys.exit(main())
