"""Errors that stand alone: which samples show what no field should learn, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from softmine.domain import Cells, PerSample
from softmine.sampling.density.importance import MOST
from softmine.sampling.density.map_cells import MapCells

# An error stands alone that exceeds those of its neighbors, and is large. Whether there are any is told strictly, by the second
# largest of the neighbors' (a line of one cell's width has two neighbors), and which they are loosely, by the third.
STRICT, LOOSE = 4.0, 1.5
LEFT = 3.0
"""A large error is left where it exceeds the largest of its neighbors' three times, had they fallen since as the usual one has."""
LEVEL, HALF, LEAST_LEVEL = 8.0, 0.5, 3.0
"""A large error is eight times the usual one; or half of what was usual at first, where that is less, but three times what is."""
KEPT = 0.02
"""Part of the weight that a sample keeps whose error stands alone."""
LITTLE, MUCH = 0.65, 0.85
"""Shares of the squared error that stands strictly alone: up to the first nothing is doubted, from the second on all is."""
SOME_LEFT, MOST_LEFT = 0.6, 0.75
"""Shares of the large errors that are left: up to the first no doubt comes, from the second on as much as stands alone."""
NEARLY_ALL_LEFT, ALL_LEFT = 0.9, 0.98
"""Shares of the large errors that are left: up to the first doubt goes freely, from the second on it stays where some are huge."""
LARGE_ENOUGH = 0.1
"""Share of the squared error in large errors that tells how many of them are left."""
HUGE, SOME_HUGE, MUCH_HUGE = 16.0, 0.02, 0.08
"""A huge error is sixteen times the usual one, or as ``HALF`` and ``LEAST_LEVEL`` say, as those of defects soon are; shares of the squared error in
them up to which what is left holds no doubt, and from which on it does."""
FEW_LEFT, MANY_LEFT, SOME_LARGE, MUCH_LARGE, QUICKLY = 0.4, 0.6, 0.2, 0.3, 3.0
"""Large errors are structure where few of them are left, up to the first share wholly and from the second on not, and where they hold much of the
squared error, up to the third share not and from the fourth on wholly: then doubt goes three times as fast."""
FASTEST, SLOWLY = 0.5, 0.1
"""What a period adds to the doubt, at most, and what it takes from it."""
FALLEN, EARLIER = 5.0, 0.25
"""Before the usual error has fallen to a fifth of the first none could stand out, and that none does counts a fourth."""
FAR = 3.0
"""An error counts as no more than this times the usual one in what is usual."""
NO_DOUBT, LITTLE_DOUBT, SELDOM = 0.02, 0.25, 4
"""Doubts below which errors count as they are, and below which the neighbors, which take as long as all else, are looked at less and
less often: in every fourth period at last."""
ENOUGH = 2**13
"""Samples that the doubt follows, about; more would tell no more."""
TINY = 1e-30
DIGITS = 19
"""Binary digits of a float32 that comparisons of neighbors leave out."""
MIDDLE = 96
"""The code of the usual error: there are six octaves below it and ten above."""


class Outliers(nn.Module):
    """Tells errors that can be learned from those that cannot: noise stands alone, and structure does not.

    A defect (a black or white pixel, a click, a wrong voxel) keeps an error that its neighbors have not, until the field has learned it by heart
    and spoiled what lies around it. Samples in proportion to the error make it do just that. But a detail that is only just
    being learned may stand alone as well. So there is a *doubt*, from 0 to 1, that follows the share of the squared error of new samples that
    stands alone, and stays while all that is large is left behind by what falls around it, and some of it is huge. Without doubt, errors
    count as they are. In doubt none counts more than its neighbors make plausible, and samples whose error stands alone keep a fiftieth of
    their weight. At the start, where nothing was seen twice, everything is doubted.

    A signal most of whose error is in single cells, such as stars that are one pixel wide, looks the same and is learned late.

    Source: this project. Rank filters are how salt and pepper are removed from pictures, and losses that redescend are Tukey's.

    Args:
        cells: of the map.
        error: expected in each cell before anything was seen, (count,).
    """

    doubt: Tensor
    usual: Tensor
    first: Tensor
    base: Tensor
    plausible: Tensor
    surely_plausible: Tensor
    largest: Tensor
    known: Tensor
    periods: Tensor
    places: Tensor | None

    def __init__(self, cells: MapCells, error: PerSample) -> None:
        super().__init__()
        self.shape = cells.grid.shape
        discrete = cells.domain.discrete
        self.axes = [axis for axis, size in enumerate(self.shape) if size > 1 and axis not in discrete]
        self.register_buffer("doubt", torch.ones((), dtype=torch.float32))
        self.register_buffer("usual", error.mean())
        # The usual error of the first samples; below zero before.
        self.register_buffer("first", torch.full((), -1.0, dtype=torch.float32))
        # What the neighbors of each cell make plausible, loosely and strictly, and the largest of their errors, as codes.
        self.register_buffer("base", torch.zeros((), dtype=torch.int32))
        self.register_buffer("plausible", torch.zeros(cells.count, dtype=torch.uint8))
        self.register_buffer("surely_plausible", self.plausible.clone())
        self.register_buffer("largest", self.plausible.clone())
        self.register_buffer("known", torch.zeros(cells.count, dtype=torch.uint8))
        self.register_buffer("periods", torch.zeros((), dtype=torch.int64))
        places = None if cells.masked is None else cells.masked.outer.nth(torch.arange(cells.count))
        self.register_buffer("places", places, persistent=False)

    @property
    def strength(self) -> Tensor:
        """How far errors count as something else, from 0 to 1: a scalar tensor, wholly from a doubt of one half."""
        return (2 * self.doubt).clamp(max=1)

    def limit(self, cells: Cells) -> PerSample:
        """Errors that do not stand alone yet in cells (N,), (N,); ``MOST`` where nothing is doubted."""
        limit = torch.maximum(LOOSE * self._decoded(self.plausible.index_select(0, cells)), self._large())
        return limit.div_(self.strength.clamp_min(TINY)).clamp_(max=MOST)

    def learn(self, cells: Cells, remembered: PerSample, seen: PerSample, share: PerSample) -> None:
        """Lets the doubt follow new errors.

        Args:
            cells: where they were seen, (N,).
            remembered: what the map held there, (N,).
            seen: the errors (N,).
            share: of the domain that each stands for (N,), 0 if it tells nothing.
        """
        # Cells come in their order: every n-th sample tells of all of the domain.
        stride = max(1, len(cells) // ENOUGH)
        known = (share > 0).to(torch.uint8)
        before = self.known.index_select(0, cells[::stride])
        self.known.scatter_reduce_(0, cells, known, "amax")
        cells, seen, share = cells[::stride], seen[::stride], share[::stride]
        remembered = remembered[::stride]
        # Nothing was learned from batches that were never updated, or have no error at all.
        usual = usual_error(seen, share)
        some = usual > TINY
        self.usual.copy_(torch.where(some, usual, self.usual))
        level = self._large()
        self.first.copy_(torch.where((self.first < 0) & some, self.usual, self.first))
        # What is seen for the first time has neighbors of which little is known.
        again = share * before
        squared = again * (seen / seen.max().clamp_min(TINY)).square()
        squared = squared / squared.sum().clamp_min(TINY)
        second = self._decoded(self.surely_plausible.index_select(0, cells))
        largest = self._decoded(self.largest.index_select(0, cells))
        fallen = (usual / usual_error(remembered, share).clamp_min(TINY)).clamp(max=1)
        alone = (squared * (seen > torch.maximum(STRICT * second, level))).sum()
        left = (squared * (seen > torch.maximum(LEFT * fallen * largest, level))).sum()
        large = (squared * (seen > level)).sum()
        left = left / large.clamp_min(LARGE_ENOUGH)
        huge = (squared * (seen > self._above(HUGE))).sum()
        target = between(alone, LITTLE, MUCH) * between(left, SOME_LEFT, MOST_LEFT)
        rate = ((again > 0).sum() * (stride / len(self.known))).clamp(max=FASTEST)
        # A field may learn a defect by heart before it is seen twice: doubt goes more slowly than it comes.
        sure = torch.where(self.usual * FALLEN < self.first, 1.0, EARLIER)
        structure = between(large, SOME_LARGE, MUCH_LARGE) * (1 - between(left, FEW_LEFT, MANY_LEFT))
        sure = torch.maximum(sure, QUICKLY * structure)
        held = between(left, NEARLY_ALL_LEFT, ALL_LEFT) * between(huge, SOME_HUGE, MUCH_HUGE)
        slowly = rate.clamp(max=SLOWLY) * sure * (1 - held)
        self.doubt.lerp_(target, torch.where(target > self.doubt, rate, slowly))

    def importance(self, error: PerSample, room: PerSample) -> PerSample:
        """Writes what the errors (count,) of all cells count as into ``room`` (count,) and returns it."""
        self.periods.add_(1)
        on_host = error.device.type == "cpu" and not torch.compiler.is_compiling()
        # A device would have to be waited for.
        doubt = float(self.doubt) if on_host else 1.0
        every = min(SELDOM, int(LITTLE_DOUBT / max(doubt, NO_DOUBT)))
        if every < 2 or int(self.periods) % every == 0:
            wanted = (self.largest, self.surely_plausible, self.plausible)
            for codes, found in zip(wanted, self._neighbors(error), strict=True):
                codes.copy_(found)
        if doubt < NO_DOUBT:
            return room.copy_(error)
        torch.minimum(error, self._decoded(self.plausible), out=room)
        return torch.lerp(error, room, self.strength, out=room)

    def _large(self) -> Tensor:
        """From where on an error is large, a scalar tensor."""
        return self._above(LEVEL)

    def _above(self, times: float) -> Tensor:
        """So many times the usual error; half of what was usual at first, where that is less, but at least three times what is: a scalar tensor."""
        level = torch.minimum(times * self.usual, HALF * self.first).maximum(LEAST_LEVEL * self.usual)
        return torch.where(self.first > 0, level, times * self.usual)

    def _neighbors(self, error: PerSample) -> list[Tensor]:
        """For each cell the second, third and fourth largest error of it and its neighbors, (count,); along a single axis the second twice
        and the third.

        Where a cell exceeds its neighbors, these are the first, second and third largest of theirs. As codes
        of one byte, sixteen times the logarithm to base 2, about, they compare eight times as fast.
        """
        self.base.copy_(_bits(self.usual) - MIDDLE)
        codes = _bits(error).sub_(self.base).clamp_(1, 255).to(torch.uint8)
        # Along a single axis, neighbors are two to each side.
        reach, ranks = (2, (1, 1, 2)) if len(self.axes) == 1 else (1, (1, 2, 3))
        # With a margin, all neighbors to one side are one piece of memory, and none of them needs to be copied.
        padded = codes.new_zeros(
            [size + 2 * reach * (axis in self.axes) for axis, size in enumerate(self.shape)]
        )
        inner = padded
        for axis in self.axes:
            inner = inner.narrow(axis, reach, self.shape[axis])
        if self.places is None:
            inner.copy_(codes.view(self.shape))
        else:
            inner.copy_(
                codes.new_zeros(self.shape).view(-1).index_copy_(0, self.places, codes).view(self.shape)
            )
        strides = [padded.stride(axis) for axis in self.axes]
        largest = _ranked(padded.view(-1), strides, reach, ranks)
        # Without the margins at both ends, the first is the first cell, and the last is the last.
        found = [each.as_strided(self.shape, padded.stride()).reshape(-1) for each in largest]
        if self.places is not None:
            found = [each.index_select(0, self.places) for each in found]
        # Without any neighbors nothing stands alone.
        return found if len(found) == len(ranks) else len(ranks) * [torch.zeros_like(codes)]

    def _decoded(self, codes: Tensor) -> PerSample:
        """The errors (N,) that codes (N,) stand for, up to a sixteenth too small; ``MOST`` where there are no such neighbors, or none tells."""
        errors = codes.to(torch.int32).add_(self.base).bitwise_left_shift_(DIGITS).view(torch.float32)
        # Less than one is none, and the last is of all errors that are larger.
        return errors.masked_fill_((codes - 1).ge(254), MOST)


def usual_error(seen: PerSample, share: PerSample) -> Tensor:
    """The mean of errors (N,) that count by their share (N,), none of them as more than ``FAR`` times that mean: a scalar tensor."""
    total = share.sum().clamp_min(TINY)
    mean = (share * seen).sum() / total
    for _ in range(3):
        mean = (share * torch.minimum(seen, FAR * mean)).sum() / total
    return mean


def _bits(values: Tensor) -> Tensor:
    """The exponent and the first four binary digits of float32 numbers that are not negative: int32 in the same order."""
    return values.view(torch.int32) >> DIGITS


def between(value: Tensor, low: float, high: float) -> Tensor:
    """0 up to ``low``, 1 from ``high`` on, and linear between."""
    return ((value - low) / (high - low)).clamp(0, 1)


def _ranked(padded: Tensor, strides: list[int], reach: int, wanted: tuple[int, ...]) -> list[Tensor]:
    """For each value the largest of itself and its neighbors of some ranks, without the margins of both ends.

    Args:
        padded: values (M,), with a margin along every axis.
        strides: of the axes with neighbors.
        reach: how far neighbors are along each.
        wanted: ranks, 0 is the largest.
    """
    largest = [padded]
    for stride in strides:
        length = len(largest[0]) - 2 * reach * stride
        sides = [
            [each.narrow(0, offset * stride, length) for each in largest] for offset in range(2 * reach + 1)
        ]
        largest = sides.pop(reach)
        for side in sides:
            last = stride == strides[-1] and side is sides[-1]
            largest = _largest(largest, side, wanted if last else range(max(wanted) + 1))
    return largest


def _largest(first: list[Tensor], second: list[Tensor], ranks: Iterable[int]) -> list[Tensor]:
    """Of two lists of tensors, each from the largest down at every place, those of some ranks (0 is the largest) together.

    The largest of all that the least of some of one list and the rest of the other can be.
    """
    found = []
    for rank in ranks:
        value: Tensor | None = None
        for taken in range(max(0, rank + 1 - len(second)), min(rank + 1, len(first)) + 1):
            parts = ([first[taken - 1]] if taken else []) + ([second[rank - taken]] if taken <= rank else [])
            least = parts[0] if len(parts) == 1 else torch.minimum(*parts)
            value = least if value is None else torch.maximum(value, least)
        if value is not None:
            found.append(value)
    return found
