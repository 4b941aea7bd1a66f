"""A record of where the samples fell, for people to look at."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from softmine.domain import Box, Coords
from softmine.kernels import bookkeeping_on_device

MOST_CELLS = 96
EVERY = 4
MOST_STRETCHES = 80


class SampleRecord:
    """Counts samples on a coarse grid, one count for each stretch between two evaluations.

    A cell of the domain belongs to the coarse cell that its center lies in, so that uniform samples are even over those.
    One step in four is counted; nothing waits for the device.
    """

    def __init__(self, domain: Box, device: torch.device) -> None:
        longest = max(domain.shape)
        side = MOST_CELLS if domain.dim <= 2 else 24
        scale = min(1.0, side / longest)
        self.domain = domain
        self.grid = Box([max(1, round(size * scale)) for size in domain.shape])
        self.counts = torch.zeros(self.grid.cells, device=device)
        self.stretches: list[tuple[int, int, Tensor]] = []
        self._since = 0
        self._drawn = 0

    def add(self, coords: Coords) -> None:
        """Counts coordinates (N, D)."""
        self._drawn += 1
        if self._drawn % EVERY == 1:
            if bookkeeping_on_device(coords):
                from softmine.kernels.triton.sampling import count_cells

                count_cells(coords, self.domain.shape, self.grid.shape, self.counts)
                return
            cells = torch.zeros(len(coords), dtype=torch.int64, device=coords.device)
            for axis, (fine, size) in enumerate(zip(self.domain.shape, self.grid.shape, strict=True)):
                place = (coords[:, axis] * fine).long().clamp_(0, fine - 1)
                cells = cells * size + (place if size == fine else _coarse(place, fine, size))
            self.counts.scatter_add_(0, cells, torch.ones_like(cells, dtype=self.counts.dtype))

    @property
    def held(self) -> Int[np.ndarray, "..."]:
        """How many cells of the domain with data lie in each cell of the grid, of the grid's shape."""
        sizes = zip(self.domain.shape, self.grid.shape, strict=True)
        coarse = [_coarse(np.arange(fine), fine, size) for fine, size in sizes]
        mask = self.domain.mask
        if mask is None:
            counts = [
                np.bincount(places, minlength=size)
                for places, size in zip(coarse, self.grid.shape, strict=True)
            ]
            return np.asarray(functools.reduce(np.multiply.outer, counts))
        held = mask.numpy()
        for axis, (places, size) in enumerate(zip(coarse, self.grid.shape, strict=True)):
            starts = np.searchsorted(places, np.arange(size))
            held = np.add.reduceat(held, starts, axis=axis, dtype=np.int64)
        return held

    def close(self, step: int) -> None:
        """Ends a stretch at ``step``."""
        if step > self._since:
            self.stretches.append((self._since, step, self.counts.cpu().reshape(self.grid.shape)))
            self.counts = torch.zeros_like(self.counts)
            self._since = step
            if len(self.stretches) > MOST_STRETCHES:
                self._merge()

    def _merge(self) -> None:
        """Joins neighbors two by two, so that a run with many evaluations keeps a small record."""
        pairs = zip(self.stretches[::2], self.stretches[1::2], strict=False)
        joined = [(first, last, one + two) for (first, _, one), (_, last, two) in pairs]
        self.stretches = joined + self.stretches[2 * len(joined) :]

    def state(self) -> dict[str, Tensor]:
        """All closed stretches as tensors, and what is counted since."""
        state = {f"{a}-{b}": counts for a, b, counts in self.stretches}
        return {**state, "open": self.counts, "asked": torch.tensor([self._since, self._drawn])}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes back what ``state`` gave."""
        self.stretches = []
        for name, counts in state.items():
            if name == "open":
                self.counts = counts.to(self.counts)
            elif name == "asked":
                self._since, self._drawn = counts.tolist()
            else:
                first, last = name.split("-")
                self.stretches.append((int(first), int(last), counts))
        self.stretches.sort(key=lambda stretch: stretch[0])


def _coarse(place: Any, fine: int, coarse: int) -> Any:
    """The coarse cells along an axis that the centers of fine ones lie in: int64, an array or a tensor as ``place``."""
    return (2 * place + 1) * coarse // (2 * fine)
