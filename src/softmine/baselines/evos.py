"""Cells that survive by their fitness, and mutate: EVOS (Zhang et al., CVPR 2025, arXiv 2412.10153)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from softmine.baselines.full_pass import (
    LONGEST,
    PassTimes,
    from_grid,
    on_grid,
    over_cells,
    pass_if_due,
    valid_centers,
)
from softmine.baselines.ranking import Shuffle, ability, check_cells, spread
from softmine.checks import check_count, check_share
from softmine.domain import Box, PerSample, Values
from softmine.sampling.base import Batch, Probe, Sampler

LUMA = (0.2989, 0.587, 0.114)
"""What red, green and blue add to grey (ITU-R BT.601), as in the source."""
HIGH_WEIGHT = 1e-5
"""Weight of the squared error of the Laplacian against the squared error, the source's."""


class EVOS(Sampler):
    """Trains on parents, the fittest cells of a pass now and then, and on mutants, drawn anew at every step.

    A cell is fit by its low frequencies, the squared error, and by its high frequencies, the squared error of the
    Laplacian. Crossover takes as parents the cells that are among the l fittest by both, and fills up to l from those
    that are by one only, in proportion to the two mean fitnesses. Mutants are uniform among the other cells.

    Source: EVOS (arXiv 2412.10153) and its released code. What differs, and why:

    - At key iterations the source trains on every cell, as it has evaluated them all; a batch here always holds N, so
      that steps cost the same and samplers compare.
    - Its loss also has a Laplacian term for the first 1,500 steps (cross-frequency supervision). That is a loss and
      not a choice of where to train, so it is left out: the source's row "EVOS w/o CFS".
    - The Laplacian of the error stands for the difference of Laplacians, which it equals; neither is clipped.
    - With other than two axes it is the Laplacian along all of them, and grey is the mean of other than three channels.
    - Along discrete axes there are no neighbors, and where a mask leaves cells out the error is zero, as beyond the grid.
    - Mutants are taken from a random order of all cells that a pass makes new, so that those of one step are uniform
      and those of neighboring steps do not repeat each other; the source's are independent from step to step. Where the
      order ends before the next pass, it is gone through in another stride.

    Args:
        domain: where coordinates live.
        batch_size: cells a step, N, at most all of them.
        mutation_share: share of the batch that is mutants.
        first_interval: steps between passes at the start. A pass comes at step t, counted from 1, when
            ``t % int(first_interval + (last_interval - first_interval) * t / steps)`` is 1.
        last_interval: steps between passes at the end of the run, and after it.
        steps: length of the run; the source's is 5,000.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: the batch holds more cells than there are, or a setting is out of range.

    Example:
        >>> import softmine
        >>> image, field = softmine.Image(torch.rand(8, 8)), softmine.Siren(2, 1)
        >>> sampler = EVOS(image.domain, batch_size=16)
        >>> sampler.draw(softmine.FieldProbe(field, image)).coords.shape
        torch.Size([16, 2])
    """

    needs_probe = True
    parents: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        mutation_share: float = 0.5,
        first_interval: int = 100,
        last_interval: int = 50,
        steps: int = 5000,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, check_cells(batch_size, domain), seed=seed)
        self.mutants = int(check_share("mutation_share", mutation_share) * batch_size)
        self.first_interval = check_count("first_interval", first_interval, least=2, most=LONGEST)
        self.last_interval = check_count("last_interval", last_interval, least=2, most=LONGEST)
        self.steps = check_count("steps", steps)
        self.passes = PassTimes()
        self.shuffle = Shuffle(torch.arange(domain.valid))
        self.shuffle.again(self.random)
        self.register_buffer("parents", spread(domain, batch_size - self.mutants))

    def refresh(self, probe: Probe) -> None:
        """Chooses new parents by a pass over every cell; ``draw`` does so when it is due, except in a compiled graph.

        Raises:
            SoftmineError: the probe has no ``residual``.
        """
        residual = over_cells(self.domain, ability(probe, "residual", "evos"), self.parents.device)
        residual = residual.nan_to_num(0.0, 0.0, 0.0)
        self.parents.copy_(crossover(*fitness(residual, self.domain), len(self.parents)))
        self.shuffle.again(self.random)
        self.passes.made(self.step, self.updates, self._interval(self.updates))

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Batch:
        """The centers of cells: parents, then mutants. Batches in flight share their parents.

        Without a probe the last pass serves on, for loops that call ``refresh`` themselves.

        Raises:
            SoftmineError: there was no pass yet, and no probe is given.
        """
        pass_if_due(self.passes, lambda: self.updates, self.refresh, probe, "evos")
        cells = torch.cat((self.parents, self.shuffle.next_except(self.mutants, self.parents)))
        return Batch(valid_centers(self.domain, cells), self.step.clone())

    def _interval(self, step: int) -> int:
        return next(later for later in itertools.count(step + 1) if self._is_key(later + 1)) - step

    def _is_key(self, count: int) -> bool:
        """Whether the step of this number, counted from 1 as in the source, begins with a pass."""
        progress = min(count / self.steps, 1.0)
        return count % int(self.first_interval + (self.last_interval - self.first_interval) * progress) == 1


def fitness(residual: Values, domain: Box) -> tuple[PerSample, PerSample]:
    """Low-frequency and high-frequency fitness (N,) of every valid cell, given the error (N, C) of values in [0, 1].

    In the source's units, on which the proportion between the two depends: signals run over [-1, 1] in the first,
    greys over [0, 255] in the second.
    """
    low = (2 * residual).square().mean(-1)
    if residual.shape[-1] == len(LUMA):
        # Number by number: a tensor of them would make the host wait for the device.
        red, green, blue = residual.unbind(-1)
        grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    else:
        grey = residual.mean(-1)
    axes = [axis for axis in range(domain.dim) if axis not in domain.discrete]
    high = HIGH_WEIGHT * laplacian(on_grid(domain, 255 * grey), axes).square()
    return low, from_grid(domain, high)


def laplacian(values: Tensor, axes: Sequence[int]) -> Tensor:
    """Sum of the direct neighbors along D axes less 2 D times the value; zero beyond the grid, as in the source."""
    total = -2 * len(axes) * values
    for axis in axes:
        size = values.shape[axis]
        total.narrow(axis, 1, size - 1).add_(values.narrow(axis, 0, size - 1))
        total.narrow(axis, 0, size - 1).add_(values.narrow(axis, 1, size - 1))
    return total


def crossover(low: PerSample, high: PerSample, count: int) -> Tensor:
    """The ``count`` parents (count,), sorted, by two fitnesses (N,) of every cell.

    How many cells both lists hold is known to the device only, so that the lists are marked and not cut.
    """
    fittest = [values.topk(count).indices for values in (low, high)]
    among = [torch.zeros_like(low, dtype=torch.bool).index_fill(0, cells, True) for cells in fittest]
    both = among[0] & among[1]
    missing = count - both.sum()
    total = (low.mean() + high.mean()).clamp_min(torch.finfo(low.dtype).tiny)
    from_low = (missing * (low.mean() / total)).long()
    chosen = both
    for cells, quota in zip(fittest, (from_low, missing - from_low), strict=True):
        single = ~both[cells]
        admitted = single & (single.cumsum(0) <= quota)
        chosen = chosen.scatter(0, cells, chosen[cells] | admitted)
    # Exactly that many are chosen: a list holds as many single cells as the other, and the quotas add up to them.
    return chosen.byte().topk(count).indices.sort().values
