"""A run that is killed at any moment can be resumed, and none of its files is half-written."""

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
from safetensors.torch import load_file

from softmine.cli.main import main

from helpers import run_quietly

STEPS = 150


def test_twenty_kills(tmp_path):
    np.save(tmp_path / "picture.npy", np.random.default_rng(0).random((24, 24)).astype(np.float32))
    run = tmp_path / "run"
    settings = ["--log2-table-size", "8", "--batch-size", "32", "--steps", str(STEPS), "--evaluations", "30"]
    fresh = ["fit", "image", str(tmp_path / "picture.npy"), "--out", str(run), *settings]
    fresh += ["--checkpoint-every", "0.01"]
    # A fork server that has torch loaded, so that kills hit the run and not the imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["softmine.cli.fit", "softmine.cli.main", "helpers"])
    chance = random.Random(0)
    kills = 0
    words = fresh
    while kills < 20:
        process = context.Process(target=run_quietly, args=(words,))
        process.start()
        started = time.monotonic()
        while words is fresh and not run.exists() and process.is_alive():
            time.sleep(0.002)
        process.join(chance.uniform(0.0, 0.7 if words is fresh else 1.2))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        assert time.monotonic() - started < 120
        if run.exists():
            check_whole(run)
        if process.exitcode == 0:
            # Finished before the kill: start over.
            run.rename(tmp_path / f"done-{kills}-{started}")
            words = fresh
        elif run.exists():
            assert process.exitcode == -signal.SIGKILL
            words = ["fit", "image", "--resume", str(run)]
    assert main(["fit", "image", "--resume", str(run)] if run.exists() else fresh) == 0
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    straight = tmp_path / "straight"
    assert main([*fresh[:3], "--out", str(straight), *settings]) == 0
    one, two = (load_file(folder / f"checkpoints/step-{STEPS:08d}.safetensors") for folder in (straight, run))
    for name in one:
        if name.startswith(("field.", "optimizer.", "sampler.")):
            assert one[name].equal(two[name]), name
    # The next start of a run of that name clears these.
    assert all(".starting-" in path.name for path in tmp_path.glob(".run*"))


def check_whole(run):
    json.loads((run / "config.json").read_text())
    for name in ("status.json", "images/images.json"):
        if (run / name).exists():
            json.loads((run / name).read_text())
    if (run / "metrics.jsonl").exists():
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)
    for file in (run / "checkpoints").glob("*.safetensors"):
        load_file(file)
