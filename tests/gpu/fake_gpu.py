"""A GPU that is none: tensors that say they are on ``cuda:0`` and hold real numbers, computed on the CPU.

What decides whether a program works on a GPU is checked while it runs:

- tensors of two devices that meet raise, as CUDA would (but for 0-dimensional ones and indices, where torch allows it), and
  so does a kernel that is launched on another GPU than its memory's;
- whatever makes the host wait is counted, with the lines of softmine that did it;
- launches are counted: an operator is one, or as many as ``LAUNCHES`` says;
- a Triton kernel does what ``reference_kernels.py`` says in plain torch;
- what CUDA rounds otherwise than a CPU is rounded so: a quotient by a number is a product with its reciprocal;
- ``torch.cuda.graph`` records (``recording.py``), and a replay that uses freed memory raises.

Example::

    with FakeGpu() as gpu:
        field.to("cuda")
        ...
        assert not gpu.waits, gpu.report()
"""

from __future__ import annotations

import collections
import contextlib
import functools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_leaves, tree_map

import softmine
from gpu.recording import Graph, Recording, recorded
from gpu.reference_kernels import RADIANCE, REFERENCES

STAND_IN = "meta"
"""Builds of torch without CUDA know no such device below Python. Its part is played by this one, whose backward runs in the
calling thread; Python is told ``cuda``."""
PLAIN = ("softmine.kernels.encoding", "softmine.kernels.mlp")
"""Modules that ask whether a tensor is a plain one, which here means one of the GPU."""

WAITS = {
    "_local_scalar_dense": "item()",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "bincount": "bincount",
    "equal": "equal",
    "histc": "histc",
}
"""Operators for whose result the host waits."""
ON_HOST = ("_local_scalar_dense", "equal")
"""Operators that return no tensor."""
FREE = frozenset(
    [
        "view",
        "_unsafe_view",
        "expand",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "transpose",
        "permute",
        "t",
        "detach",
        "alias",
        "as_strided",
        "split",
        "split_with_sizes",
        "unbind",
        "narrow",
        "reshape",
        "unflatten",
        "lift_fresh",
        "diagonal",
        "unfold",
        "view_as",
        "_reshape_alias",
        "empty",
        "empty_like",
        "new_empty",
        "empty_strided",
        "new_empty_strided",
        "is_same_size",
        "sym_size",
        "sym_stride",
        "_local_scalar_dense",
        "set_",
        "resize_",
        "lift",
    ]
)
"""Operators that launch nothing."""
LAUNCHES = {
    "constant_pad_nd": 2,
    "nonzero": 4,
    "sort": 4,
    "argsort": 4,
    "topk": 4,
    "cummax": 2,
    "_unique2": 6,
    "repeat_interleave": 3,
    "masked_scatter_": 3,
    "masked_scatter": 4,
}
"""Kernels of an operator, where they are more than one."""
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
NO_NUMBERS = (
    *("cat", "stack", "index_select", "gather", "scatter", "searchsorted", "index_add_", "index_copy_"),
)
"""Operators that take no 0-dimensional tensor from the CPU."""
PACKAGE = str(Path(softmine.__file__).parent)


class WrongDevice(RuntimeError):
    """Tensors of two devices met."""


class Memory:
    """Memory of a GPU; lives as long as a tensor in it does."""

    __slots__ = ("__weakref__", "recorded", "where")

    def __init__(self, where: str, recorded: bool) -> None:
        self.where, self.recorded = where, recorded


class GpuTensor(Tensor):
    """A tensor on the fake GPU: its numbers are in ``held``, a tensor on the CPU."""

    held: Tensor
    memory: Memory
    gpu: int

    @staticmethod
    def __new__(cls, held: Tensor, memory: Memory, gpu: int) -> GpuTensor:
        return Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(STAND_IN, gpu),
        )

    def __init__(self, held: Tensor, memory: Memory, gpu: int) -> None:
        self.held, self.memory, self.gpu = held, memory, gpu

    __torch_function__ = torch._C._disabled_torch_function_impl

    device = property(lambda self: torch.device("cuda", self.gpu))
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def __repr__(self) -> str:
        return f"GpuTensor({self.held!r}, gpu={self.gpu})"

    def numpy(self, *, force=False):
        if not force:
            raise TypeError(
                f"can't convert cuda:{self.gpu} device type tensor to numpy. Use Tensor.cpu() first: {place()}"
            )
        return self.detach().cpu().numpy()

    def tolist(self):
        return self.detach().cpu().tolist()

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def get_device(self) -> int:
        return self.gpu

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __deepcopy__(self, memo):
        with torch.no_grad():
            made = self.clone()
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, self.requires_grad)
        else:
            made.requires_grad_(self.requires_grad)
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        assert FakeGpu.active is not None, f"{func} on a tensor of the fake GPU, which is switched off"
        return FakeGpu.active.run(func, args, kwargs or {})


class FakeGpu:
    """Stands for NVIDIA GPUs while it is entered.

    Args:
        count: how many there are; torch's current one is the first.

    Attributes:
        waits: times that the host waited, by what it did and where.
        launches: kernels started, by name,
        lines: and by place.
        started: numbers of the GPUs that were used at all, each of which takes memory and a second.
        recording: of a CUDA graph, while there is one.
    """

    active: FakeGpu | None = None

    def __init__(self, count: int = 1) -> None:
        self.count, self.current = count, 0
        self.recording: Recording | None = None
        self.wait_warns: str | int = 0
        self._lock = threading.RLock()
        self._stack = contextlib.ExitStack()
        self.reset()

    def reset(self) -> None:
        """Forgets what was counted."""
        self.waits: collections.Counter[str] = collections.Counter()
        self.launches: collections.Counter[str] = collections.Counter()
        self.lines: collections.Counter[str] = collections.Counter()
        self.started: set[int] = set()

    def report(self, steps: int = 1) -> str:
        """Launches and waits a step."""
        lines = [f"{sum(self.launches.values()) / steps:.1f} launches a step"]
        lines += [f"{count / steps:g} waits: {what}" for what, count in self.waits.most_common()]
        lines += [f"{count / steps:g} launches: {where}" for where, count in self.lines.most_common()]
        return "\n".join(lines)

    def __enter__(self) -> FakeGpu:
        assert FakeGpu.active is None
        FakeGpu.active = self
        enter, callback = self._stack.enter_context, self._stack.callback
        callback(setattr, FakeGpu, "active", None)
        callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        for name, value in self._torch_cuda().items():
            enter(mock.patch.object(torch.cuda, name, value))
        for module in PLAIN:
            enter(mock.patch(f"{module}.Tensor", GpuTensor))
        with contextlib.suppress(ImportError):
            from triton.runtime.jit import JITFunction

            enter(mock.patch.object(JITFunction, "run", _launched))
        enter(_Operators(self))
        names, engine = _Names(self), torch.autograd._engine_run_backward

        def run_backward(*args, **kwargs):
            # What runs backward asks for devices too, and a mode is off in what it handles.
            with names:
                return engine(*args, **kwargs)

        enter(mock.patch.object(torch.autograd, "_engine_run_backward", run_backward))
        enter(names)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _torch_cuda(self) -> dict[str, Any]:
        return {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: self.count,
            "current_device": lambda: self.current,
            "device": self._on,
            "set_device": lambda device: setattr(self, "current", self.number(device)),
            "get_device_name": lambda device=None: "Fake GPU",
            "get_device_capability": lambda device=None: (9, 0),
            "synchronize": lambda device=None: self.wait("synchronize"),
            "get_rng_state": self._random_state,
            "set_rng_state": lambda state, device=None: self.started.add(self.number(device)),
            "manual_seed_all": lambda seed: None,
            "Event": _Event,
            "Stream": _Stream,
            "current_stream": lambda device=None: _Stream(self.number(device)),
            "stream": lambda stream: contextlib.nullcontext(),
            "CUDAGraph": Graph,
            "graph": functools.partial(recorded, self),
            "get_sync_debug_mode": lambda: self.wait_warns,
            "set_sync_debug_mode": lambda mode: setattr(self, "wait_warns", mode if mode != "default" else 0),
            "is_current_stream_capturing": lambda: self.recording is not None,
        }

    def number(self, device: Any) -> int:
        """Of the GPU that a device, a number or None means."""
        index = device if isinstance(device, int) or device is None else torch.device(device).index
        index = self.current if index is None else index
        if not 0 <= index < self.count:
            raise WrongDevice(f"CUDA error: invalid device ordinal {index}: {place()}")
        return index

    @contextlib.contextmanager
    def _on(self, device: Any) -> Iterator[None]:
        before, self.current = self.current, self.number(device)
        try:
            yield
        finally:
            self.current = before

    def _random_state(self, device: Any = "cuda") -> Tensor:
        self.started.add(self.number(device))
        return torch.zeros(16, dtype=torch.uint8)

    def wait(self, what: str) -> None:
        """Notes that the host waits, which it cannot in a recording."""
        if self.recording is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {what} at {place()}")
        self.waits[f"{what} at {place()}"] += 1
        if self.wait_warns:
            warnings.warn(f"called a synchronizing CUDA operation: {what} at {place()}", stacklevel=2)

    def launch(self, name: str, count: int = 1) -> None:
        """Notes that a kernel starts."""
        self.launches[name] += count
        self.lines[f"{name} at {place()}"] += count

    def new(self, held: Tensor, gpu: int, memory: Memory | None = None) -> GpuTensor:
        """A tensor on a GPU that holds ``held``, in new memory unless in one that is there."""
        self.started.add(gpu)
        return GpuTensor(held, memory or Memory(place(), self.recording is not None), gpu)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operator."""
        with self._lock:
            return self._run(func, func._schema.name.split("::")[1], args, kwargs)

    def _run(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        leaves = tree_leaves((args, kwargs))
        ours = [item for item in leaves if isinstance(item, GpuTensor)]
        others = [item for item in leaves if isinstance(item, Tensor) and not isinstance(item, GpuTensor)]
        device = kwargs.get("device")
        wanted = device is not None and torch.device(device).type == STAND_IN
        if not ours and not wanted:
            # Memory of the host is pinned where there is CUDA alone.
            return func(*args, **{key: value for key, value in kwargs.items() if key != "pin_memory"})
        if name == "_to_copy":
            return self._move(func, args[0], kwargs)
        if name == "copy_" and others:
            return self._copy(*args)
        if name == "is_pinned":
            return False
        if name == "_pin_memory":
            raise RuntimeError(f"only dense CPU tensors can be pinned: {place()}")
        gpu = self._one_gpu(name, args, ours, others, device if wanted else None)
        self._note_waits(name, args, kwargs)

        def held(item: Any) -> Any:
            if isinstance(item, GpuTensor):
                return item.held
            # A graph freezes numbers of the host.
            return item.clone() if self.recording is not None and isinstance(item, Tensor) else item

        inner, options = tree_map(held, args), tree_map(held, kwargs)
        if device is not None:
            options["device"] = torch.device("cpu")
        options.pop("pin_memory", None)
        call = _as_rounded(func, name, args)
        if self.recording is not None and name not in FREE and func._schema.is_mutable:
            self.recording.keep([item.held for item in ours])
        out = call(*inner, **options)
        if name in ON_HOST or (device is not None and not wanted):
            return out
        memories = {item.held.untyped_storage().data_ptr(): item.memory for item in ours if item.numel()}

        def wrapped(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            memory = memories.get(item.untyped_storage().data_ptr()) if item.numel() else None
            return self.new(item, gpu, memory)

        result = tree_map(wrapped, out)
        if name not in FREE:
            self.launch(name, LAUNCHES.get(name, 1))
            if self.recording is not None:
                made = [item.memory for item in tree_leaves(result) if isinstance(item, GpuTensor)]
                used = [*(item.memory for item in ours), *made]
                self.recording.add(name, call, inner, options, out, used)
        elif name in ("set_", "resize_") and self.recording is not None:
            raise RuntimeError(f"{name} in a recorded step: {place()}")
        return args[0] if name == "set_" else return_and_correct_aliasing(func, args, kwargs, result)

    def _one_gpu(
        self, name: str, args: Any, ours: Sequence[GpuTensor], others: Sequence[Tensor], device: Any
    ) -> int:
        """The GPU on which an operator runs; raises WrongDevice where tensors of two devices meet."""
        for other in others:
            if name in INDEXING and any(other is index for index in args[1]):
                self.wait("an index from the CPU")
            elif other.ndim or name in NO_NUMBERS:
                raise WrongDevice(
                    f"Expected all tensors to be on the same device, but {name} got one on a GPU and one of shape "
                    f"{tuple(other.shape)} on the CPU: {place()}"
                )
        found = {item.gpu for item in ours if item.ndim} or {item.gpu for item in ours[:1]}
        if device is not None and (torch.device(device).index is not None or not found):
            return self.number(torch.device(device).index)
        if len(found) > 1:
            raise WrongDevice(
                f"Expected all tensors to be on the same device, but {name} got some on cuda:"
                f"{' and cuda:'.join(map(str, sorted(found)))}: {place()}"
            )
        return found.pop()

    def _note_waits(self, name: str, args: Any, kwargs: Any) -> None:
        if name in WAITS:
            self.wait(WAITS[name])
        elif name in INDEXING:
            if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
                self.wait("a boolean index")
        elif name == "repeat_interleave" and kwargs.get("output_size") is None:
            self.wait("repeat_interleave without output_size")

    def _move(self, func: Any, source: Tensor, kwargs: Any) -> Tensor:
        """Of another type or on another device."""
        options = {key: value for key, value in kwargs.items() if key not in ("device", "pin_memory")}
        waits = not options.pop("non_blocking", False)
        device = kwargs.get("device")
        to_gpu = device is not None and torch.device(device).type == STAND_IN
        if not isinstance(source, GpuTensor):
            self._transfer("to the GPU", source, waits)
            return self.new(func(source, **options), self.number(torch.device(device).index))
        if device is not None and not to_gpu:
            self._transfer("to the CPU", source, waits)
            return func(source.held, **options)
        index = torch.device(device).index if to_gpu else None
        made = func(source.held, **options)
        result = self.new(made, source.gpu if index is None else self.number(index))
        self.launch("_to_copy")
        if self.recording is not None:
            memories = (source.memory, result.memory)
            self.recording.add("_to_copy", func, (source.held,), options, made, memories)
        return result

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        """Between the CPU and a GPU."""
        if isinstance(target, GpuTensor):
            self._transfer("to the GPU", source, True)
            target.held.copy_(source)
        else:
            assert isinstance(source, GpuTensor)
            self._transfer("to the CPU", source, not non_blocking)
            target.copy_(source.held)
        return target

    def _transfer(self, way: str, tensor: Tensor, waits: bool) -> None:
        if waits or self.recording is not None:
            self.wait(f"copy {way} of {tuple(tensor.shape)} {tensor.dtype}")

    def kernel(self, kernel: Any, args: Sequence[Any], kwargs: Any) -> None:
        """Launches a Triton kernel on torch's current GPU."""
        name = kernel.fn.__name__
        reference = REFERENCES.get(name) or RADIANCE.get(name)
        if reference is None:
            raise LookupError(f"the Triton kernel {name} has no reference in tests/gpu/reference_kernels.py")
        given = dict(zip(kernel.arg_names, args, strict=False))
        given |= {key: value for key, value in kwargs.items() if key in kernel.arg_names}
        ours = [item for item in given.values() if isinstance(item, GpuTensor)]
        for key, item in given.items():
            if isinstance(item, Tensor) and not isinstance(item, GpuTensor):
                raise WrongDevice(f"the Triton kernel {name} got {key} on the CPU: {place()}")
            if isinstance(item, GpuTensor) and item.gpu != self.current:
                raise WrongDevice(
                    f"the Triton kernel {name} is launched on cuda:{self.current}, torch's current device, with {key} on "
                    f"cuda:{item.gpu}: {place()}"
                )
        held = {
            key: item.held.detach() if isinstance(item, GpuTensor) else item for key, item in given.items()
        }
        self.launch(f"triton {name}")

        def call() -> None:
            reference(**held)

        with self._lock, torch.no_grad(), _disable_current_modes():
            if self.recording is not None:
                self.recording.keep([item.held for item in ours])
                self.recording.add(name, call, (), {}, None, [item.memory for item in ours])
            call()


class _Operators(TorchDispatchMode):
    """Sees every operator, also those that make tensors."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.gpu.run(func, args, kwargs or {})


class _Names(TorchFunctionMode):
    """Takes ``cuda`` for the stand-in on the way down."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func is torch.device:
            return func(*args, **kwargs)
        device = self._stand_in(kwargs.get("device"))
        if name in ("tensor", "as_tensor", "asarray") and device is not None:
            made = func(*args, **{**kwargs, "device": None})
            return made if isinstance(made, GpuTensor) else made.to(device)
        if name == "new_tensor" and isinstance(args[0], GpuTensor):
            made = torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs, "device": None})
            return made.to(device or torch.device(STAND_IN, args[0].gpu))
        if name == "cuda" and args and isinstance(args[0], Tensor):
            return args[0].to(torch.device(STAND_IN, self.gpu.number(args[1] if len(args) > 1 else None)))
        if any(self._stand_in(item) for item in args):
            args = tuple(self._stand_in(item) or item for item in args)
        return func(*args, **({**kwargs, "device": device} if device is not None else kwargs))

    def _stand_in(self, device: Any) -> torch.device | None:
        """What stands for a GPU; None where no GPU is meant."""
        if isinstance(device, str) and device.startswith("cuda"):
            device = torch.device(device)
        if not isinstance(device, torch.device) or device.type != "cuda":
            return None
        return torch.device(STAND_IN, self.gpu.number(device))


class _Event:
    def __init__(self, enable_timing: bool = False) -> None:
        pass

    def record(self, stream: _Stream | None = None) -> None:
        assert FakeGpu.active is not None
        FakeGpu.active.started.add((stream or torch.cuda.current_stream()).gpu)  # pyright: ignore[reportAttributeAccessIssue]

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: _Event) -> float:
        return 1.0

    def synchronize(self) -> None:
        pass


class _Stream:
    def __init__(self, gpu: Any = None) -> None:
        assert FakeGpu.active is not None
        self.gpu = FakeGpu.active.number(gpu)

    def wait_stream(self, other: _Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


def _launched(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
    """Stands for ``JITFunction.run``."""
    assert FakeGpu.active is not None
    FakeGpu.active.kernel(kernel, args, kwargs)


def _as_rounded(func: Any, name: str, args: Sequence[Any]) -> Callable:
    """An operator as CUDA rounds it: a quotient by a number of the host is a product with its reciprocal.

    Source: ``BinaryDivTrueKernel.cu`` of torch.
    """
    if name not in ("div", "div_") or len(args) != 2 or func._overloadname not in ("Tensor", "Scalar"):
        return func
    if isinstance(args[1], Tensor) and (args[1].ndim or isinstance(args[1], GpuTensor)):
        return func

    def by_reciprocal(dividend: Tensor, divisor: Any) -> Tensor:
        kind = torch.result_type(dividend, divisor)
        kind = kind if kind.is_floating_point else torch.get_default_dtype()
        exact = torch.float64 if kind == torch.float64 else torch.float32
        reciprocal = torch.ones((), dtype=exact) / torch.as_tensor(divisor, dtype=exact)
        quotient = (dividend.to(exact) * reciprocal).to(kind)
        return dividend.copy_(quotient) if name == "div_" else quotient

    return by_reciprocal


def place() -> str:
    """The innermost lines of softmine on the stack."""
    frame, found = sys._getframe(1), []
    while frame is not None and len(found) < 3:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            found.append(f"{name[len(PACKAGE) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(found) or "(outside)"
