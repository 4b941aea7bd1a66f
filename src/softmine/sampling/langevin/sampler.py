"""Soft mining by Langevin Monte Carlo (Kheradmand et al., CVPR 2024, arXiv 2312.00075)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softmine.checks import check_not_negative, check_positive, check_share
from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler, check_error, check_size
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.density.prior import check_axes
from softmine.sampling.drawing.supply import in_graph
from softmine.sampling.random import RandomStream, to_chance, to_normal, to_uniform

MOST_ERROR = 1e12
MAX_IN_FLIGHT = 64
"""Batches that can be drawn before one of them is updated."""
MEASURED = 10_000
"""Uniform samples over which the chain's sharpness is measured."""
SHARPEST = 4.0
FARTHEST = 0.1
"""How far drift moves a sample in one step, at most, in sides of the domain."""
MOST_DRIFT = 10.0
"""How far it moves the typical sample, at most, in standard deviations of the noise that belongs to it, ``sqrt(2 a)``."""
MOST_NOISE = 7.0
"""Standard deviations: more than a normal number of the stream ever has."""


@dataclass(eq=False)
class ChainBatch(Batch):
    """A batch of ``Langevin``: its coordinates are ready to receive a gradient.

    Attributes:
        chain: which of the sampler's chains the samples belong to.
        sharpness: of the sampler at the draw, a scalar tensor; None is one.
    """

    chain: int = 0
    sharpness: Tensor | None = None


class Langevin(Sampler):
    """Samples that walk towards the error: ``x <- x + a * grad log Q(x) + b * eta``, one step per training step.

    Q is the error given to ``weigh`` and ``update``, usually the mean absolute error. Its score ``grad log Q`` costs
    nothing: it is recovered from the gradient that the training backward pass leaves in the drawn coordinates. So give
    ``update`` the loss you differentiate unless it is the error squared, and the sampler ``loss_power=1`` for an L1 loss:
    with a wrong one, drift is wrong by a factor, and ``check`` refuses only large ones.

    The loss is weighted by ``(u / q)^alpha``. A chain does not sample Q itself: samples start anywhere and move a few
    pixels a step, which leaves its density smoother than Q, and redrawing the lowest makes it sharper. So its density is taken to be
    Q to the power ``sharpness``, which starts at 1 and is measured: the chain's losses, weighted by the inverse of that density,
    should have the mean of those of the uniform share. With errors that stay as they are, the weighted loss at alpha = 1 is then that of
    uniform sampling to about 5%, where Q itself was wrong by factors of 0.2 to 5 (docs/evidence.md). Without a uniform share nothing
    is measured, and those factors stand. A chain does not know its normalizer, so ``q / u`` is estimated as
    ``Q(x_n)^s * mean_m(Q(x_m)^-s)``, which does not change when Q is scaled, and mixed with the uniform share.

    The weights' mean is one at alpha = 0 and, in expectation, at alpha = 1, but below one between, as in the paper: SGD then takes
    smaller steps by that factor, and Adam, which divides it away, does not.

    At every update the samples that left the domain or entered cells that its mask leaves out, and the share of lowest
    error, are drawn anew from ``prior``, or uniformly where more have left than the steps' noise makes likely; the last
    ``uniform_share`` of the batch is always a fresh uniform draw from the whole domain. Along discrete axes samples keep
    their place.

    A batch that is drawn while others are in flight starts a chain of its own, so that K accumulated batches are K chains,
    which together are one of K times the size.

    Steps are in native units (pixels, samples, voxels), whatever the batch and signal size; one step is at most a tenth of the
    domain's side and seven standard deviations of the noise along each axis. ``PublishedLangevin`` does the
    arithmetic of the authors' release instead.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        alpha: softness of the mining: 0 is hard mining, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        drift: step a along the score, in native units squared (pixels^2). a = b^2 / 2 samples Q itself.
        noise: standard deviation b of the random step, in native units (pixels).
        uniform_share: share of the batch drawn uniformly at every step; above 0 at least one sample of two or more.
        reinit_share: share of the batch, the lowest in error of the chain, drawn anew at every step; at least one likewise.
        importance_floor: Q is sqrt(Q^2 + floor^2), the floor in units of the batch's mean Q: keeps log Q smooth where Q touches 0.
        weight_min: least loss weight.
        weight_max: greatest loss weight.
        loss_power: the loss grows as this power of the error: 2 for squared error, 1 for absolute error.
        prior: where to draw samples anew; None is uniform. See ``edge_prior``.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range.

    Example:
        >>> sampler = Langevin(Box((64, 64)), batch_size=256, alpha=0.6, seed=0)
        >>> batch = sampler.draw()
        >>> residual = batch.coords.square().sum(-1, keepdim=True)        # stands for field(coords) - signal(coords)
        >>> error = residual.abs().mean(-1)
        >>> weights = sampler.weigh(batch, error)
        >>> (weights * residual.square().mean(-1)).mean().backward()
        >>> sampler.update(batch, error)
    """

    recordable = True
    follows_signal = True
    particles: Tensor
    sharpness: Tensor
    slope: Tensor
    weighted: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        alpha: float = 0.6,
        warmup: int = 1000,
        drift: float = 2.0,
        noise: float = 2.0,
        uniform_share: float = 0.1,
        reinit_share: float = 0.1,
        importance_floor: float = 0.01,
        weight_min: float = 0.0,
        weight_max: float = math.inf,
        loss_power: float = 2.0,
        prior: PiecewiseConstant | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, batch_size, alpha=alpha, warmup=warmup, seed=seed)
        self.drift, self.noise = check_not_negative("drift", drift), check_not_negative("noise", noise)
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.reinit_share = check_share("reinit_share", reinit_share)
        self.importance_floor = check_not_negative("importance_floor", importance_floor)
        self.weight_min = check_not_negative("weight_min", weight_min)
        self.weight_max = check_not_negative("weight_max", weight_max, finite=False)
        self.loss_power = check_positive("loss_power", loss_power)
        if weight_min > weight_max:
            raise SoftmineError(f"weight_min {weight_min} is above weight_max {weight_max}")
        if prior is not None:
            check_axes(prior, domain)
        # A copy, because this moves with the sampler, and others may have the same prior.
        self.prior = None if prior is None else copy.deepcopy(prior).over(domain)
        self.register_buffer("particles", self._start().unsqueeze(0))
        # The chain samples Q to this power.
        self.register_buffer("sharpness", torch.ones((), dtype=torch.float32))
        # Sums of the last update, for ``check``: the gradient's magnitudes, below zero before the first, and what they are divided by.
        self.register_buffer("slope", torch.full((domain.dim,), -1.0, dtype=torch.float32))
        self.register_buffer("weighted", torch.zeros((), dtype=torch.float32))
        # The chains whose batches are in flight, oldest first: the number of the draw, and whether another was updated since.
        self._in_flight: dict[int, tuple[int, bool]] = {}
        self._drawn = self._recorded_draws = 0
        self._lay_out()

    def draw(self, probe: Probe | None = None) -> ChainBatch:
        """New samples, ready to receive a gradient.

        Raises:
            SoftmineError: there are already ``MAX_IN_FLIGHT`` batches of which none was updated.
        """
        chain, number = self._free_chain(), 0
        if not in_graph(self.particles):
            self._drawn += 1
            number = self._drawn
        elif not torch.compiler.is_compiling():
            self._recorded_draws += 1
        self._in_flight[chain] = (number, False)
        with torch.no_grad():
            coords = self._visible(self.particles[chain])
        if in_graph(coords):
            # A graph cannot make a leaf: it fills the chain's own.
            leaf = self._leaves[chain]
            with torch.no_grad():
                leaf.copy_(coords)
                if leaf.grad is not None:
                    leaf.grad.zero_()
        else:
            leaf = coords.requires_grad_()
        return ChainBatch(
            leaf, self.step.clone(), number=number, chain=chain, sharpness=self.sharpness.clone()
        )

    @torch.no_grad()
    def weigh(self, batch: Batch, error: PerSample) -> PerSample:
        """Loss weights ``(u / q)^alpha`` (N,) without gradient; changes nothing.

        Args:
            batch: of this sampler.
            error: importance Q (N,) at its coordinates, not negative: usually ``residual.abs().mean(-1)``.

        Raises:
            SoftmineError: there is not one error for each sample.
        """
        return self._weights(batch, _finite(check_error(batch, error)))

    def score(
        self, batch: Batch, error: PerSample, loss: PerSample | None = None, loss_scale: float | Tensor = 1.0
    ) -> Coords:
        """``grad log Q`` (N, D) per native unit, from the gradient that backward left in the batch's coordinates.

        With the weights w and per-sample loss l, the gradient of ``mean(w * l)`` is ``w_n / N * grad l(x_n)``, and log Q is
        log l divided by ``loss_power``. For several channels this is the gradient of the log of the root-mean-square error.
        """
        error = _finite(check_error(batch, error))
        factor = self.batch_size / self.loss_power / loss_scale / self._size
        return self._gradient(batch) / self._weighted(batch, error, loss).unsqueeze(-1) * factor

    def check(self) -> None:
        """After the first update: raises if the samples cannot move, or move too far.

        Raises:
            SoftmineError: nothing was updated yet, the gradient was zero everywhere or not finite, or the typical drift was
                above ten standard deviations of the noise that belongs to it, which a loss that ``update`` was not told of does.
                It waits for the device, so that it does not belong in every step. (That there is no gradient, ``update`` says itself.)
        """
        slope = float((self.slope * self._mobility).sum())
        if slope < 0:
            raise SoftmineError("call check() after the first update(): it looks at the gradient seen there")
        if not math.isfinite(slope):
            raise SoftmineError(
                "the gradient of the drawn coordinates is not finite: the loss or the field has overflowed"
            )
        if slope == 0:
            raise SoftmineError(
                "the gradient of the drawn coordinates is zero for every sample, so the samples would only "
                "diffuse: the field's encoding does not differentiate with respect to its input"
            )
        self._check_drift()

    def _check_drift(self) -> None:
        """Raises if the drift of the last update is implausible: a mean over the samples, weighted by their weighted loss."""
        drift = self.slope * self._stride * self._size * (self._drift / self.weighted)
        most = (self._farthest * self._size).clamp(max=MOST_DRIFT * math.sqrt(2 * self.drift))
        if bool((drift > most).any()):
            raise SoftmineError(
                f"drift would move the typical sample by {float(drift.max()):.3g} cells in one step, so the gradient is not that of the mean "
                "weighted loss: give update() loss_scale= if the loss was scaled (GradScaler) or summed over the batch, and loss= if "
                "it is not the error squared (summed channels, a factor); build the sampler with loss_power=1 if the loss grows like "
                "the error; if all of this is right, choose a smaller drift="
            )

    def _learn(
        self, batch: Batch, error: PerSample, loss: PerSample | None, loss_scale: float | Tensor
    ) -> None:
        """Moves the batch's chain."""
        awaited = (
            isinstance(batch, ChainBatch) and self._in_flight.get(batch.chain, (-1, False))[0] == batch.number
        )
        if not isinstance(batch, ChainBatch) or not awaited:
            raise SoftmineError(
                f"the batch is not one that this {type(self).__name__} drew and that awaits its update: it is another sampler's, was "
                f"updated before, or was forgotten while {MAX_IN_FLIGHT} others were drawn"
            )
        check_size(batch, self.batch_size)
        gradient, error = self._gradient(batch), _finite(error)
        self.slope.copy_(torch.linalg.vector_norm(gradient, 1, 0))
        self._move(self.particles[batch.chain], batch, error, gradient, loss, loss_scale)
        self._landed(batch.chain)

    def _move(
        self,
        particles: Coords,
        batch: Batch,
        error: PerSample,
        gradient: Coords,
        loss: PerSample | None,
        loss_scale: float | Tensor,
    ) -> None:
        # In place and few operations: at a small batch each costs more than its work.
        draws, moved = self.draws.take(), particles[: self._chain]
        floor = self._floor(error)
        powered = self._powered(error, floor)
        inverse, total = self._inverse(batch, powered)
        weighted = self._softened(inverse, total, batch.step).mul_(powered if loss is None else loss + floor)
        if isinstance(loss_scale, Tensor) or loss_scale != 1:
            weighted.mul_(loss_scale)
        self.weighted.copy_(weighted.sum())
        self._measure(powered, inverse, total)
        gradient, weighted = gradient[: self._chain], weighted[: self._chain].unsqueeze(-1)
        steps = torch.addcdiv(draws.noise, gradient, weighted, value=self._drift)
        moved.add_(steps.mul_(self._stride).clamp_(-self._farthest, self._farthest))
        # Zero is the floor of all that lies in [0, 1), and of nothing else, NaN included.
        redraw = ~self.domain.contains(moved) if self.domain.masked else moved.floor().any(-1)
        if self._reinit_count:
            lowest = torch.topk(error[: self._chain], self._reinit_count, largest=False, sorted=False).indices
            redraw.index_fill_(0, lowest, True)
        # The flagged take the new coordinates in turn, so that few need be drawn from the prior, which is a search.
        moved.masked_scatter_(redraw.unsqueeze(-1), draws.anew)
        particles[self._chain :] = draws.fresh

    def _measure(self, powered: PerSample, inverse: PerSample, total: Tensor) -> None:
        """Turns the sharpness to where the chain's samples, weighted by 1/q, have the mean loss of the uniform ones."""
        if not self._fresh_count or not self._chain:
            return
        weighted_mean = torch.dot(powered[: self._chain], inverse[: self._chain]) / total
        excess = 1 - powered[self._chain :].mean() / weighted_mean
        # One huge error counts little. What has overflowed counts nothing.
        move = (
            excess.mul_(self._fresh_count / (self._fresh_count + MEASURED)).clamp_(-0.1, 0.1).nan_to_num_(0.0)
        )
        self.sharpness.add_(move).clamp_(0.0, SHARPEST)

    def _weights(self, batch: Batch, error: PerSample) -> PerSample:
        """Loss weights (N,) of a batch with finite errors (N,)."""
        inverse, total = self._inverse(batch, self._powered(error, self._floor(error)))
        return self._softened(inverse, total, batch.step)

    def _powered(self, error: PerSample, floor: Tensor) -> PerSample:
        """Q to the power of the loss, (N,)."""
        if self.loss_power == 2:
            return torch.addcmul(floor, error, error)
        return error.pow(self.loss_power).add_(floor)

    def _inverse(self, batch: Batch, powered: PerSample) -> tuple[PerSample, Tensor]:
        """One over the chain's density, (N,) and not normalized, and its sum over the chain."""
        sharpness = batch.sharpness if isinstance(batch, ChainBatch) else None
        inverse = powered.pow(-1 / self.loss_power if sharpness is None else sharpness / -self.loss_power)
        return inverse, inverse[: self._chain].sum()

    def _softened(self, inverse: PerSample, total: Tensor, step: Tensor) -> PerSample:
        """Loss weights (N,) from what ``_inverse`` gives.

        The density q / u is a mixture of the chain and the uniform share. For samples of the chain, x ~ Q, the mean of 1/Q is
        1 / mean(Q), which normalizes Q; its share over its count, which makes the sum a mean, is one over the batch size.
        """
        if self._chain == 0:
            return torch.ones_like(inverse)
        density = torch.addcdiv(self._fresh_share, total, inverse, value=1 / self.batch_size)
        weights = density.pow_(self._exponent(step))
        if self.weight_min > 0 or self.weight_max < math.inf:
            weights.clamp_(self.weight_min, self.weight_max)
        return weights

    def _floor(self, error: PerSample) -> Tensor:
        """The floor of the error, a share of its mean, to the power of the loss: a scalar tensor."""
        total, power = error.sum(), self.loss_power
        factor = (self.importance_floor / self.batch_size) ** power
        if power == 2:
            return torch.addcmul(self._tiny, total, total, value=factor)
        return torch.add(self._tiny, total.pow_(power), alpha=factor)

    def _weighted(self, batch: Batch, error: PerSample, loss: PerSample | None) -> PerSample:
        """What the gradient is divided by, (N,), a new tensor: the loss with its floor, times the weights."""
        floor = self._floor(error)
        return self._weights(batch, error).mul_(self._powered(error, floor) if loss is None else loss + floor)

    def _exponent(self, step: Tensor) -> float | Tensor:
        """Minus alpha: a plain number where asking for the step waits for no device and ends no compiled graph."""
        if torch.compiler.is_compiling() or step.device.type != "cpu":
            return -self.alpha_at(step)
        warm = 1.0 if self.warmup == 0 else min(1.0, int(step) / self.warmup)
        return -self.target_alpha * warm

    def _gradient(self, batch: Batch) -> Coords:
        """The gradient of the drawn coordinates (N, D)."""
        if batch.coords.grad is None:
            raise SoftmineError(
                "no gradient reached the drawn coordinates: call backward() before update(), do not detach or "
                "round batch.coords, and use a field whose encoding is differentiable in its input"
            )
        return batch.coords.grad

    def _start(self) -> Coords:
        """Uniform samples (N, D), at which a chain starts."""
        return self.domain.uniform(self.random.uniform(self.batch_size, self.domain.dim))

    def _visible(self, particles: Coords) -> Coords:
        """The coordinates (N, D) that samples train at, a new tensor."""
        return particles.clone()

    def _free_chain(self) -> int:
        """A chain that is not in flight; a new one where all are."""
        for chain in range(len(self.particles)):
            if chain not in self._in_flight:
                return chain
        if len(self.particles) < MAX_IN_FLIGHT:
            if in_graph(self.particles):
                raise SoftmineError(
                    f"a compiled or recorded step draws more than {len(self.particles)} batches before it updates one: draw as "
                    "many once outside of it, and update them"
                )
            self.particles = torch.cat((self.particles, self._start().unsqueeze(0)))
            self._leaves.append(torch.zeros_like(self.particles[0]).requires_grad_())
            return len(self.particles) - 1
        # The oldest that was passed over will not come any more.
        for chain, (_, passed_over) in self._in_flight.items():
            if passed_over:
                del self._in_flight[chain]
                with torch.no_grad():
                    self.particles[chain] = self._start()
                return chain
        raise SoftmineError(
            f"{MAX_IN_FLIGHT} batches were drawn and none of them updated: call sampler.update(batch, error) after backward()"
        )

    def _landed(self, chain: int) -> None:
        """Notes that a chain's batch was updated."""
        self._in_flight.pop(chain, None)
        for other, (number, _) in list(self._in_flight.items()):
            self._in_flight[other] = (number, True)

    def _lay_out(self) -> None:
        """Everything that follows from the settings and the device; run again when the module moves."""
        count = self.batch_size
        self._fresh_count = _some(self.uniform_share, count)
        self._chain = count - self._fresh_count
        self._reinit_count = min(_some(self.reinit_share, count), self._chain)
        self.domain.prepare(self.particles.device)
        like = self.particles[0]
        self._size = self.domain.scale(like)
        self._mobility = self.domain.mobility(like)
        # A step is the noise and the slope times this, and both count in the unit that makes unit coordinates of scores.
        self._drift = self.drift * count / self.loss_power
        self._stride = self._mobility / self._size.square()
        # Noise alone never goes so far.
        self._farthest = FARTHEST + MOST_NOISE * self.noise / self._size
        # Keeps log Q finite where all errors are zero.
        self._tiny = torch.full_like(self._size[0], torch.finfo(torch.float32).tiny)
        self._fresh_share = torch.full_like(self._size[0], self._fresh_count / count)
        self._leaves = [torch.zeros_like(each).requires_grad_() for each in self.particles]
        self.draws = self._stock()

    def _stock(self) -> Stock:
        """The random numbers of the moves.

        Any sample of the chain may leave, so there are coordinates for all; few do, so few have random numbers of their own.
        """
        if self.domain.masked:
            leavers = self.batch_size // 16 + 1
        else:
            # Of samples spread evenly, noise takes this share across the two borders of an axis: 2 E[max(0, noise)].
            share = sum(math.sqrt(2 / math.pi) * self.noise / cells for cells in self.domain.shape)
            leavers = math.ceil(4 * share * self._chain) + 16
        return Stock(
            self.random,
            self.domain,
            noise=self._chain,
            scale=self.noise * self._size,
            anew=self._chain,
            fresh=self._fresh_count,
            prior=self.prior,
            own=min(self._chain, self._reinit_count + leavers),
        )

    def _apply(self, fn: Any, recurse: bool = True) -> Langevin:
        super()._apply(fn, recurse)
        self._lay_out()
        return self

    def start_recording(self) -> None:
        """A CUDA graph of a step is about to be recorded."""
        super().start_recording()
        self._recorded_draws = 0

    def count_replay(self) -> None:
        """Notes on the host what a replay of the recorded step does."""
        super().count_replay()
        self._drawn += self._recorded_draws

    def get_extra_state(self) -> Tensor:
        """Batches drawn so far, then for each in flight, oldest first, its chain, its number and whether another was updated since."""
        flights = [(chain, number, passed) for chain, (number, passed) in self._in_flight.items()]
        return torch.tensor([(self._drawn, 0, 0), *flights], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes up what ``get_extra_state`` gave."""
        first, *flights = state.tolist()
        self._drawn = first[0]
        self._in_flight = {chain: (number, bool(passed)) for chain, number, passed in flights}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(f"{prefix}particles")
        if isinstance(saved, Tensor) and saved.shape[1:] == self.particles.shape[1:]:
            # There are as many chains as batches were in flight.
            self.particles = self.particles.new_empty(saved.shape)
            self._lay_out()
        super()._load_from_state_dict(state_dict, prefix, *args)


def _some(share: float, count: int) -> int:
    """A share of a count, rounded down; but at least one where there are more."""
    return max(int(share * count), int(share > 0 and count > 1))


def _finite(error: PerSample) -> PerSample:
    """Errors (N,) of which those that are not finite are zero: they tell nothing, and would take the others along.

    Those above ``MOST_ERROR`` count as that, so that the square of their sum stays finite in float32.
    """
    return error.nan_to_num(0.0, 0.0, 0.0).clamp_(max=MOST_ERROR)


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


class Stock:
    """The random numbers of a chain's steps, made for several steps at a time.

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


def _stretched(numbers: Tensor, count: int) -> Tensor:
    """``count`` uniform coordinates (S, count, D) of each step: the given ones (S, M, D), then these again, moved on."""
    times = -(-count // numbers.shape[1])
    moves = torch.arange(times, device=numbers.device).mul(APART).view(-1, 1, 1)
    return (numbers.unsqueeze(1) + moves).frac_().flatten(1, 2)[:, :count]


def _pairs(count: int) -> int:
    return (count + 1) // 2
