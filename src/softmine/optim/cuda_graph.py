"""A training step as a CUDA graph: recorded once, then started by one call instead of a hundred launches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from softmine.errors import SoftmineError

EAGER = 3
"""Steps before the recording: kernels are compiled in them, and optimizers make their state."""


class CapturedStep:
    """A training step, run as a CUDA graph from its fourth call on.

    A small batch's step on a GPU is mostly the host launching kernels; a graph launches them all at once. It repeats what
    the device did, so:

    - What changes from step to step must be in tensors that are changed in place. Samplers without full passes are so, and
      ``RowAdam`` with ``memory=None``, as a graph would freeze the momentum that grows.
    - Numbers of Python are frozen, learning rate and betas among them: give the optimizer ``lr`` as a tensor on the device,
      which schedules and ``set_learning_rate`` change in place.
    - A graph draws, but does not draw ahead: with a ``QuotaMap`` or ``Shuffled``, call ``sampler.refresh()`` between steps,
      before the first and then every ``sampler.period`` of them; otherwise it repeats the same batches.
    - Nothing in the step may wait for the device (``item``, ``print``, copies from the host).

    Args:
        step: draws, computes the loss, runs the backward and the optimizer; returns the loss, ().
        modules: whose buffers and parameters the step changes, such as field and sampler.

    Raises:
        SoftmineError: there is no NVIDIA GPU, or, when called, a step puts a new tensor in the place of a buffer.

    Example::

        rate = torch.tensor(1e-2, device="cuda")
        optimizer = RowAdam(field.parameters(), lr=rate, batch_size=8192, memory=None)
        schedule = CosineSchedule(optimizer, steps=1000)

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

        captured = CapturedStep(step, [field, sampler])
        for _ in range(1000):
            loss = captured()
            schedule.step()
    """

    def __init__(self, step: Callable[[], Tensor], modules: list[nn.Module]) -> None:
        if not torch.cuda.is_available():
            raise SoftmineError("CapturedStep needs an NVIDIA GPU: call the step itself instead")
        self._step, self._modules = step, modules
        self._eager_left = EAGER
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss: Tensor | None = None

    def __call__(self) -> Tensor:
        """One step; returns its loss (), which the next call overwrites."""
        # Streams and graphs are of torch's current GPU.
        with torch.cuda.device(_device_of(self._modules)):
            return self._run()

    def _run(self) -> Tensor:
        if self._eager_left > 0:
            self._eager_left -= 1
            # The recording uses a stream of its own; memory must have been seen on such a one before.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side), unchanged_places(self._modules):
                loss = self._step()
            torch.cuda.current_stream().wait_stream(side)
            return loss
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._step()
        self._graph.replay()
        assert self._loss is not None
        return self._loss


@contextmanager
def unchanged_places(modules: list[nn.Module]) -> Iterator[None]:
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


def _device_of(modules: list[nn.Module]) -> torch.device:
    """The GPU of the first tensor of ``modules`` that is on one, or torch's current one."""
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_cuda:
                return tensor.device
    return torch.device("cuda", torch.cuda.current_device())


def _places(modules: list[nn.Module]) -> dict[str, int]:
    return {
        f"{type(module).__name__}.{name}": tensor.data_ptr()
        for module in modules
        for name, tensor in (*module.named_buffers(), *module.named_parameters())
    }
