"""Every Triton kernel compiles for real GPUs, keeps what it works on in registers, and waits for no other's memory."""

import importlib
import pkgutil

import pytest

pytest.importorskip("triton", reason="kernels are compiled only where triton is installed")

from triton.runtime.jit import JITFunction

import softmine.kernels.triton
from gpu.compiled_kernels import code_of, variants
from gpu.reference_kernels import REFERENCES

TARGETS = (80, 90, 100)
"""An A100, H100, B200 and what is of their generation."""
MOST_SPILLED = 0
"""Instructions that move registers to memory and back."""
EVERY = {str(variant): variant for variant in variants()}
USUAL = [name for name, variant in EVERY.items() if variant.usual]

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")


def kernels():
    """Names of all kernels; those that only others call begin with an underscore."""
    package = softmine.kernels.triton
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, JITFunction) and not name.startswith("_"):
                yield name


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def check(name, target):
    code = code_of(EVERY[name], target)
    assert code.spilled <= MOST_SPILLED
    assert code.fences == ()
    assert code.short == ()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", USUAL)
def test_a_kernel_compiles(name, target):
    check(name, target)


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [name for name in EVERY if name not in USUAL])
def test_a_kernel_compiles_in_every_shape(name, target):
    check(name, target)


def test_every_kernel_is_compiled_and_has_a_reference():
    names = set(kernels())
    assert {"encode", "scatter", "update_rows"} <= names
    assert {EVERY[name].kernel.fn.__name__ for name in USUAL} == names
    assert set(REFERENCES) == names
