"""Error diffusion over the cells of a map: each accumulates its expected number of samples, and is drawn when that reaches one."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from softmine.domain import Cells, PerSample
from softmine.sampling.density.piecewise import sum_type
from softmine.sampling.random import RandomStream, mixed, to_uniform

VARIATION = 0.5
"""How much more or less than one visit a visit counts, together: without, cells of equal density would come in step for good."""


class Allocation(nn.Module):
    """What every cell has accumulated: its density adds to it, a visit takes about one away, and a cell with one is visited.

    Independent draws leave a third of the cells out that should have been visited once, and visit a quarter twice or more.
    With error diffusion the visits of a cell differ little from their expectation, however long the run, as those of a shuffled
    data set do, which is the special case of a density that is everywhere alike: the gradient has less noise at the same cost.
    Each cell starts with a random part of a visit, so that the first draw has just the density that it should.

    Where the density of a cell depends on what its own visits find, later draws are not independent of it: a cell whose
    density falls at a visit has its next one only when the new density is due. Visits weighted by the inverse of the density then give the
    mean over all cells within a quarter while each cell has had fewer than five visits, with up to a third of the weight missing, and within 2% later
    (tests/sampling/quota_map/test_weights.py). To start a cell anew with the chance by which its density fell brought half of the weight back,
    but no more PSNR.

    Args:
        count: cells.
        turns: keep count of the visits, for ``offsets``.
        random: where the first parts come from.
    """

    accumulated: Tensor
    visits: Tensor | None

    def __init__(self, count: int, random: RandomStream, turns: bool = False) -> None:
        super().__init__()
        accumulated = torch.empty(count, dtype=torch.float32)
        for part in accumulated.split(2**16):
            part.copy_(random.uniform(len(part), 1).view(-1))
        self.register_buffer("accumulated", accumulated)
        self.register_buffer("visits", torch.zeros(count, dtype=torch.int32) if turns else None)

    def draw(
        self, density: PerSample, total: int, random: RandomStream, volume: PerSample | None = None
    ) -> Tensor:
        """``total`` cells (total,), ascending, for a density over uniform (count,).

        Args:
            density: its mean over all cells, weighted by their volumes, is one.
            total: visits.
            random: which cells are drawn of those that are due.
            volume: of the cells, in units of the mean (count,); None is all alike.
        """
        # Visits cost one on average; what a long run adds up to beside that is taken back from all alike.
        accumulated = self.accumulated.sub_(self.accumulated.mean() - 0.5)
        visits = total / len(accumulated)
        if volume is None:
            accumulated.add_(density, alpha=visits)
        else:
            accumulated.addcmul_(density, volume, value=visits)
        # Nearly as many are due as are wanted. The few too many, evenly spread, wait; or some are visited once more.
        nth = torch.arange(total, dtype=sum_type(accumulated.device), device=accumulated.device)
        nth.add_(random.uniform(1, 1).view(1)).div_(total)
        on_host = accumulated.device.type == "cpu" and not torch.compiler.is_compiling()
        cells = (_listed if on_host else _found)(accumulated, nth)
        # Sixteen bits of chance are plenty, and a random word has four times as many.
        chance = random.bits((total + 3) // 4).view(torch.int16)[:total].float()
        cost = chance.mul_(VARIATION * 2.0**-16).sub_(1.0)
        accumulated.index_add_(0, cells, cost)
        return cells

    def offsets(self, cells: Cells, dim: int, random: RandomStream) -> list[Tensor]:
        """Where in each of the cells drawn (N,) its sample lies: D offsets in [0, 1), (N,) each.

        With ``turns``, from visit to visit of a cell the next point of a sequence that fills it evenly (the R sequence
        of M. Roberts, 2018, from a start of its own in each cell), so that what a cell holds is not visited at random either. Its next
        place is then not independent of what the last ones told a map: where errors within one cell differ much, those that are large
        weigh too much: where one cell of four has all of the error and each visit is most of what the map remembers, a mean of squared
        errors is up to two and a half times too large, and that of the weights an eighth; less where a map follows slowly
        (tests/sampling/quota_map/test_weights.py). Places at random weigh right and cost 0.6 to 1.5 dB (docs/evidence.md, research log, 49).
        """
        total = len(cells)
        if self.visits is None:
            numbers = to_uniform(random.bits((total * dim + 1) // 2))[: total * dim].view(dim, total)
            return list(numbers.unbind(0))
        order = torch.arange(total, dtype=torch.int32, device=cells.device)
        again = torch.nn.functional.pad(cells[1:] == cells[:-1], (1, 0))
        turn = self.visits.index_select(0, cells) + order - torch.where(again, 0, order).cummax(0).values
        self.visits.index_add_(0, cells, torch.ones_like(order))
        words = [mixed(random.key + (dim + 1) // 2 * cells + half) for half in range((dim + 1) // 2)]
        # A word has bits for the starts along two axes.
        starts = (words[axis // 2] >> 24 * (axis % 2) for axis in range(dim))
        return [
            (start.to(torch.int32) + turn * step).bitwise_and_(0xFFFFFF).float().mul_(2.0**-24)
            for start, step in zip(starts, _steps(dim), strict=True)
        ]


def _listed(accumulated: Tensor, nth: Tensor) -> Tensor:
    """The cells (N,) of visits ``nth`` (N,), in [0, 1) of all; each cell (count,) is due as many as it has accumulated whole ones."""
    # NumPy takes a sixth of torch's time for either list.
    some = (accumulated.numpy() >= 1).nonzero()[0]
    if not len(some):
        # However few are drawn, someone is next.
        return accumulated.argmax().expand(len(nth))
    # Whole numbers of these only: of the whole map they take longer than the rest of this.
    times = accumulated.index_select(0, torch.from_numpy(some)).clamp_(max=len(nth)).to(torch.int32)
    visits = torch.from_numpy(some.repeat(times.numpy()))
    return visits.index_select(0, nth.mul_(len(visits)).long().clamp_(max=len(visits) - 1))


def _found(accumulated: Tensor, nth: Tensor) -> Tensor:
    """The same by search, which takes twice as long on a CPU, but neither waits for a device nor depends on a length."""
    due = accumulated.clamp(0, len(nth)).to(torch.int32)
    most = accumulated.argmax().view(1)
    upto = due.scatter_(0, most, due[most].clamp_min(1)).cumsum(0, dtype=torch.int32)
    visits = torch.minimum((nth * upto[-1]).to(torch.int32), upto[-1] - 1)
    return torch.searchsorted(upto, visits, right=True)


@functools.cache
def _steps(dim: int) -> list[int]:
    """How far a turn goes along each axis, in units of 2^-24."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dim + 1))
    return [round(root ** -(axis + 1) * 2**24) for axis in range(dim)]
