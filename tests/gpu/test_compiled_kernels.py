"""Every Triton kernel compiles for real GPUs, keeps what it works on in registers, and waits for no other's memory."""

import importlib
import pkgutil

import pytest

pytest.importorskip("triton", reason="kernels are compiled only where triton is installed")

from triton.runtime.jit import JITFunction

import softmine.kernels.triton
from gpu.compiled_kernels import TARGETS, code_of, variants
from gpu.reference_kernels import REFERENCES

EVERY = {f"sm_{target} {variant}": (variant, target) for variant in variants() for target in variant.targets}
USUAL = [name for name, (variant, _) in EVERY.items() if variant.usual]

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


def check(name):
    variant, target = EVERY[name]
    code = code_of(variant, target)
    assert code.spilled <= variant.most_spilled
    assert code.fences == ()
    assert code.short == ()
    kernel = variant.kernel.fn.__name__
    assert (code.products > 0) == (kernel == "field_step")
    if kernel in ("scatter", "field_step"):
        # A row's features are added together where the device can.
        assert (code.sums > 1) == (target >= 90 and variant.constants["WIDTH"] > 1)


@pytest.mark.parametrize("name", USUAL)
def test_a_kernel_compiles(name):
    check(name)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in EVERY if name not in USUAL])
def test_a_kernel_compiles_in_every_shape(name):
    check(name)


def test_every_kernel_is_compiled_and_has_a_reference():
    names = set(kernels())
    assert {"encode", "scatter", "update_rows"} <= names
    for target in TARGETS:
        assert {EVERY[name][0].kernel.fn.__name__ for name in USUAL if EVERY[name][1] == target} == names
    assert set(REFERENCES) == names
