"""Fresh errors at every step: many candidates, of which a few are chosen in proportion to what the field says now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softmine.checks import check_count, check_not_negative, check_share
from softmine.domain import Box, Coords, PerSample, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler, check_probed, check_size
from softmine.sampling.density.piecewise import sum_type
from softmine.sampling.random import RandomStream

MAX_CANDIDATES = 2**26
LEAST, MOST = 1e-30, 1e30
"""Errors are kept between these, so that sums and ratios of them stay finite in float32."""


@dataclass(eq=False)
class ResampledBatch(Batch):
    """A batch of ``Resampling``.

    Attributes:
        means: the mean chance of its candidates, and the one that was known when they were drawn, (2,).
    """

    means: Tensor | None = None


class Resampling(Sampler):
    """Looks at ``candidates`` times N coordinates at every step and trains on the N that their errors choose.

    Some of the candidates are uniform, the others are the last batch's samples, moved by a little Gaussian noise and
    reflected at the borders. (One that would enter a cell that a mask leaves out stays, and none moves along a discrete
    axis.) One call of the probe gives the error Q at all of them; N are drawn by systematic
    resampling, so that each comes as often as expected, rounded down or up. The density of the samples is
    proportional to Q, the better the more candidates there are, and the loss is weighted by ``(u / q)^alpha``.

    **Chances.** Whatever the error, a moved sample is a likelier candidate where samples were dense. So chances are
    ``Q / (s + (1 - s) q_x)``, with the uniform share s and the density q_x at the place x that the candidate came from
    (u = 1). For a moved sample q_x is known, it was drawn with it. For uniform candidates such a place is made: they come
    in pairs, one being the other moved by the same noise, and q_x is the partner's Q over its mean. Given the noise both
    kinds could have come from x, and this is their balance heuristic. It needs no sum over the kernels around all
    samples, and a chance is never much above ``Q / s``. (The mean of Q in q_x is that of the step before last, which
    the samples did not decide; moved samples are scaled by the last one over it.)

    **Density.** q of a chosen sample is its Q over the mean chance. With it, at alpha = 1, the weighted mean of a
    function expects its uniform mean:

    - exactly, for errors and functions that do not depend on the samples, at every step and with any settings;
    - in training nearly: samples that the field has learned since they were drawn count by the density they had, and
      the partners of uniform candidates by today's error, which is off by what a step changes. With
      ``uniform_share=1`` nothing is remembered, and it is exact again.

    Source: ours. Resampled importance sampling (Talbot et al., EGSR 2005) of samples reused as in ReSTIR, which
    carry their weight from step to step (Lin et al., SIGGRAPH 2022); the pairs replace those papers' evaluations
    of old targets at new places.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        candidates: coordinates looked at for each that is drawn.
        uniform_share: share of the candidates that is uniform, above 0 (below 1 rounded to pairs).
        jitter: standard deviation of the noise, in native units (pixels, samples, voxels).
        alpha: softness: 0 is hard mining, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        importance_floor: least Q, in units of its last mean: keeps every place reachable, and weights at
            alpha = 1 below about its inverse.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: a setting is out of range, or there are more than 2^26 candidates.

    Example:
        >>> sampler = Resampling(Box((64, 64)), batch_size=1024, candidates=8, warmup=0, alpha=1.0, seed=0)
        >>> batch = sampler.draw(lambda coords: coords[:, 0])       # the error at coordinates (N, D)
        >>> error = batch.coords[:, 0]
        >>> error.mean() > 0.6, (sampler.weigh(batch, error) * error).mean() < 0.53           # uniformly 0.5
        (tensor(True), tensor(True))
    """

    recordable = True
    needs_probe = True
    survivors: Tensor
    density: Tensor
    mean: Tensor
    mean_before: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        candidates: int = 2,
        uniform_share: float = 0.5,
        jitter: float = 4.0,
        alpha: float = 0.6,
        warmup: int = 1000,
        importance_floor: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, batch_size, alpha=alpha, warmup=warmup, seed=seed)
        self.count = check_count("candidates", candidates) * batch_size
        if self.count > MAX_CANDIDATES:
            raise SoftmineError(
                f"{candidates} candidates for each of {batch_size} samples are more than {MAX_CANDIDATES}: choose fewer"
            )
        if check_share("uniform_share", uniform_share) == 0:
            raise SoftmineError(
                "uniform_share is 0, but moved samples alone lose count of the mean error: give a share above 0"
            )
        # In pairs, unless there is nothing to pair them for.
        pairs = max(1, round(uniform_share * self.count / 2))
        self.uniform_count = self.count if uniform_share == 1 else min(2 * pairs, self.count)
        self.jitter = check_not_negative("jitter", jitter)
        self.importance_floor = check_not_negative("importance_floor", importance_floor)
        self.register_buffer("survivors", domain.uniform(self.random.uniform(batch_size, domain.dim)))
        self.register_buffer("density", torch.ones(batch_size))
        # Zero until there is an estimate.
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("mean_before", torch.zeros(()))

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> ResampledBatch:
        """New samples; a candidate of large error may be among them more than once.

        Raises:
            SoftmineError: there is no probe, or it does not give one number for each coordinate.
        """
        if probe is None:
            raise SoftmineError(
                "the sampler resampling looks before it chooses: give draw() a probe at every step, such as "
                "softmine.FieldProbe(field, signal)"
            )
        candidates, parents = self._candidates()
        error = check_probed(probe(candidates), self.count).float()
        error = error.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(LEAST, MOST)
        target = torch.maximum(error, self.importance_floor * self.mean)
        chances = target * self._balance(error, parents)
        chosen = systematic(chances, self.batch_size, self.random)
        mean = chances.mean()
        means = torch.stack((mean, self.mean))
        return ResampledBatch(candidates[chosen], self.step.clone(), target[chosen] / mean, means=means)

    def _learn(
        self, batch: Batch, error: PerSample, loss: PerSample | None, loss_scale: float | Tensor
    ) -> None:
        """Makes the batch the one that the next candidates are moved from."""
        if not isinstance(batch, ResampledBatch) or batch.density is None or batch.means is None:
            raise SoftmineError(
                "the batch was drawn by another sampler: update() needs one that this Resampling drew"
            )
        check_size(batch, self.batch_size)
        self.survivors.copy_(batch.coords)
        self.density.copy_(batch.density)
        self.mean.copy_(batch.means[0])
        self.mean_before.copy_(batch.means[1])

    def _candidates(self) -> tuple[Coords, Tensor]:
        """Where to look, (K N, D), and the samples (count,) that the last ``count`` candidates were moved from.

        Before them come the uniform ones: a half, and its partners in the same order.
        """
        dim, moved = self.domain.dim, self.count - self.uniform_count
        # All samples equally often, or evenly spaced ones from a random start, so that each has the same chance.
        start = (self.random.uniform(1, 1) * self.batch_size).long().view(())
        parents = torch.arange(moved, device=start.device) * self.batch_size // max(1, moved)
        parents = (parents + start) % self.batch_size
        if moved == 0:
            return self.domain.uniform(self.random.uniform(self.count, dim)), parents
        first = self.domain.uniform(self.random.uniform(self.uniform_count // 2, dim))
        still = torch.cat((first, self.survivors[parents]))
        noise = self.random.normal(len(still), dim) * self.jitter
        return torch.cat((first, self._moved(still, self.domain.to_unit(noise)))), parents

    def _moved(self, still: Coords, step: Coords) -> Coords:
        """Coordinates (N, D) moved by a step (N, D) that keeps the uniform density over the domain's valid cells."""
        moved = reflect(still + step)
        if self.domain.discrete:
            moved = torch.where(self.domain.mobility(still) > 0, moved, still)
        if self.domain.masked:
            # Whoever would leave them stays, so that as many go from one place to another as come back.
            moved = torch.where(self.domain.contains(moved).unsqueeze(-1), moved, still)
        return moved

    def _balance(self, error: PerSample, parents: Tensor) -> PerSample:
        """What the target is multiplied by to give the candidates' chances, (K N,)."""
        if self.uniform_count == self.count:
            return torch.ones_like(error)
        share, half = self.uniform_count / self.count, self.uniform_count // 2
        # The mean that was known before the samples were drawn: the last one depends on them.
        known, mean = self.mean_before > 0, self.mean_before.clamp_min(LEAST)
        partners = torch.cat((error[half : 2 * half], error[:half])) / mean
        partners = torch.where(known, partners.clamp_min(self.importance_floor), 1.0)
        density = self.density[parents]
        origins = torch.where(known, density * (self.mean / mean), 1.0)
        uniform = 1 / (share + (1 - share) * partners)
        return torch.cat((uniform, origins / density / (share + (1 - share) * origins)))

    def extra_repr(self) -> str:
        """Domain, batch size and candidates, for ``print``."""
        return f"{super().extra_repr()}, candidates={self.count}"


def reflect(coords: Coords) -> Coords:
    """Coordinates (N, D) beyond the unit cube, mirrored at its faces as often as it takes: (N, D) in [0, 1)^D."""
    return (1 - (1 - coords.remainder(2.0)).abs()).clamp(0.0, 1 - 2.0**-24)


def systematic(chances: PerSample, count: int, random: RandomStream) -> Tensor:
    """``count`` indices (count,), ascending, drawn in proportion to positive ``chances`` (M,).

    Each comes as often as expected, rounded down or up: one random number decides all.
    """
    dtype = sum_type(chances.device)
    total = chances.to(dtype).cumsum(0)
    places = (torch.arange(count, device=chances.device) + random.uniform(1, 1, dtype).view(())) / count
    return torch.searchsorted(total / total[-1], places, right=True).clamp(max=len(chances) - 1)
