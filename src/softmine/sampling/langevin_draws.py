"""The random numbers of Langevin's steps, made for several steps at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from softmine.domain import Box, Coords
from softmine.sampling.langevin_settings import LangevinSettings
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.random import RandomStream, to_chance, to_normal, to_uniform

AHEAD = 16
"""Steps made at a time, at most,"""
MOST = 2**16
"""and samples: beyond, a call of torch costs little against its work, and memory does."""
APART = 0.6180339887498949
"""How far, along every axis, coordinates are moved that are used again; multiples of it stay apart."""


class Draws(NamedTuple):
    """The random numbers of one step; they may be kept, not changed."""

    noise: Coords
    """Normal steps (N, D)."""
    anew: Coords
    """Coordinates (N, D) for samples that are drawn anew, in turn."""
    fresh: Coords
    """Uniform coordinates (F, D)."""


class LangevinDraws:
    """A stream's numbers, cut into steps.

    At a small batch the calls of torch cost more than the numbers. On a CPU they are therefore made for several steps
    at once, of which a step takes its part; inside a compiled graph, and on devices where asking the stream where it
    stands would mean waiting, for one step at a time. The numbers are the same: each step owns a fixed count of the
    stream's words. What was made ahead follows from the stream's state and need not be saved.

    Args:
        random: the stream.
        domain: where coordinates live, with D axes.
        noise: how many normal steps.
        scale: their standard deviation, (D,).
        anew: how many coordinates to draw samples anew.
        fresh: how many uniform coordinates.
        prior: where to draw samples anew; None is uniform.
        own: how many of ``anew``, the first ones, have random numbers of their own, and are from the prior; None is all. The others, which
            are there lest there be too few, are uniform coordinates that follow from the numbers of the first.
    """

    def __init__(
        self,
        random: RandomStream,
        domain: Box,
        *,
        noise: int,
        scale: Tensor,
        anew: int,
        fresh: int,
        prior: PiecewiseConstant | None = None,
        own: int | None = None,
    ) -> None:
        self.random, self.prior, self.domain, self.dim = random, prior, domain, domain.dim
        # As long as a step's noise: torch is slow where the last axis is short.
        self._scale = scale.repeat(noise)
        self.own = anew if own is None else own
        self.shapes = (noise, anew, fresh)
        # Words for pairs of normal numbers, cells of the prior, and pairs of uniform numbers.
        cells = 0 if prior is None else self.own
        self._words = [_pairs(noise * self.dim), cells, _pairs((self.own + fresh) * self.dim)]
        self._total = sum(self._words)
        self.steps = max(1, min(AHEAD, MOST // max(1, noise)))
        self._made: list[Draws] = []
        self._start = (0, 0)

    @torch.no_grad()
    def take(self) -> Draws:
        """The numbers of the next step."""
        if torch.compiler.is_compiling() or self.random.key.device.type != "cpu":
            (draws,) = self._make(1)
        else:
            draws = self._from_stock()
        self.random.skip(self._total)
        return draws

    def _from_stock(self) -> Draws:
        """What was made ahead for the place where the stream stands, whoever moved it there."""
        key, place = int(self.random.key), int(self.random.counter)
        step, between = divmod(place - self._start[1], self._total)
        if key != self._start[0] or between or not 0 <= step < len(self._made):
            self._made, self._start, step = self._make(self.steps), (key, place), 0
        return self._made[step]

    def _make(self, steps: int) -> list[Draws]:
        bits = self.random.peek(steps * self._total).view(steps, -1)
        for_noise, for_cells, for_uniform = bits.split(self._words, -1)
        count, anew_count, fresh_count = self.shapes
        noise = to_normal(for_noise)[:, : count * self.dim] * self._scale
        numbers = to_uniform(for_uniform)[:, : (self.own + fresh_count) * self.dim].view(steps, -1, self.dim)
        if self.own < anew_count:
            numbers = torch.cat((_stretched(numbers[:, : self.own], anew_count), numbers[:, self.own :]), 1)
        uniform = numbers
        if self.domain.masked:
            uniform = self.domain.uniform(numbers.reshape(-1, self.dim)).view(numbers.shape)
        anew, fresh = uniform.split((anew_count, fresh_count), 1)
        if self.prior is not None and self.own:
            chance = to_chance(for_cells, self.prior.cumulative.dtype).view(-1)
            jitter = numbers[:, : self.own].reshape(-1, self.dim).to(chance.dtype).unbind(-1)
            drawn = self.prior.at(chance, jitter)[0].view(steps, self.own, self.dim)
            anew = torch.cat((drawn, anew[:, self.own :]), 1)
        noise = noise.view(steps, count, self.dim)
        return [Draws(*each) for each in zip(noise.unbind(), anew.unbind(), fresh.unbind(), strict=True)]


def draws_of_chain(
    random: RandomStream,
    domain: Box,
    chain: int,
    redrawn: int,
    fresh: int,
    settings: LangevinSettings,
    size: Tensor,
    prior: PiecewiseConstant | None = None,
) -> LangevinDraws:
    """The draws of ``chain`` samples beside ``fresh`` uniform ones; of the former at least ``redrawn`` are drawn anew.

    Any of the chain may leave, so there are coordinates for all; few do, so few have random numbers of their own.
    The noise's standard deviation is that of ``settings`` times ``size`` (D,).
    """
    if domain.masked:
        leavers = (chain + fresh) // 16 + 1
    else:
        # Of samples spread evenly, noise takes this share across the two borders of an axis: 2 E[max(0, noise)].
        share = sum(math.sqrt(2 / math.pi) * settings.noise / cells for cells in domain.shape)
        leavers = math.ceil(4 * share * chain) + 16
    return LangevinDraws(
        random,
        domain,
        noise=chain,
        scale=settings.noise * size,
        anew=chain,
        fresh=fresh,
        prior=prior,
        own=min(chain, redrawn + leavers),
    )


def _stretched(numbers: Tensor, count: int) -> Tensor:
    """``count`` uniform coordinates (S, count, D) of each step: the given ones (S, M, D), then these again, moved on."""
    times = -(-count // numbers.shape[1])
    moves = torch.arange(times, device=numbers.device).mul(APART).view(-1, 1, 1)
    return (numbers.unsqueeze(1) + moves).frac_().flatten(1, 2)[:, :count]


def _pairs(count: int) -> int:
    return (count + 1) // 2
