"""What every sampler is: it draws a batch, weighs its loss, and learns from its errors."""

from __future__ import annotations

import abc
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from softmine.checks import check_count, check_not_negative
from softmine.domain import Box, Cells, Coords, PerSample, SoftmineError
from softmine.sampling.drawing.supply import Supply, in_graph
from softmine.sampling.random import RandomStream

Probe = Callable[[Coords], PerSample]
"""Error (N,) of the field at coordinates (N, D), without gradient: for samplers that look before they choose."""

MAX_BATCH_SIZE = 2**22


@dataclass(eq=False)
class Batch:
    """One draw, and all that ``weigh`` and ``update`` need to know of it.

    Attributes:
        coords: where to train, (N, D) in [0, 1)^D.
        step: updates that the sampler had seen at the draw, a scalar tensor: the softness of the weights follows from it.
        density: density of the samples over uniform, q/u, (N,); None is one everywhere, or not known.
        cells: of the sampler's map, in which the samples lie, (N,); None where nobody asks.
        number: which draw it is, from 0, where the sampler draws several batches at once. A tensor inside compiled
            graphs and recordings, where the host does not count.
    """

    coords: Coords
    step: Tensor
    density: PerSample | None = None
    cells: Cells | None = None
    number: int | Tensor = 0

    def __len__(self) -> int:
        """Samples, N."""
        return len(self.coords)


class Sampler(nn.Module, abc.ABC):
    """Chooses where to train.

    A training step::

        batch = sampler.draw()                         # batch.coords (N, D) in [0, 1)^D
        residual = field(batch.coords) - signal(batch.coords)
        error = residual.abs().mean(-1)                # (N,)
        weights = sampler.weigh(batch, error)          # (N,), no gradient
        (weights * residual.square().mean(-1)).mean().backward()
        sampler.update(batch, error)

    ``draw`` gives new samples at every call. Any number of batches may be in flight, as in gradient accumulation; each is
    weighed and updated on its own, in any order, and one that is never updated teaches nothing. ``weigh`` changes nothing;
    what a sampler knows changes in ``update`` alone. All state is in buffers: ``state_dict`` resumes exactly.

    A new sampler overrides ``draw``, and ``_learn`` if it learns.

    Args:
        domain: where coordinates live.
        batch_size: samples of a batch, N.
        alpha: softness of the weights ``(u / q)^alpha``: 0 is hard mining, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows linearly from 0 to its target (arXiv 2312.00075: the first 1,000).
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range.
    """

    needs_probe = False
    """Whether ``draw`` must be given a probe."""
    follows_signal = False
    """Whether the signal's own gradient at the drawn coordinates should reach them."""
    recordable = False
    """Whether a CUDA graph can repeat ``draw``, ``weigh`` and ``update``: nothing in them depends on what the host counts or waits for the
    device. ``softmine.fit`` and the commands record steps of samplers whose own class says so; a subclass says it anew."""
    step: Tensor

    def __init__(
        self, domain: Box, batch_size: int, *, alpha: float = 0.0, warmup: int = 0, seed: int | None = None
    ) -> None:
        super().__init__()
        self.domain = check_domain(domain)
        self.batch_size = check_batch_size(batch_size)
        self.target_alpha = check_not_negative("alpha", alpha)
        self.warmup = check_count("warmup", warmup, least=0, most=2**31 - 1)
        self.random = RandomStream(seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._host_step = 0
        # Of a recorded step.
        self._recorded_updates = 0

    @abc.abstractmethod
    def draw(self, probe: Probe | None = None) -> Batch:
        """A new batch; ``probe`` gives the field's error, to samplers that look before they choose."""

    @torch.no_grad()
    def weigh(self, batch: Batch, error: PerSample) -> PerSample:
        """Loss weights ``(u / q)^alpha`` (N,), float32 without gradient; changes nothing.

        Args:
            batch: of this sampler.
            error: importance Q (N,) at its coordinates, not negative: usually ``residual.abs().mean(-1)``.

        Raises:
            SoftmineError: there is not one error for each sample.
        """
        check_error(batch, error)
        if batch.density is None:
            return torch.ones(len(batch), dtype=torch.float32, device=batch.coords.device)
        return batch.density ** -self.alpha_at(batch.step)

    @torch.no_grad()
    def update(
        self,
        batch: Batch,
        error: PerSample,
        *,
        loss: PerSample | None = None,
        loss_scale: float | Tensor = 1.0,
    ) -> None:
        """Learns from a batch, after backward; the only call that changes what the sampler knows.

        Args:
            batch: of this sampler.
            error: as for ``weigh``.
            loss: per-sample loss (N,) that the weights multiplied, where it is not the error squared (a mean over several
                channels is not). It makes the moves of ``Langevin`` exact; no other sampler looks at it.
            loss_scale: what the mean weighted loss was multiplied by before backward, e.g. ``GradScaler.get_scale()``, or 1/K
                in the accumulation of K batches; N if the loss was summed instead of averaged. Only ``Langevin`` looks at it.

        Raises:
            SoftmineError: there is not one error for each sample, or a gradient that the sampler needs is missing.
        """
        error = check_error(batch, error)
        _check_loss_scale(loss_scale)
        self._learn(batch, error, None if loss is None else check_error(batch, loss, "loss"), loss_scale)
        self.step.add_(1)
        if not in_graph(self.step):
            self._host_step += 1
        elif not torch.compiler.is_compiling():
            self._recorded_updates += 1

    def _learn(
        self, batch: Batch, error: PerSample, loss: PerSample | None, loss_scale: float | Tensor
    ) -> None:
        """What ``update`` changes beside the step's number."""

    def check(self) -> None:
        """After the first update: raises SoftmineError if a gradient that the sampler needs was zero or not finite.

        It waits for the device, so that it does not belong in every step. Most samplers need no gradient.
        """

    @property
    def alpha(self) -> Tensor:
        """Softness of the weights of a batch drawn now, a scalar tensor."""
        return self.alpha_at(self.step)

    def alpha_at(self, step: Tensor) -> Tensor:
        """Alpha after ``step`` updates, a scalar tensor."""
        if self.warmup == 0:
            return torch.full_like(step, self.target_alpha, dtype=torch.float32)
        return self.target_alpha * (step.float() / self.warmup).clamp(max=1.0)

    @property
    def updates(self) -> int:
        """Updates so far, as the host knows them without waiting for a device."""
        return int(self.step) if self.step.device.type == "cpu" else self._host_step

    def remark(self) -> str:
        """What whoever reads the results should know of what was drawn, in a sentence, if anything; waits for a device."""
        return ""

    def recording_key(self) -> tuple[object, ...]:
        """Numbers that a CUDA graph of a step freezes (``softmine.optim.CapturedStep``)."""
        return self.batch_size, self.target_alpha, self.warmup

    def start_recording(self) -> None:
        """A CUDA graph of a step is about to be recorded."""
        self._recorded_updates = 0

    def count_replay(self) -> None:
        """Notes on the host what a replay of the recorded step does."""
        self._host_step += self._recorded_updates

    @property
    def short(self) -> bool:
        """Whether ``refresh()`` must come before the next replay, because the batches that were drawn ahead are too few for it."""
        return any(supply.short for supply in self._supplies())

    def count_refresh(self) -> None:
        """Notes on the host what a replay of a recorded ``refresh()`` drew."""
        for supply in self._supplies():
            supply.count_added(getattr(self, "period", 1))

    def _supplies(self) -> list[Supply]:
        return [part for part in self.modules() if isinstance(part, Supply)]

    def extra_repr(self) -> str:
        """Domain and batch size, for ``print``."""
        return f"{self.domain}, batch_size={self.batch_size}"

    def _apply(self, fn: Any, recurse: bool = True) -> Sampler:
        def move(tensor: Tensor) -> Tensor:
            """Only the device may change: half precision is too coarse for coordinates and counts."""
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)
        self.domain.prepare(self.step.device)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._host_step = int(self.step)


def check_batch_size(batch_size: int) -> int:
    """Returns a sensible batch size, or raises SoftmineError."""
    return check_count("batch_size", batch_size, most=MAX_BATCH_SIZE)


def check_domain(domain: Box) -> Box:
    """Returns a domain, or raises SoftmineError."""
    if not isinstance(domain, Box):
        raise SoftmineError(
            f"the domain is a {type(domain).__name__}, but it must be a softmine.Box, such as Box((512, 768)) or image.domain"
        )
    return domain


def _check_loss_scale(scale: float | Tensor) -> None:
    """Raises SoftmineError for what no loss was multiplied by; the number in a tensor is not looked at, as the host would wait."""
    if isinstance(scale, Tensor):
        if scale.numel() != 1:
            raise SoftmineError(
                f"loss_scale is a tensor of shape {tuple(scale.shape)}, but it must be one number: what the whole loss was "
                "multiplied by before backward"
            )
    # Not converted: a whole number may be too large for that.
    elif not (isinstance(scale, numbers.Real) and 0 < scale <= sys.float_info.max):
        raise SoftmineError(
            f"loss_scale is {_short(scale)}, but the loss was multiplied by a positive number before backward"
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} characters)"


def check_error(batch: Batch, error: Tensor, name: str = "error") -> PerSample:
    """Returns what a sampler was given for a batch, in float32 without gradient, or raises SoftmineError."""
    if not isinstance(batch, Batch):
        raise SoftmineError(
            f"the first argument is a {type(batch).__name__}, but it must be the batch that draw() returned: "
            "weigh(batch, error), update(batch, error)"
        )
    if not isinstance(error, Tensor):
        raise SoftmineError(
            f"the {name} is a {type(error).__name__}, but it must be a tensor with one number a sample"
        )
    if error.shape != (len(batch),):
        raise SoftmineError(
            f"there must be one {name} for each of the {len(batch)} samples of the batch, but got the shape "
            f"{tuple(error.shape)}; reduce channels first: residual.abs().mean(-1)"
        )
    if error.device != batch.coords.device:
        raise SoftmineError(
            f"the {name} is on {error.device}, but the batch on {batch.coords.device}: move the sampler with "
            f"sampler.to('{error.device}') before it draws"
        )
    return error.detach().float()


def check_size(batch: Batch, batch_size: int) -> None:
    """Raises SoftmineError where a batch has another size than the sampler's, and so is another sampler's."""
    if len(batch) != batch_size:
        raise SoftmineError(
            f"the batch has {len(batch)} samples, but this sampler draws {batch_size}: update() needs a batch that it drew itself"
        )


def check_probed(errors: Tensor, count: int) -> PerSample:
    """Returns what a probe gave at ``count`` coordinates, or raises SoftmineError where it is not one number each."""
    if errors.shape != (count,):
        raise SoftmineError(
            f"the probe must return one error for each of N coordinates, shape (N,), but {count} coordinates gave the "
            f"shape {tuple(errors.shape)}; reduce channels first: residual.abs().mean(-1)"
        )
    return errors
