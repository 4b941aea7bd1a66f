"""CUDA graphs of the fake GPU: what ran is run again in the same memory, and memory that is gone by then is found out."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves


class FreedMemory(RuntimeError):
    """A replay uses memory that existed before the recording and was given back since: on a GPU somebody else has it now."""


class Node(NamedTuple):
    """A kernel of a graph."""

    name: str
    again: Callable[[], Any]
    own: tuple[Any, ...]
    """Memory of the graph itself, which lives as long as it does."""
    foreign: tuple[tuple[weakref.ref, str], ...]
    """All other memory, and where it was allocated."""


class Graph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    def __init__(self, keep_graph: bool = False) -> None:
        self.nodes: list[Node] = []
        self.replays = 0

    def replay(self) -> None:
        """Raises FreedMemory where a kernel would use memory that is gone."""
        self.replays += 1
        with torch.no_grad(), _disable_current_modes():
            for node in self.nodes:
                for memory, where in node.foreign:
                    if memory() is None:
                        raise FreedMemory(f"{node.name} uses freed memory, allocated at {where}")
                node.again()

    def reset(self) -> None:
        self.nodes = []

    def pool(self) -> tuple[int, int]:
        return id(self), 0


class Recording:
    """What a graph will repeat; on a GPU nothing runs yet, so what is written meanwhile is put back at the end."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(self, tensors: Sequence[Tensor]) -> None:
        """Called before tensors of the CPU are written to."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                whole = torch.empty(0, dtype=torch.uint8).set_(storage)
                self._before[storage.data_ptr()] = (whole, whole.clone())

    def add(
        self, name: str, call: Callable, args: Any, kwargs: Any, out: Any, memories: Sequence[Any]
    ) -> None:
        """Notes a call on tensors of the CPU and what it returned."""
        held = {id(memory): memory for memory in memories}.values()
        old = [item for item in tree_leaves(out) if isinstance(item, Tensor)]

        def again() -> None:
            new = [item for item in tree_leaves(call(*args, **kwargs)) if isinstance(item, Tensor)]
            for before, after in zip(old, new, strict=True):
                if before.untyped_storage().data_ptr() != after.untyped_storage().data_ptr():
                    before.copy_(after)

        own = tuple(memory for memory in held if memory.recorded)
        foreign = tuple((weakref.ref(memory), memory.where) for memory in held if not memory.recorded)
        self.nodes.append(Node(name, again, own, foreign))

    def end(self) -> None:
        """Puts back what was written."""
        with torch.no_grad(), _disable_current_modes():
            for whole, before in self._before.values():
                whole.copy_(before)


@contextlib.contextmanager
def recorded(gpu: Any, graph: Graph, **_: Any) -> Iterator[None]:
    """Stands for ``torch.cuda.graph``."""
    gpu.recording = Recording()
    try:
        yield
    finally:
        recording, gpu.recording = gpu.recording, None
        graph.nodes = recording.nodes
        recording.end()
