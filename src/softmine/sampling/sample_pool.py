"""The samples of many steps, drawn at once, and what was seen at them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softmine.domain import Cells, Coords, PerSample, SoftmineError
from softmine.sampling.random import RandomStream

UNSEEN = -1.0


class SamplePool(nn.Module):
    """Batches for ``period`` steps, each spread evenly over all samples that were drawn for them.

    The first batches may be small: ``growth`` times smaller than ``batch_size``, doubled from one period to the next.

    Args:
        period: batches.
        batch_size: samples of a batch, at most, N.
        dim: axes of a coordinate, D.
        growth: how many times smaller the first batches are, at least 1.
        least: samples of the first batches, at least, if ``batch_size`` is not less.
    """

    coords: Tensor
    cells: Tensor
    density: Tensor
    seen: Tensor
    first: Tensor
    batch: Tensor

    def __init__(self, period: int, batch_size: int, dim: int, growth: int = 1, least: int = 1) -> None:
        super().__init__()
        self.period, self.batch_size = period, batch_size
        # The size of the batches now, on the host too, where shapes are decided.
        self.size = min(batch_size, max(least, batch_size // growth))
        self.register_buffer("coords", torch.zeros(period, batch_size, dim))
        self.register_buffer("cells", torch.zeros((period, batch_size), dtype=torch.int64))
        self.register_buffer("density", torch.ones(period, batch_size))
        self.register_buffer("seen", torch.full((period, batch_size), UNSEEN))
        self.register_buffer("first", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("batch", torch.tensor(self.size))

    @property
    def total(self) -> int:
        """Samples in all batches now."""
        return self.period * self.size

    @property
    def next_size(self) -> int:
        """Samples of a batch after ``grow``."""
        return min(self.batch_size, 2 * self.size)

    def grow(self) -> None:
        """Doubles the batches, if they are not yet of full size; to be filled again."""
        self.size = self.next_size
        self.batch.fill_(self.size)

    def forget(self) -> None:
        """Notes that nothing was seen yet."""
        self.seen.fill_(UNSEEN)

    def fill(self, cells: Cells, coords: Coords, density: PerSample, random: RandomStream) -> None:
        """Takes ``total`` samples in order: every ``period``-th is of one batch, and chance says whose turn comes first.

        What was seen at the samples before should have been taken up, and forgotten.
        """
        for pool, values in ((self.cells, cells), (self.coords, coords), (self.density, density)):
            batches = values.view(self.size, self.period, *values.shape[1:]).transpose(0, 1)
            pool[:, : self.size].copy_(batches)
        # The batches lie side by side in every stretch of the samples.
        self.first.copy_((random.uniform(1, 1).view(1) * self.period).long())

    def take(self, step: Tensor) -> tuple[Coords, PerSample]:
        """Coordinates (N, D) and density over uniform (N,) of the batch of a step, which is a scalar tensor."""
        if self.size < self.batch_size and not torch.compiler.is_compiling() and self._recorded():
            raise SoftmineError(
                "a CUDA graph would keep the size that batches have now, but they are still growing: make the sampler "
                "with growth=1"
            )
        turn = self._turn(step)
        coords = self.coords[:, : self.size].index_select(0, turn)[0]
        return coords, self.density[:, : self.size].index_select(0, turn)[0]

    def note(self, step: Tensor, seen: PerSample) -> None:
        """Keeps what was seen (N,) at the batch of a step."""
        self.seen[:, : self.size].index_copy_(0, self._turn(step), seen.unsqueeze(0))

    def in_order(self) -> tuple[Cells, PerSample]:
        """Cells and what was seen in them, (total,) each, samples of one cell side by side; negative where nothing was."""
        return self.cells[:, : self.size].T.reshape(-1), self.seen[:, : self.size].T.reshape(-1)

    def _recorded(self) -> bool:
        """Whether a CUDA graph is being recorded."""
        return self.coords.device.type == "cuda" and torch.cuda.is_current_stream_capturing()

    def _turn(self, step: Tensor) -> Tensor:
        """Which batch is the one of a step, (1,)."""
        return (step + self.first) % self.period

    def _apply(self, fn: Any, recurse: bool = True) -> SamplePool:
        kept = {name: getattr(self, name) for name in ("coords", "density", "seen")}
        super()._apply(fn, recurse)
        # Only the device may change: half precision is too coarse.
        for name, values in kept.items():
            setattr(self, name, values.to(self.cells.device))
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.size = int(self.batch)
