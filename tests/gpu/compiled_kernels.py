"""Triton kernels compiled ahead of time for real GPUs, as they would be launched, and what their machine code holds.

Alone, for a Triton that is installed elsewhere: ``python tests/gpu/compiled_kernels.py 80 90``.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from softmine.kernels.triton import adam, field_kernels, kernels, sampling_kernels

FLOATS = (
    "coords table out grad sums records rate targets density limit weights w1 b1 w2 b2 w3 b3 of_w1 of_b1 of_w2 of_b2 of_w3 "
    "of_b3 of_features of_values errors losses loss centers values all_coords all_density all_limit seen counts"
)
TYPES = {
    **dict.fromkeys(FLOATS.split(), "*fp32"),
    **{f"{name}{index}": "*fp32" for name in "pgmst" for index in range(8)},
    **dict.fromkeys(("resolutions", "offsets", "time", "step", "first_bad", "first"), "*i64"),
    **dict.fromkeys(("drawn", "key", "counter", "step_out"), "*i64"),
    **dict.fromkeys(("touched", "flags"), "*i32"),
    **dict.fromkeys(("known", "stored"), "*u8"),
    **dict.fromkeys(("factor", "beta1", "beta2", "epsilon", "growth"), "fp32"),
    **dict.fromkeys(("alpha", "warmup", "kept", "share", "zero", "span"), "fp32"),
}
"""All other arguments are int32."""
SHAPES = ((1, 1), (2, 2), (3, 2), (4, 8))
"""Axes and features of hash grids."""
TARGETS = (80, 90, 100)
"""An A100, H100, B200 and what is of their generation."""
BLOCKS = {80: (32, 4, 162), 90: (128, 8, 0), 100: (32, 4, 4)}
"""Points and warps of a program of ``field_step``, and instructions that it spills, on each (the most of Triton 3.0, 3.7 and 3.9)."""
OWN = ("MEMBAR.ALL.CTA", "FENCE.VIEW.ASYNC")
"""Fences that wait for the program's own memory only, as matrix products need."""


class Variant(NamedTuple):
    """A kernel as it is launched.

    Attributes:
        constants: its constants.
        types: of arguments that are not the usual ones.
        usual: whether this stands for all variants of the kernel where time is short; of each kernel one does for each target.
        warps: of a program.
        targets: GPUs that run it.
        most_spilled: instructions that move registers to memory and back, at most.
    """

    kernel: Any
    constants: Mapping[str, Any]
    types: Mapping[str, str] = {}
    usual: bool = False
    warps: int = 4
    targets: tuple[int, ...] = TARGETS
    most_spilled: int = 0

    def __str__(self) -> str:
        words = [f"{key}={value}" for key, value in (*self.constants.items(), *self.types.items())]
        return f"{self.kernel.fn.__name__}({', '.join(words)})"


class Code(NamedTuple):
    """Machine code of a kernel.

    Attributes:
        spilled: instructions that move registers to memory and back.
        fences: instructions that wait for memory that other processors see.
        short: products with the number of points in 32 bits, which a large batch exceeds.
        sums: features that one instruction adds to memory.
        products: matrix products on tensor cores.
    """

    spilled: int
    fences: tuple[str, ...]
    short: tuple[str, ...]
    sums: int
    products: int


def variants() -> Iterator[Variant]:
    """Every kernel, in the shapes that differ in kind."""
    half = {"table": "*fp16"}
    yield Variant(kernels.nothing, {}, usual=True)
    for dim, width in SHAPES:
        sizes, usual = {"DIM": dim, "WIDTH": width, "BLOCK": 128}, dim == 2
        yield Variant(kernels.encode, sizes, usual=usual)
        yield Variant(kernels.encode, sizes, half)
        axes = 1 << (dim - 1).bit_length()
        yield Variant(kernels.gradient_of_coords, {**sizes, "AXES": axes}, usual=usual)
        rows = {"MARK": True, "LIST": True, "STRIDE": 1 << (3 * width + 1).bit_length(), "FIRST": 2 * width}
        yield Variant(kernels.scatter, {**sizes, **rows}, usual=usual)
    plain = {"MARK": False, "LIST": False, "STRIDE": 2, "FIRST": 0}
    yield Variant(kernels.scatter, {"DIM": 2, "WIDTH": 2, "BLOCK": 128, **plain})
    for steps, listed, of in ((True, True, {}), (True, False, {}), (True, True, half), (False, True, {})):
        stride = 1 << ((4 if of else 3) * 2 + 1).bit_length()
        sizes = {
            "ADAM": steps,
            "LISTED": listed,
            "HALF": bool(of),
            "WIDTH": 2,
            "STRIDE": stride,
            "BLOCK": 128,
        }
        yield Variant(kernels.update_rows, sizes, of, usual=steps and listed and not of)
    yield Variant(adam.adam, {"CLEAR": True, "BLOCK": 256}, usual=True)
    yield Variant(sampling_kernels.random_numbers, {"UNIFORM": True, "BLOCK": 256}, usual=True)
    yield Variant(sampling_kernels.random_numbers, {"UNIFORM": False, "BLOCK": 256}, {"out": "*i64"})
    for on_device in (False, True):
        where = {"ON_DEVICE": on_device, "BLOCK": 256}
        of = {"number": "*i64"} if on_device else {}
        yield Variant(
            sampling_kernels.take_batch, {"LIMIT": True, "DIM": 2, **where}, of, usual=not on_device
        )
        yield Variant(sampling_kernels.note_errors, where, of, usual=not on_device)
    yield Variant(sampling_kernels.count_cells, {"DIM": 2, "BLOCK": 256}, usual=True)
    yield Variant(field_kernels.finish, {"BLOCK": 256}, usual=True)
    cells = {"DIM": 2, "CHANNELS": 3, "WIDTH": 4, "BLOCK": 128}
    for known in (False, True):
        yield Variant(field_kernels.take_cells, {"KNOWN": known, **cells}, usual=known)
    shape = {"DIM": 2, "LEVELS": 16, "WIDTH": 2, "INPUTS": 32, "HIDDEN": 64, "CHANNELS": 3, "OUTPUTS": 16}
    step = {"TRAIN": True, "WEIGHTS": 2, "LIMIT": True, "PRODUCT": "bf16", **shape}
    for target, (block, warps, most) in BLOCKS.items():
        sizes = {**step, "BLOCK": block}
        yield Variant(field_kernels.field_step, sizes, {}, True, warps, (target,), most)


def code_of(variant: Variant, target: int) -> Code:
    """Compiles a kernel for ``sm_<target>``."""
    kernel, constants = variant.kernel, dict(variant.constants)
    types = {**TYPES, **variant.types}
    types = {name: types.get(name, "i32") for name in kernel.arg_names if name not in constants}
    aligned = [index for index, name in enumerate(kernel.arg_names) if types.get(name, "").startswith("*")]
    made = compile(
        _source(kernel, types, constants, aligned),
        target=GPUTarget("cuda", target, 32),
        options={"num_warps": variant.warps},
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
        ran = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True)
    spilled = len(re.findall(r"\b(?:STL|LDL)\b", ran.stdout))
    fences = sorted(set(re.findall(r"\b(?:MEMBAR|ERRBAR|CCTL\.IVALL|FENCE)[\w.]*", ran.stdout)))
    fences = [fence for fence in fences if not fence.startswith(OWN)]
    sums = max([1, *map(int, re.findall(r"\bREDG?\.\S*F32x(\d)", ran.stdout))])
    products = len(re.findall(r"\b(?:HMMA|HGMMA|UTC\w*MMA)\b", ran.stdout))
    lines = made.asm["ttir"].splitlines()
    short = [line for line in lines if "muli" in line and "%points" in line and "i64" not in line]
    return Code(spilled, tuple(fences), tuple(short), sums, products)


def _source(kernel: Any, types: dict[str, str], constants: dict[str, Any], aligned: list[int]) -> ASTSource:
    known = inspect.signature(ASTSource.__init__).parameters
    if "constexprs" in known:
        signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        attrs = {(index,): [["tt.divisibility", 16]] for index in aligned}
        return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attrs)
    # Triton before 3.2.
    from triton.compiler.compiler import AttrsDescriptor  # pyright: ignore[reportAttributeAccessIssue]

    return ASTSource(
        fn=kernel,
        signature=types,
        constants=constants,
        attrs=AttrsDescriptor(divisible_by_16=tuple(aligned), equal_to_1=()),
    )  # pyright: ignore[reportCallIssue]


if __name__ == "__main__":
    print(f"Triton {triton.__version__}")
    for target in map(int, sys.argv[1:]):
        for variant in (each for each in variants() if target in each.targets):
            print(f"sm_{target} {variant}: {code_of(variant, target)}", flush=True)
