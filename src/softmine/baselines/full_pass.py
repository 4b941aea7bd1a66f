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
from softmine.sampling.base import Probe, check_probed
from softmine.sampling.drawing.supply import in_graph

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
    """``function`` at the center of every valid cell, in row-major order: (valid,) or (valid, C)."""
    values = torch.empty(0)
    with torch.no_grad():
        for start in range(0, domain.valid, CHUNK):
            numbers = torch.arange(start, min(start + CHUNK, domain.valid), device=device)
            part = function(valid_centers(domain, numbers))
            if start == 0:
                # Filled in place, because joining parts would need twice the memory.
                values = part.new_empty((domain.valid, *part.shape[1:]))
            values[start : start + len(part)] = part
    return values


def errors(domain: Box, probe: Probe, device: torch.device) -> PerSample:
    """The error of every valid cell, (valid,), or raises SoftmineError where the probe gives something else.

    What is not finite tells nothing, and would come before all others.
    """
    return check_probed(over_cells(domain, probe, device), domain.valid).nan_to_num(0.0, 0.0, 0.0)


def valid_centers(domain: Box, numbers: Cells) -> Coords:
    """Centers (N, D) of the valid cells of these numbers (N,), from 0 to ``domain.valid`` - 1."""
    return domain.centers(domain.nth_valid(numbers))


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
"""Updates from one pass to the next, at most, where the next is found by looking ahead."""
NEVER_LOOKED = (
    "this sampler measures every cell before it chooses: call sampler.refresh(probe) outside of the compiled or recorded "
    "step, before the first one"
)


class PassTimes(nn.Module):
    """Says when the next full pass is due, in updates of the sampler, without waiting for the device."""

    next_pass: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("next_pass", torch.zeros((), dtype=torch.int64))
        self._host_next = 0

    @property
    def next(self) -> int:
        """The update at which the next pass is due, 0 before the first."""
        return int(self.next_pass) if self.next_pass.device.type == "cpu" else self._host_next

    def made(self, step: Tensor, updates: int, interval: int) -> None:
        """Notes that a pass was made, and the next is due ``interval`` updates later.

        Args:
            step: updates so far, a scalar tensor: a compiled or recorded update leaves the host's count as it was.
            updates: the host's count.
            interval: updates, at least 1.
        """
        self.next_pass.copy_(step + max(1, interval))
        self._host_next = updates + max(1, interval)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._host_next = int(self.next_pass)


def pass_if_due(
    times: PassTimes,
    updates: Callable[[], int],
    refresh: Callable[[Probe], None],
    probe: Probe | None,
    sampler: str,
) -> None:
    """Makes the full pass that belongs before this draw, if there is one and a probe to make it with.

    ``updates`` gives the host's count, which a graph could not be made of.

    Raises:
        SoftmineError: there was no pass yet, and no probe is given.
    """
    if in_graph(times.next_pass):
        torch._assert_async(times.next_pass > 0, NEVER_LOOKED)  # pyright: ignore[reportPrivateImportUsage]
    elif updates() >= times.next:
        if probe is not None:
            refresh(probe)
        elif times.next == 0:
            raise SoftmineError(
                f"the sampler {sampler} measures every cell before it chooses: give draw() a probe, such as "
                "softmine.FieldProbe(field, signal)"
            )
