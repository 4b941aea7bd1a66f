"""What a picture of a gigapixel costs that one of a megapixel does not: memory, and time a step.

    OMP_NUM_THREADS=1 python benchmarks/gigapixel.py --folder FOLDER --out benchmarks/results/gigapixel-32768.json

Needs 3 GiB of disk in FOLDER for a while, and as much of the system's file cache. Memory is measured in a process for each
fit: the most that was resident at all, which the system counts, and of that the most that was anonymous and the most that
was mapped from files, looked at before every step and after building, evaluating and reconstructing. Steps are timed in
turns, a few of each fit at a time, by the wall clock and by the processor time of the process, which other processes disturb
less; ratios are medians of those within a turn. Batches are as large for one picture as for another. A gigapixel of black,
which costs no look-ups, tells what comes of the larger field alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch

from softmine.signals import Image
from softmine.signals.synthetic.fractal import Fractal
from softmine.tasks.image import ImageTask
from softmine.training.build import build_trainer
from softmine.training.devices import describe
from softmine.training.settings import FieldSettings
from softmine.training.trainer import Trainer

SIDE, SMALL = 32768, 1024
BATCHES = {"uniform": 2048, "auto": 16384}
WARM_UP = 8
"""Times as many steps before the first that are timed: until what stays of a file in memory is there."""
PICTURES = ("1 MP in memory", "1 MP computed", "1 GP black", "1 GP computed", "1 GP in a file")
PLAIN = PICTURES[0]
CPU = torch.device("cpu")


class Black(Fractal):
    """A picture whose pixels are known beforehand."""

    def gather(self, flat: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Zeros (M, 3)."""
        return np.zeros((len(flat), 3), dtype)


def write_file(path: Path) -> None:
    """An NPY of a gigapixel: a fractal of 16 megapixels, repeated."""
    tile = Fractal(4096, 4096).rows(0, 4096, np.dtype(np.uint8))
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (SIDE, SIDE, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(SIDE // 4096):
            for start in range(0, 4096, 256):
                file.write(np.tile(tile[start : start + 256], (1, SIDE // 4096, 1)).tobytes())


def open_picture(name: str, file: Path) -> Image:
    if name == "1 MP in memory":
        return Image(Fractal(SMALL, SMALL).rows(0, SMALL, np.dtype(np.uint8)))
    if name == "1 GP in a file":
        return Image.read(file)
    if name == "1 GP black":
        return Image(Black(SIDE, SIDE))
    side = SMALL if name == "1 MP computed" else SIDE
    return Image.builtin(f"fractal-{side}x{side}")


def build(task: ImageTask, sampler: str) -> Trainer:
    return build_trainer(
        task, FieldSettings(steps=10**6), sampler=sampler, batch_size=BATCHES[sampler], seed=0, device=CPU
    )


def resident() -> tuple[float, float, float]:
    """MiB of this process that are anonymous, that are mapped from files, and that were resident at most so far."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    anonymous, mapped, most = (int(lines[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile", "VmHWM"))
    return anonymous, mapped, most


def measure_memory(name: str, sampler: str, file: Path, steps: int) -> dict:
    peaks = [0.0, 0.0, 0.0]

    def note() -> None:
        for index, now in enumerate(resident()):
            peaks[index] = max(peaks[index], now)

    imported = sum(resident()[:2])
    task = ImageTask(open_picture(name, file))
    trainer = build(task, sampler)
    note()
    end = trainer.step + steps

    def pause() -> bool:
        note()
        return trainer.step >= end

    trainer.advance(pause)
    task.make_evaluator(CPU)(trainer.field)
    note()
    trainer.field.eval()
    task.reconstruct(trainer.field, CPU)
    note()
    held = sum(parameter.numel() * parameter.element_size() for parameter in trainer.field.parameters())
    return {
        "imported_mb": round(imported),
        "field_mb": round(held / 2**20),
        "peak_anonymous_mb": round(peaks[0]),
        "peak_file_mb": round(peaks[1]),
        "peak_resident_mb": round(peaks[2]),
    }


def in_a_process(name: str, sampler: str, file: Path, steps: int) -> dict:
    words = [
        sys.executable,
        __file__,
        "--memory-of",
        name,
        sampler,
        "--file",
        str(file),
        "--steps",
        str(steps),
    ]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def measure_time(file: Path, rounds: int) -> dict[tuple[str, str], dict]:
    trainers = {
        (name, sampler): build(ImageTask(open_picture(name, file)), sampler)
        for sampler in BATCHES
        for name in PICTURES
    }
    spent: dict[tuple[str, str], list[float]] = {key: [] for key in trainers}
    for turn in range(rounds + 1):
        for key, trainer in trainers.items():
            steps = (24 if key[1] == "uniform" else 6) * (1 if turn else WARM_UP)
            end, started = trainer.step + steps, time.process_time()
            trainer.advance(lambda trainer=trainer, end=end: trainer.step >= end)
            if turn == 0:
                del trainer.timer.step_ms[:]
            else:
                spent[key].append((time.process_time() - started) / steps * 1e3)
    return {
        key: {
            "step_ms_median": round(statistics.median(trainer.timer.step_ms), 2),
            "processor_ms_a_step": round(statistics.median(spent[key]), 2),
            "processor_ratio": round(
                statistics.median(
                    mine / plain for mine, plain in zip(spent[key], spent[PLAIN, key[1]], strict=True)
                ),
                3,
            ),
        }
        for key, trainer in trainers.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(), help="where the file of a gigapixel goes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--steps", type=int, default=40, help="of the fits whose memory is measured")
    parser.add_argument("--rounds", type=int, default=7, help="of timing")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory_of:
        name, sampler = asked.memory_of
        print(json.dumps(measure_memory(name, sampler, asked.file, asked.steps)))
        return
    file = asked.folder / "gigapixel.npy"
    try:
        write_file(file)
        times = measure_time(file, asked.rounds)
        memory = {
            (name, sampler): in_a_process(name, sampler, file, asked.steps)
            for sampler in BATCHES
            for name in PICTURES
        }
    finally:
        file.unlink(missing_ok=True)
    runs = []
    print(
        "| sampler | picture | ms a step | processor ms | of 1 MP in memory | RSS | anonymous | from files |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for key, clock in times.items():
        name, sampler = key
        runs.append(
            {
                "sampler": sampler,
                "batch_size": BATCHES[sampler],
                "picture": name,
                **clock,
                **memory[key],
            }
        )
        held = memory[key]
        print(
            f"| {sampler} | {name} | {clock['step_ms_median']} | {clock['processor_ms_a_step']} | "
            f"{clock['processor_ratio']:.2f} | {held['peak_resident_mb']} MiB | {held['peak_anonymous_mb']} MiB | "
            f"{held['peak_file_mb']} MiB |"
        )
    if asked.out:
        content = {
            "schema": 1,
            "side": SIDE,
            "device": describe(CPU),
            "versions": {name: version(name) for name in ("softmine", "torch", "numba")},
            "runs": runs,
        }
        asked.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
