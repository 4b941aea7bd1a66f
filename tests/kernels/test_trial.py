"""Where Triton is installed but cannot launch, plain torch does its work, and a warning says why."""

import os
import subprocess
import sys

import pytest
import torch

NO_COMPILER = """
import warnings
import torch
import triton.backends.nvidia.driver as nvidia
from softmine.errors import SoftmineError
from softmine.kernels import backends

# A machine with a GPU, as Triton sees it; the compiler is CC of the environment.
nvidia.CudaDriver.is_active = staticmethod(lambda: True)

class Tensor(torch.Tensor):
    device = torch.device("cuda")

table = torch.zeros(2, 2).as_subclass(Tensor)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert [backends.backend_for(table, table, features) for features in (2, 4)] == ["torch", "torch"]
messages = [str(each.message) for each in caught if "plain torch" in str(each.message)]
assert len(messages) == 1, messages
assert "C compiler" in messages[0] and "CAUSE" in messages[0], messages
import os
os.environ["SOFTMINE_KERNELS"] = "triton"
try:
    backends.backend_for(table, table, 2)
except SoftmineError as error:
    assert "CAUSE" in str(error)
else:
    raise AssertionError("what is forced but impossible is refused")
print("good")
"""


@pytest.mark.parametrize(
    ("compiler", "cause"),
    [("false", "returned non-zero exit status"), ("no-such-compiler", "no-such-compiler")],
    ids=["no headers", "no compiler"],
)
def test_without_what_triton_compiles_with_torch_encodes(tmp_path, compiler, cause):
    pytest.importorskip("triton", reason="the Triton kernels are tested only where triton is installed")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"CC": compiler, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_LIBCUDA_PATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", NO_COMPILER.replace("CAUSE", cause)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "SOFTMINE_KERNELS": ""},
    )
    assert ran.stdout.strip().endswith("good"), ran.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_a_launch_is_tried_once(monkeypatch):
    pytest.importorskip("triton", reason="the Triton kernels are tested only where triton is installed")
    from softmine.kernels.triton import kernels, trial

    trial.obstacle.cache_clear()
    tried = []
    monkeypatch.setattr(kernels, "nothing", {(1,): lambda: tried.append(1)})
    assert [trial.obstacle() for _ in range(3)] == [""] * 3
    assert len(tried) == 1
    trial.obstacle.cache_clear()
