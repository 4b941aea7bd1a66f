"""The fused step's kernels in Triton's interpreter; ``test_compiled_kernels.py`` compiles them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="the fused step is tested only where triton is installed")

import softmine
from softmine.training.fused_step import why_not_fused

TESTS = Path(__file__).parents[1]
CHECKS = ("field_step", "small_kernels", "rows", "training")


@pytest.mark.parametrize("check", CHECKS)
def test_interpreted(check):
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment = {"TRITON_INTERPRET": "1", "SOFTMINE_KERNELS": "triton"}
    ran = subprocess.run(
        [sys.executable, "-c", f"from gpu import fused_checks; fused_checks.{check}()"],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )
    assert ran.stdout.strip().endswith("good"), ran.stderr


def test_other_fields_take_the_composed_path():
    assert "Triton" in why_not_fused(softmine.HashGridField(2, 3, log2_table_size=8))
    assert "HashGridField" in why_not_fused(softmine.Siren(2, 3))
    assert "HashGridField" in why_not_fused(torch.nn.Linear(2, 3))
