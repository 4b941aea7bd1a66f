"""``benchmarks/gpu.py``, rehearsed on the fake GPU: every part works, and none that fails or takes too long stops the next."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
BROKEN = """
import runpy, sys, time, os
names = runpy.run_path({script!r}, run_name="prepared")
def breaks(notes, asked):
    notes.add(kept=1)
    raise ValueError("no")
def sleeps(notes, asked):
    notes.add(kept=2)
    time.sleep(60)
def dies(notes, asked):
    notes.add(kept=3)
    os.kill(os.getpid(), 9)
def works(notes, asked):
    notes.set(kept=4)
parts = names["PARTS"]
parts.clear()
parts.update({{one.__name__: names["Part"](one, 1) for one in (breaks, sleeps, dies, works)}})
sys.exit(names["main"](["--out", sys.argv[1], "--rehearse"]))
"""


@pytest.fixture(scope="module")
def prepared():
    spec = importlib.util.spec_from_file_location("prepared_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def run(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, timeout=600
    )


def found(folder):
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


def test_rehearsal(prepared, tmp_path, capsys):
    ran = run(SCRIPT, "--out", tmp_path, "--rehearse")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    parts = found(tmp_path)
    assert list(prepared.PARTS) == sorted(parts, key=list(prepared.PARTS).index)
    assert all(part["state"] == "done" and part["rehearsed"] for part in parts.values())
    rows = {name: part["found"].get("rows") for name, part in parts.items()}
    assert [(row["failed"], row["skipped"] + row["passed"] > 1) for row in rows["tests"]] == [(0, True)]
    assert all(row[kind]["us"] > 0 for row in rows["steps"] for kind in prepared.KINDS)
    assert all(row["bytes"] > 64 * 20 for row in rows["steps"])
    started = {(row["sampler"], row["kind"]): row for row in rows["launches"]}
    assert 1 <= started["uniform", "eager"]["launches"] <= 92
    assert started["uniform", "eager"]["waits"] == 0
    assert started["uniform", "recorded"]["launches"] < started["uniform", "eager"]["launches"]
    for count, runs in ((2, rows["images"][0]["runs"]), (1, parts["chair"]["found"]["runs"])):
        assert [(one["batch_size"], one["steps"]) for one in runs] == [(64, 2)] * count
        assert set(runs[0]["seconds_to"]) == {"30", "32", "34", "35"}
    assert all(len(row["functions"]) == 30 and row["host_us"] > 0 for row in rows["profile"])
    assert prepared.main(["--out", str(tmp_path), "--rehearse"]) == 0
    assert capsys.readouterr().out.count("done before") == len(parts)


def test_a_part_stops_no_other(tmp_path):
    ran = run("-c", BROKEN.format(script=str(SCRIPT)), tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    parts = found(tmp_path)
    assert {name: part["state"] for name, part in parts.items()} == {
        "breaks": "failed",
        "sleeps": "cut off",
        "dies": "failed",
        "works": "done",
    }
    assert parts["breaks"]["error"] == "ValueError: no"
    assert parts["dies"]["error"] == "its process ended with exit code -9"
    kept = [part["found"].get("rows", [part["found"]])[0]["kept"] for part in parts.values()]
    assert sorted(kept) == [1, 2, 3, 4]


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu(prepared, tmp_path, capsys):
    assert prepared.main(["--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_no_rehearsal_among_results(prepared, tmp_path, capsys):
    content = {"schema": 1, "part": "steps", "state": "done", "rehearsed": False}
    (tmp_path / "steps.json").write_text(json.dumps(content))
    assert prepared.main(["--out", str(tmp_path), "--rehearse", "--parts", "steps"]) == 2
    assert "give another --out" in capsys.readouterr().err


def test_all_parts_fit_the_time(prepared):
    assert sum(part.seconds for part in prepared.PARTS.values()) <= 60 * prepared.MINUTES <= 480


def test_every_test_that_needs_a_gpu_is_found(prepared):
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)]
    marks = sum(
        file.read_text(encoding="utf-8").count("skipif(not torch.cuda.is_available()") for file in files
    )
    assert sum(map(len, prepared.needing_a_gpu().values())) == marks > 3


def test_calls_are_told_from_kernels(prepared):
    events = [
        ("cudaLaunchKernelExC", False),
        ("cuLaunchKernel", False),
        ("cudaGraphLaunch", False),
        ("aten::add", False),
        ("cudaStreamSynchronize", False),
        ("_encode", True),
        ("_encode", True),
    ]
    calls, kernels = prepared.sorted_out(events)
    assert calls == {"cudaLaunchKernelExC": 1, "cuLaunchKernel": 1, "cudaGraphLaunch": 1}
    assert kernels == {"_encode": 2}
