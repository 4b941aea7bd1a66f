"""The GPU kernels of radiance fields equal their twins, in value and gradient: in Triton's interpreter, and on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]

COMPARED = """
import torch
from radiance.gpu_cases import CASES
from softmine.radiance import gpu

forced, twins = gpu.backend_for, lambda *_: "torch"
for name, case in CASES.items():
    gpu.backend_for = forced
    found = case("DEVICE")
    gpu.backend_for = twins
    wanted = case("DEVICE")
    assert len(found) == len(wanted) > 0
    for index, (one, other) in enumerate(zip(found, wanted)):
        scale = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(
            one, other, rtol=2e-4, atol=1e-5 * scale, msg=lambda text: f"{name}[{index}]: {text}"
        )
print("good")
"""


def run(device, **environment):
    ran = subprocess.run(
        [sys.executable, "-c", COMPARED.replace("DEVICE", device)],
        capture_output=True,
        text=True,
        timeout=500,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", ""))),
            **environment,
        },
    )
    assert ran.stdout.strip().endswith("good"), ran.stderr


def test_interpreted_kernels_equal_their_twins():
    pytest.importorskip("triton", reason="the Triton kernels are tested only where triton is installed")
    # In a process of its own, because Triton decides when it is imported.
    run("cpu", TRITON_INTERPRET="1", SOFTMINE_KERNELS="triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_kernels_on_a_gpu_equal_their_twins():
    run("cuda", SOFTMINE_KERNELS="triton")
