"""A record of where the samples fell, for people to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.domain import Box, Coords

MOST_CELLS = 96
EVERY = 4
MOST_STRETCHES = 80


class SampleRecord:
    """Counts samples on a coarse grid, one count for each stretch between two evaluations.

    One step in four is counted; nothing waits for the device.
    """

    def __init__(self, domain: Box, device: torch.device) -> None:
        longest = max(domain.shape)
        side = MOST_CELLS if domain.dim <= 2 else 24
        scale = min(1.0, side / longest)
        self.grid = Box([max(1, round(size * scale)) for size in domain.shape])
        self.counts = torch.zeros(self.grid.cells, device=device)
        self.stretches: list[tuple[int, int, Tensor]] = []
        self._since = 0
        self._drawn = 0

    def add(self, coords: Coords) -> None:
        """Counts coordinates (N, D)."""
        self._drawn += 1
        if self._drawn % EVERY == 1:
            cells = self.grid.cell(coords)
            self.counts.scatter_add_(0, cells, torch.ones_like(cells, dtype=self.counts.dtype))

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
