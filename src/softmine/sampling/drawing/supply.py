"""Batches that are drawn several at a time, and used one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

USED_UP = (
    "all batches that were drawn ahead are used up: call sampler.refresh() outside of the compiled or recorded step, "
    "before the first one and then every sampler.period draws"
)


class Supply(nn.Module):
    """Counts the batches that were drawn ahead and those that were taken, without waiting for a device.

    On a CPU the buffers tell. A GPU's are not asked: the host counts too. Inside a compiled graph or a recording only the
    device counts, and nothing can be drawn there; that too many are taken is an error then, and not a repetition. Where
    graphs have taken batches that the host was not told of (``count_replay``), a GPU is asked after all, and waited for, at each
    draw outside of them.

    Whoever takes batches does so outside of ``no_grad``, which the error would leave in force where a graph runs eagerly.
    """

    taken: Tensor
    drawn: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))
        self._taken_on_host = self._drawn_on_host = 0
        self._graphed = False
        # Of the recorded step: the batches that it takes, whether it also draws them, and whether the host is told of its replays.
        self._recorded, self._draws_itself, self._followed = 0, False, False

    @property
    def used_up(self) -> bool:
        """Whether batches must be drawn before the next is taken; never inside a graph, which cannot."""
        if in_graph(self.taken):
            return False
        self._ask()
        return self._taken_on_host >= self._drawn_on_host

    def untouched(self, period: int) -> bool:
        """Whether ``period`` batches were drawn and it is known that none of them was taken."""
        return self.taken.device.type == "cpu" and int(self.drawn) == int(self.taken) + period

    def add(self, period: int) -> None:
        """Notes that ``period`` batches were drawn; any that were left are dropped."""
        self._ask()
        self.drawn.copy_(self.taken + period)
        if in_graph(self.taken):
            self._draws_itself = True
        else:
            self._drawn_on_host = self._taken_on_host + period

    def start_recording(self) -> None:
        """A step that takes batches is about to be recorded; ``count_replay`` will tell of each replay."""
        self._recorded, self._draws_itself, self._followed = 0, False, True

    @property
    def short(self) -> bool:
        """Whether batches must be drawn before the recorded step is replayed, as the host knows it."""
        self._ask()
        # What a step takes is known when it is recorded: one, as far as is known before.
        missing = self._taken_on_host + max(1, self._recorded) > self._drawn_on_host
        return missing and not self._draws_itself

    def count_replay(self) -> None:
        """Notes on the host what a replay of the recorded step takes."""
        self._taken_on_host += self._recorded

    def count_added(self, period: int) -> None:
        """Notes on the host that a replay of another graph than the step's drew ``period`` batches."""
        self._drawn_on_host, self._draws_itself = self._taken_on_host + period, False

    def take(self) -> int | Tensor:
        """The number of the next batch: on the host, or in a graph a scalar tensor."""
        if in_graph(self.taken):
            if self._followed and not torch.compiler.is_compiling():
                self._recorded += 1
            else:
                self._graphed = True
            torch._assert_async(self.taken < self.drawn, USED_UP)  # pyright: ignore[reportPrivateImportUsage]
            number = self.taken.clone()
            self.taken.add_(1)
            return number
        self._ask()
        number = self._taken_on_host
        self.taken.add_(1)
        self._taken_on_host += 1
        return number

    def has(self, number: int | Tensor, period: int) -> bool | Tensor:
        """Whether a batch is one of the last ``period`` that were drawn; a tensor where its number is one."""
        if isinstance(number, Tensor):
            return number >= self.drawn - period
        self._ask()
        return number >= self._drawn_on_host - period

    def may_have(self, number: int | Tensor, period: int) -> bool:
        """As ``has``, without a launch: true where only the device can tell."""
        return isinstance(number, Tensor) or bool(self.has(number, period))

    def _ask(self) -> None:
        """Brings the host's counts up to date, where a device may know better."""
        if not in_graph(self.taken) and (self._graphed or self.taken.device.type == "cpu"):
            self._taken_on_host, self._drawn_on_host = int(self.taken), int(self.drawn)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._taken_on_host, self._drawn_on_host = int(self.taken), int(self.drawn)


def in_graph(tensor: Tensor) -> bool:
    """Whether the code is being compiled, or recorded as a CUDA graph: the host then decides once for all steps."""
    if torch.compiler.is_compiling():
        return True
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def row(values: Tensor, index: Tensor) -> Tensor:
    """A copy of the row of ``values`` (M, ...) at ``index`` (1,)."""
    return values.index_select(0, index)[0]
