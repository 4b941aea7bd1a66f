"""A pass over every cell of the domain, now and then: what samplers that rank the whole signal rest on.

Cells that a mask leaves out are never visited; the others are numbered in row-major order, and without a mask a
cell's number is the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Box, Cells, Coords, PerSample, SoftmineError
from softmine.sampling.protocol import Probe, check_errors

CHUNK = 2**16
"""Cells evaluated at a time, so that memory does not grow with the signal."""
MAX_CELLS = 2**28
"""Cells of a domain at most: samplers that pass over them hold some numbers for each."""


def check_passable(domain: Box) -> None:
    """Raises SoftmineError where a domain has too many cells to hold numbers for each."""
    if domain.cells > MAX_CELLS:
        raise SoftmineError(
            f"this sampler measures every cell, but {domain} has {domain.cells:,} and the limit is {MAX_CELLS:,}: "
            "choose error-map, whose cells are coarser"
        )


def over_cells(domain: Box, function: Callable[[Coords], Tensor], device: torch.device) -> Tensor:
    """``function`` at the centre of every valid cell, in row-major order: (valid,) or (valid, C)."""
    values = torch.empty(0)
    with torch.no_grad():
        for start in range(0, domain.valid, CHUNK):
            numbers = torch.arange(start, min(start + CHUNK, domain.valid), device=device)
            part = function(valid_centres(domain, numbers))
            if start == 0:
                # Filled in place, because joining parts would need twice the memory.
                values = part.new_empty((domain.valid, *part.shape[1:]))
            values[start : start + len(part)] = part
    return values


def errors(domain: Box, probe: Probe, device: torch.device) -> PerSample:
    """The error of every valid cell, (valid,), or raises SoftmineError where the probe gives something else.

    What is not finite tells nothing, and would come before all others.
    """
    return check_errors(over_cells(domain, probe, device), domain.valid).nan_to_num(0.0, 0.0, 0.0)


def valid_centres(domain: Box, numbers: Cells) -> Coords:
    """Centres (N, D) of the valid cells of these numbers (N,), from 0 to ``domain.valid`` - 1."""
    return domain.centres(domain.nth_valid(numbers))


def on_grid(domain: Box, values: PerSample) -> Tensor:
    """Values (valid,) of the valid cells, on the grid of ``domain.shape``; zero in the others."""
    if not domain.masked:
        return values.view(domain.shape)
    grid = values.new_zeros(domain.cells)
    for numbers in torch.arange(domain.valid, device=values.device).split(CHUNK):
        grid[domain.nth_valid(numbers)] = values[numbers]
    return grid.view(domain.shape)


def from_grid(domain: Box, grid: Tensor) -> PerSample:
    """Values (valid,) of the valid cells from a grid of ``domain.shape``."""
    values = grid.flatten()
    if not domain.masked:
        return values
    numbers = torch.arange(domain.valid, device=values.device)
    return torch.cat([values[domain.nth_valid(part)] for part in numbers.split(CHUNK)])


LONGEST = 100_000
"""Steps from one pass to the next, at most, where the next is found by looking ahead."""


class Schedule(nn.Module):
    """Counts steps and says when the next full pass is due, without waiting for the device.

    The step is a buffer, and so resumes from ``state_dict``; a copy on the host decides.

    Args:
        interval: steps from one pass to the next, given the step of the pass.
    """

    step: Tensor
    next_pass: Tensor

    def __init__(self, interval: Callable[[int], int]) -> None:
        super().__init__()
        self._interval = interval
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("next_pass", torch.zeros((), dtype=torch.int64))
        self.host_step = 0
        self._host_next = 0

    @property
    def due(self) -> bool:
        """Whether a pass belongs before the next draw; never inside a compiled graph, which only draws."""
        return not torch.compiler.is_compiling() and self.host_step >= self._host_next

    @property
    def started(self) -> bool:
        """Whether any pass was made yet."""
        return self._host_next > 0

    def passed(self) -> None:
        """Notes that a pass was made at this step."""
        interval = max(1, self._interval(self.host_step))
        self._host_next = self.host_step + interval
        # From the device's step, because a compiled or recorded update leaves the host's as it was.
        self.next_pass.copy_(self.step + interval)

    def advance(self) -> None:
        """Notes the end of a training step."""
        self.step.add_(1)
        if not torch.compiler.is_compiling():
            self.host_step += 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.host_step, self._host_next = int(self.step), int(self.next_pass)


def pass_if_due(
    schedule: Schedule, refresh: Callable[[Probe], None], probe: Probe | None, sampler: str
) -> None:
    """Makes the full pass that belongs before this draw, if there is one and a probe to make it with.

    Raises:
        SoftmineError: there was no pass yet, and no probe is given.
    """
    if not schedule.due:
        return
    if probe is not None:
        refresh(probe)
    elif not schedule.started:
        raise SoftmineError(
            f"the sampler {sampler} measures every cell before it chooses: give draw() a probe, such as "
            "softmine.FieldProbe(field, signal)"
        )
