"""A training step as a CUDA graph: recorded once, then started by one call instead of a hundred launches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from softmine.errors import SoftmineError, warn_once

EAGER = 3
"""Steps before the first recording: kernels are compiled in them, and optimizers make their state."""
AGAIN = 8
"""Eager steps before a later one, which costs about as much as so many: what has just changed may change again."""

Part = nn.Module | torch.optim.Optimizer
"""What a step changes."""
_recorders: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
"""By parts that count: which step was recorded with them last."""


@runtime_checkable
class HasKey(Protocol):
    """A part that holds numbers which a recording freezes."""

    def recording_key(self) -> tuple[object, ...]:
        """These numbers: where they change, the step is recorded anew."""
        ...


@runtime_checkable
class CountsReplays(Protocol):
    """A part whose host counts what a step does."""

    def start_recording(self) -> None:
        """A step is about to be recorded, which counts nothing."""
        ...

    def count_replay(self) -> None:
        """Counts what the recorded step does."""
        ...


@runtime_checkable
class DrawsAhead(Protocol):
    """A sampler that draws several batches at once, which a recorded step only takes."""

    recordable: bool

    @property
    def short(self) -> bool:
        """Whether those that are left are too few for a replay."""
        ...

    def refresh(self) -> None:
        """Draws ahead."""
        ...

    def count_refresh(self) -> None:
        """Counts what a recorded ``refresh`` does."""
        ...


class CapturedStep:
    """A training step, run as a CUDA graph from its fourth call on.

    A small batch's step on a GPU is mostly the host launching kernels; a graph launches them all at once. It repeats what
    the device did, and here is seen to it that this is right:

    - Learning rates of the optimizers are moved into tensors on the device, in which schedules, ``set_learning_rate`` and torch's
      schedulers change them.
    - Samplers that draw ahead (``QuotaMap``, ``Shuffled``) do so between replays, in a graph of their own.
    - What the host counts, it counts on: updates, draws, the optimizer's steps.
    - Before each replay it is looked at whether anything is another than was recorded: a parameter, buffer or state that was
      replaced or frozen, betas (those of ``RowAdam`` grow at the beginning), batch sizes, the room for a radiance field's points.
      Then some steps run as they are, and the step is recorded anew.
    - A step in which the host waits for the device (``item``, ``print``, copies) cannot be recorded. A warning says so, once, and where
      it waits; it goes on to run as it is.

    Numbers that your own code holds are frozen: what changes from step to step must be in tensors that are changed in place.
    Samplers that pass over the whole signal now and then (``recordable`` is False) do so only where you call
    ``sampler.refresh(probe)`` between steps.

    Args:
        step: draws, computes the loss, runs the backward and the optimizer; returns the loss, ().
        parts: whatever the step changes: field, sampler and optimizer.

    Raises:
        SoftmineError: there is no NVIDIA GPU, a part is neither module nor optimizer, an optimizer of torch is not ``capturable``; or,
            when called, a step puts a new tensor in the place of a buffer.

    Attributes:
        refusal: why the step runs as it is and is not recorded; empty where it is, or will be.
        replayed: whether the last call was a replay.

    Example::

        def step():
            batch = sampler.draw()
            residual = field(batch.coords) - signal(batch.coords)
            error = residual.detach().abs().mean(-1)
            loss = (sampler.weigh(batch, error) * residual.square().mean(-1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sampler.update(batch, error)
            return loss.detach()

        captured = CapturedStep(step, [field, sampler, optimizer])
        for _ in range(1000):
            loss = captured()
            schedule.step()
    """

    def __init__(self, step: Callable[[], Tensor], parts: Sequence[Part]) -> None:
        if not torch.cuda.is_available():
            raise SoftmineError("CapturedStep needs an NVIDIA GPU: call the step itself instead")
        for part in parts:
            if not isinstance(part, nn.Module | torch.optim.Optimizer):
                raise SoftmineError(
                    f"a part of the step is a {type(part).__name__}, but it must be a module or an optimizer: "
                    "CapturedStep(step, [field, sampler, optimizer])"
                )
            if not all(_recordable(group) for group in getattr(part, "param_groups", ())):
                raise SoftmineError(
                    f"a CUDA graph would freeze the rate and the steps of this {type(part).__name__}, which are numbers of the host: make it "
                    "with capturable=True, or if it has no such option with fused=True, or take softmine.optim.RowAdam"
                )
        self._step = step
        self._modules = [part for part in parts if isinstance(part, nn.Module)]
        self._optimizers = [part for part in parts if isinstance(part, torch.optim.Optimizer)]
        self._device = _device_of(self._modules)
        self._rates = _Rates(self._optimizers, self._device)
        self._watched = _Watched(self._modules, self._optimizers)
        self._refreshes: dict[Any, _Refresh] = {}
        self.refusal = ""
        self.replayed = False
        self._token = object()
        self._eager_left = EAGER
        self._key: object = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stale = False
        self._loss: Tensor | None = None

    def __call__(self) -> Tensor:
        """One step; returns its loss (), which the next call overwrites."""
        self.replayed = False
        if self.refusal:
            return self._step()
        # Streams and graphs are of torch's current GPU.
        with torch.cuda.device(self._device):
            return self._run()

    def _run(self) -> Tensor:
        self._rates.follow()
        key = self._watched.key()
        if key != self._key:
            # At least two: the first pays for what is new, and the last is looked at.
            self._eager_left = AGAIN if self._graph is not None else max(self._eager_left, 2)
            # The old graph is kept until the next is there, which takes its memory over.
            self._key, self._stale = key, True
            self._refreshes.clear()
        elif self._graph is not None and not self._stale and self._recorded_by_another():
            self._eager_left, self._stale = AGAIN, True
        if self._eager_left > 0:
            return self._run_eagerly()
        self._draw_ahead()
        if self._graph is None or self._stale:
            self._record()
            if self.refusal:
                return self._step()
            # Now it is known how many batches a step takes.
            self._draw_ahead()
        for part in self._watched.counting:
            part.count_replay()
        assert self._graph is not None
        assert self._loss is not None
        self._graph.replay()
        self.replayed = True
        return self._loss

    def _run_eagerly(self) -> Tensor:
        """The step as it is, looked at whether it can be recorded."""
        self._eager_left -= 1
        last = self._eager_left == 0
        # The recording uses a stream of its own; memory must have been seen on such a one before.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), unchanged_places(self._modules), _waits_noted(last) as waits:
            loss = self._step()
        torch.cuda.current_stream().wait_stream(side)
        if waits:
            self._refuse(f"the host waits for the GPU in it ({waits[0]})")
        self._watched.look()
        return loss

    def _draw_ahead(self) -> None:
        for sampler in self._watched.ahead:
            if not sampler.short:
                continue
            self._refreshes.setdefault(sampler, _Refresh(sampler))()
            if sampler.short:
                raise SoftmineError(
                    f"a step draws more batches from its {type(sampler).__name__} than that draws at once: choose a longer period"
                )

    def _recorded_by_another(self) -> bool:
        """Whether another step was recorded since with one of these parts, which now count what that one does."""
        return any(_recorders.get(part) is not self._token for part in self._watched.counting)

    def _record(self) -> None:
        for part in self._watched.counting:
            part.start_recording()
            _recorders[part] = self._token
        graph = torch.cuda.CUDAGraph()
        pool = None if self._graph is None else self._graph.pool()
        try:
            # Other threads may use the GPU meanwhile, to show how far training is.
            with (
                unchanged_places(self._modules),
                torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
            ):
                self._loss = self._step()
        except SoftmineError:
            raise
        except RuntimeError as error:
            self._refuse(str(error).strip().partition("\n")[0])
            return
        self._graph, self._stale = graph, False

    def _refuse(self, reason: str) -> None:
        self.refusal, self._graph = reason, None
        warn_eager(reason)


class _Refresh:
    """Draws ahead, by a graph from the second time on."""

    def __init__(self, sampler: DrawsAhead) -> None:
        self._sampler = sampler
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self) -> None:
        if not self._warm:
            self._warm = True
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._sampler.refresh()
            torch.cuda.current_stream().wait_stream(side)
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._sampler.refresh()
        self._graph.replay()
        self._sampler.count_refresh()


class _Rates:
    """Keeps the learning rates of optimizers in tensors on the device, one for all groups whose rate is the same."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], device: torch.device) -> None:
        self._optimizers, self._device = optimizers, device
        self._held: dict[int, Tensor] = {}
        # Tensors of the host that somebody may go on to fill, and what was last in them.
        self._sources: dict[int, tuple[Tensor, float]] = {}
        self.follow()

    def follow(self) -> None:
        """Takes up rates that were set since, as numbers or tensors, and those of groups that were added."""
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        given, made = {id(group): group["lr"] for group in groups}, {}
        for group in groups:
            key, rate = id(group), group["lr"]
            held = self._held.get(key)
            if held is None or rate is not held:
                self._sources.pop(key, None)
                group["lr"] = self._held[key] = self._taken(key, rate, given, made)
                group.setdefault("initial_lr", float(rate) if held is None else group["lr"])
            elif key in self._sources:
                source, last = self._sources[key]
                if float(source) != last:
                    self._sources[key] = source, float(source)
                    held.fill_(float(source))

    def _taken(self, key: int, rate: Any, given: dict[int, Any], made: dict[float, Tensor]) -> Tensor:
        """The tensor for the rate of a group: the one that it had, unless another group is to have another rate in it."""
        if isinstance(rate, Tensor) and rate.device.type == "cuda":
            return rate
        held, number = self._held.get(key), float(rate)
        if isinstance(rate, Tensor):
            self._sources[key] = rate, number
        sharing = [other for other, tensor in self._held.items() if tensor is held and other != key]
        if held is not None and all(_same(given.get(other), rate) for other in sharing):
            return held.fill_(number)
        if number not in made:
            made[number] = torch.tensor(number, device=self._device)
        return made[number]


def _same(one: Any, other: Any) -> bool:
    """Whether two rates are the same tensor, or numbers that are equal."""
    return one is other or (not isinstance(one, Tensor) and not isinstance(other, Tensor) and one == other)


def _recordable(group: dict[str, Any]) -> bool:
    """Whether an optimizer's group takes its rate from, and counts its steps on, the device."""
    return "row_wise" in group or bool(group.get("capturable") or group.get("fused"))


class _Watched:
    """What a recording depends on, and what follows its replays.

    Attributes:
        counting: parts that count replays.
        ahead: samplers that draw ahead.
    """

    def __init__(self, modules: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._tops, self._optimizers = modules, optimizers
        self.look()

    def look(self) -> None:
        """Looks what there is, which takes longer than to see whether it has changed."""
        modules = {id(module): module for top in self._tops for module in top.modules()}.values()
        self._modules = list(modules)
        parts = [*modules, *self._optimizers]
        self._keyed = [part for part in parts if isinstance(part, HasKey)]
        self.counting = [part for part in parts if isinstance(part, CountsReplays)]
        self.ahead = [part for part in modules if isinstance(part, DrawsAhead) and part.recordable]
        self._children = [module._modules for module in modules if module._modules]
        held = [store for module in modules for store in (module._parameters, module._buffers)]
        self._tensors = [store for store in held if store]

    def key(self) -> tuple[object, ...]:
        """Equal to what it was as long as a recording is right."""
        return (
            [
                (tensor.data_ptr(), tensor.requires_grad, tensor.grad is None)
                for store in self._tensors
                for tensor in store.values()
                if tensor is not None
            ],
            [id(child) for children in self._children for child in children.values()],
            [(module.training, _hooks_of(module)) for module in self._modules],
            [part.recording_key() for part in self._keyed],
            [self._of_optimizer(optimizer) for optimizer in self._optimizers],
        )

    def _of_optimizer(self, optimizer: torch.optim.Optimizer) -> tuple[object, ...]:
        states = [
            value.data_ptr()
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        groups = [(len(group["params"]), id(group["lr"])) for group in optimizer.param_groups]
        if isinstance(optimizer, HasKey):
            return states, groups
        numbers = [
            value
            for group in optimizer.param_groups
            for name, value in group.items()
            if name not in ("params", "lr", "initial_lr") and not isinstance(value, Tensor)
        ]
        return states, groups, numbers


def warn_eager(reason: str) -> None:
    """Says once why steps are not recorded as a CUDA graph."""
    warn_once(f"training steps are not recorded as a CUDA graph, and so take longer: {reason}")


def _hooks_of(module: nn.Module) -> int:
    """How many hooks a module has."""
    return sum(
        map(
            len,
            (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            ),
        )
    )


@contextmanager
def _waits_noted(wanted: bool) -> Iterator[list[str]]:
    """Where the host waits for the device, as torch says it, if ``wanted``."""
    found: list[str] = []
    if not wanted:
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode(before)
    for warning in seen:
        if "synchronizing CUDA operation" in str(warning.message):
            found.append(f"line {warning.lineno} of {warning.filename}")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def unchanged_places(modules: Sequence[nn.Module]) -> Iterator[None]:
    """In it, no buffer or parameter of ``modules`` may be replaced; it may be changed in place.

    Raises:
        SoftmineError: one was replaced: a graph would keep using the old one.
    """
    before = _places(modules)
    yield
    after = _places(modules)
    replaced = [name for name, place in before.items() if after.get(name) != place]
    if replaced:
        raise SoftmineError(
            f"the step replaces {', '.join(replaced)}, which a graph cannot repeat: change it in place (copy_)"
        )


def _device_of(modules: Sequence[nn.Module]) -> torch.device:
    """The GPU of the first tensor of ``modules`` that is on one, or torch's current one."""
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_cuda:
                return tensor.device
    return torch.device("cuda", torch.cuda.current_device())


def _places(modules: Sequence[nn.Module]) -> dict[str, int]:
    return {
        f"{type(module).__name__}.{name}": tensor.data_ptr()
        for module in modules
        for name, tensor in (*module.named_buffers(), *module.named_parameters())
    }
