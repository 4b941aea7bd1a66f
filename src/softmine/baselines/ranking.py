"""What the samplers that rank every cell of the domain share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softmine.baselines.full_pass import check_passable
from softmine.domain import Box, Cells, SoftmineError
from softmine.sampling.base import Probe, check_batch_size
from softmine.sampling.random import RandomStream

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it are spread evenly over a unit, after the whole numbers are taken away."""
ROUNDS = 64
"""Rounds through an order, at most, of which each is unlike the others."""


def check_cells(batch_size: int, domain: Box) -> int:
    """Returns a batch size for draws without repetition from a domain that can be passed over, or raises SoftmineError."""
    check_passable(domain)
    if check_batch_size(batch_size) > domain.valid:
        raise SoftmineError(
            f"batch size {batch_size} is above the {domain.valid} cells of {domain}, and this sampler draws each cell "
            f"at most once: give at most {domain.valid}"
        )
    return batch_size


def ability(probe: Probe, method: str, sampler: str) -> Callable[..., Any]:
    """The ``method`` of a probe that gives more than the error, or raises SoftmineError."""
    found = getattr(probe, method, None)
    if not callable(found):
        raise SoftmineError(
            f"the sampler {sampler} calls its probe's {method}(), which a {type(probe).__name__} does not have: "
            "draw with softmine.FieldProbe(field, signal)"
        )
    return found


def spread(domain: Box, count: int) -> Cells:
    """``count`` different valid cells, by number, evenly far apart: what a sampler holds before its first pass."""
    return torch.arange(count) * domain.valid // count


def strides(count: int) -> Tensor:
    """Steps (S,) around ``count`` places, each of which reaches all of them, none as far as another back; the first is 1."""
    found = [1]
    for number in range(1, 4 * ROUNDS):
        step = int(count * (number * GOLDEN % 1.0))
        if math.gcd(step, count) == 1 and not {step, count - step}.intersection(found):
            found.append(step)
    return torch.tensor(found[:ROUNDS])


class Shuffle(nn.Module):
    """Goes through a set of cells in a random order: every draw is uniform and repeats none of its cells.

    A draw costs what it returns, not what the set holds, because the order is kept from one draw to the next; over
    the set's size, draws also repeat no cell of each other. A draw that begins beyond the end of the order, which only
    ``again`` makes anew, takes its cells from farther apart in it, so that no draw is one of the round before.

    Args:
        cells: the set, indices (M,), all different.

    Example:
        >>> shuffle = Shuffle(torch.arange(6))
        >>> shuffle.again(RandomStream(seed=0))
        >>> sorted(torch.cat((shuffle.next(2), shuffle.next(4))).tolist())
        [0, 1, 2, 3, 4, 5]
    """

    order: Tensor
    place: Tensor
    strides: Tensor

    def __init__(self, cells: Cells) -> None:
        super().__init__()
        # 32 bits hold every cell of a domain small enough to rank, in half the memory and checkpoint.
        self.register_buffer("order", cells.int())
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("strides", strides(len(cells)), persistent=False)

    def again(self, random: RandomStream) -> None:
        """Makes a new order. Its keys are all different, so that every order is as likely as another."""
        self.order.copy_(self.order[random.bits(len(self.order)).argsort()])
        self.place.zero_()

    def next(self, count: int) -> Cells:
        """The next ``count`` cells (count,), at most M."""
        cells = self._ahead(count)
        self.place.add_(count)
        return cells

    def next_except(self, count: int, taken: Tensor) -> Cells:
        """The next ``count`` cells (count,) that are not among ``taken`` (K,), sorted; count + K is at most M."""
        ahead = self._ahead(count + len(taken))
        free = torch.ones_like(ahead, dtype=torch.bool)
        if len(taken):
            nearest = torch.searchsorted(taken, ahead).clamp(max=len(taken) - 1)
            free = taken[nearest] != ahead
        # Free ones first, in order: of count + K different cells at least count are free.
        first = torch.argsort(free, dim=0, descending=True, stable=True)[:count]
        if count:
            self.place.add_(first[-1] + 1)
        return ahead[first]

    def _ahead(self, count: int) -> Cells:
        # How often the order was gone through is known to the device only, and so a stride is looked up, not an order made.
        turn = (self.place // len(self.order) % len(self.strides)).view(1)
        places = (self.place + torch.arange(count, device=self.order.device)) % len(self.order)
        return self.order[self.strides[turn] * places % len(self.order)].long()
