"""The GPU kernels of radiance fields compile for real GPUs, without memory for what registers should hold, and without fences."""

import pytest

pytest.importorskip("triton", reason="kernels are compiled only where triton is installed")

from gpu.compiled_kernels import Variant, code_of
from softmine.radiance import gpu, gpu_kernels, gpu_twins

WHOLE = dict.fromkeys(("key", "counter", "stride", "view_starts", "sizes"), "*i64")
SMALL = ("starts", "counts", "new_starts", "new_counts", "new_rays", "rays_of", "cursor", "usage")
FLOATS = (
    "side",
    "step",
    "near",
    "bound",
    "first",
    "last",
    "least",
    "distortion",
    "across",
    "down",
    "height",
    "width",
)
INTEGERS = ("rays", "points", "capacity", "cells", "ray_programs", "count", "views")
CONSTANTS = {
    **{"LARGEST": 80.0, "OPAQUE": 60.0, "STEEPEST": 3e6, "EPSILON": 1e-7, "ENDLESS": 1e10},
    **{"BLOCK": gpu.BLOCK, "COUNT": 32, "KEPT": 16, "WIDTH": 16},
}
FEW = {"RAYS": gpu.FEW}
GIVEN = {"COLOR": True, "OPACITY": True, "DEPTH": True, "WEIGHTS": True}
USUAL = [
    ("march", {"TRAIN": True, **gpu.MARCHED}),
    ("shorten", {"TRAIN": True, **gpu.PACKED}),
    ("repeat", {"FOLD": True}),
    ("color_inputs", {}),
    ("color_inputs_backward", {}),
    ("composite", {"TAIL": True, **gpu.PACKED}),
    ("composite_backward", {"TAIL": True, **gpu.PACKED, **GIVEN}),
    ("mid_gray", {"ALPHA": 1}),
    ("mid_gray_backward", {"ALPHA": 1}),
    ("propose", {"TRAIN": True, "INVERSE": True, "RAYS": gpu.PACKED["RAYS"]}),
    ("resample", {"INVERSE": True, "BEYOND": True, **FEW}),
    ("ray_losses", FEW),
    ("ray_losses_backward", {"INVERSE": True, "BEYOND": True, **FEW}),
    ("photo_pixels", {"CHANNELS": 4}),
    ("photo_rays", {"COEFFICIENTS": 9, "ITERATIONS": 11, "NDC": True}),
]
OTHERS = [
    ("march", {"TRAIN": False, **gpu.MARCHED}),
    ("shorten", {"TRAIN": False, **gpu.PACKED}),
    ("repeat", {"FOLD": False}),
    ("composite", {"TAIL": False, **gpu.PACKED}),
    ("composite_backward", {"TAIL": False, **gpu.PACKED, **GIVEN}),
    ("composite_backward", {"TAIL": True, **gpu.PACKED, **GIVEN, "DEPTH": False, "WEIGHTS": False}),
    ("mid_gray", {"ALPHA": 0}),
    ("mid_gray_backward", {"ALPHA": 0}),
    ("propose", {"TRAIN": False, "INVERSE": False, "RAYS": gpu.PACKED["RAYS"]}),
    ("resample", {"INVERSE": False, "BEYOND": False, **FEW}),
    ("ray_losses_backward", {"INVERSE": False, "BEYOND": False, **FEW}),
    ("photo_pixels", {"CHANNELS": 3}),
    ("photo_rays", {"COEFFICIENTS": 0, "ITERATIONS": 11, "NDC": False}),
    ("photo_rays", {"COEFFICIENTS": 6, "ITERATIONS": 11, "NDC": False}),
]

MOST_SPILLED = {"march": 8}
"""Instructions that move registers to memory and back: 4 of the walk along a ray's cells with Triton 3.7.1, none with 3.9.0."""

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def check(name, constants, target):
    kernel = getattr(gpu_kernels, name)
    constants = {key: value for key, value in {**CONSTANTS, **constants}.items() if key in kernel.arg_names}
    # Numbers are those that their names say; all else is float32 in memory.
    types = {
        **dict.fromkeys(kernel.arg_names, "*fp32"),
        **{**WHOLE, **dict.fromkeys(SMALL, "*i32"), **dict.fromkeys(("occupied", "pixels"), "*u8")},
        **{**dict.fromkeys(FLOATS, "fp32"), **dict.fromkeys(INTEGERS, "i32")},
    }
    code = code_of(Variant(kernel, constants, types), target)
    assert code.spilled <= MOST_SPILLED.get(name, 0)
    assert code.fences == ()


def test_every_kernel_is_compiled_and_has_a_twin():
    from triton.runtime.jit import JITFunction

    found = {
        name
        for name, value in vars(gpu_kernels).items()
        if isinstance(value, JITFunction) and not name.startswith("_")
    }
    assert found == set(gpu_twins.KERNELS) == {name for name, _ in USUAL}


@pytest.mark.parametrize(("name", "constants"), USUAL, ids=[name for name, _ in USUAL])
def test_a_kernel_compiles(name, constants):
    check(name, constants, 90)


@pytest.mark.long
@pytest.mark.parametrize("target", [80, 90, 100])
@pytest.mark.parametrize(("name", "constants"), USUAL + OTHERS)
def test_a_kernel_compiles_in_every_shape(name, constants, target):
    check(name, constants, target)
