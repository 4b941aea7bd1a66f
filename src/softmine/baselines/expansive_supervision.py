"""Edges in every batch, and what they do not tell: expansive supervision (Zhang et al., ICME 2025, arXiv 2409.08056)."""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.baselines.full_pass import over_cells, valid_centers
from softmine.baselines.ranking import Shuffle, check_cells
from softmine.checks import check_count, check_share
from softmine.domain import Box, PerSample, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler, check_error
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.density.prior import check_axes
from softmine.sampling.drawing.supply import Supply


class ExpansiveSupervision(Sampler):
    """Trains half of every batch on anchors, the cells on the signal's edges, and half on the others.

    Anchors are the ``anchor_share`` of cells where the signal changes fastest. The loss is ``MSE_A + c * MSE_S``, the
    means over the anchors and over the other cells of the batch, with c falling linearly from
    ``(1 - anchor_share) / anchor_share`` to 1. As weights of mean one, with half of the batch from either, these are
    ``2 / (1 + c)`` and ``2 c / (1 + c)``: u/q at the start (the loss is unbiased), 1 and 1 at the end. No error is
    asked for.

    Source: Expansive Supervision (arXiv 2409.08056). What differs, and why:

    - There anchors are Canny edges whose threshold is adapted until they cover about ``anchor_share``, dilated by a
      pixel. Here they are exactly the share of largest gradient magnitude, which needs no second threshold and
      works in any number of dimensions; ties are broken at random.
    - The two terms are divided by 1 + c, so that the size of a step does not fall as c does.
    - Cells of each kind come in a random order, made new when its end is near; at most all of a kind are in a batch.

    Args:
        domain: where coordinates live.
        batch_size: cells a step, N, at most all of them.
        prior: the signal's edges, see ``edge_prior``. ``softmine.Image.edges`` has at most 2^20 cells; above that
            anchors are whole blocks of pixels.
        anchor_share: share of all cells that are anchors (alpha_A), strictly between 0 and 1.
        batch_share: share of the batch that is anchors (beta_A).
        steps: length of the run, over which c falls; the source's is 30,000, for radiance fields.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: there is no prior, it has another number of axes than the domain, the batch holds more cells than
            there are, or a setting is out of range.

    Example:
        >>> from softmine.sampling import edge_prior
        >>> edges = edge_prior(torch.tensor([0.0, 0.0, 1.0, 0.0]))
        >>> sampler = ExpansiveSupervision(Box((4,)), batch_size=2, prior=edges, seed=0)
        >>> batch = sampler.draw()
        >>> batch.coords[0]  # the anchor
        tensor([0.6250])
        >>> sampler.weigh(batch, torch.rand(2))
        tensor([0.5000, 1.5000])
    """

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        prior: PiecewiseConstant | None = None,
        anchor_share: float = 0.25,
        batch_share: float = 0.5,
        steps: int = 5000,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, check_cells(batch_size, domain), seed=seed)
        if prior is None:
            raise SoftmineError(
                "the sampler expansive-supervision needs to know the signal's edges: give it "
                "prior=softmine.edge_prior(image.edges())"
            )
        check_axes(prior, domain)
        if not 0 < check_share("anchor_share", anchor_share) < 1:
            raise SoftmineError(
                f"anchor_share is {anchor_share}, but neither none nor all cells can be anchors"
            )
        self.steps = check_count("steps", steps)
        anchors, others = self._split(prior, max(1, round(anchor_share * domain.valid)))
        self.first_coefficient = len(others) / len(anchors)
        wanted = round(check_share("batch_share", batch_share) * batch_size)
        self.anchor_count = min(max(wanted, batch_size - len(others)), len(anchors))
        self.other_count = batch_size - self.anchor_count
        self.anchors, self.others = Shuffle(anchors), Shuffle(others)
        # Batches until an order is at its end.
        self.anchor_period = len(anchors) // max(1, self.anchor_count)
        self.other_period = len(others) // max(1, self.other_count)
        self.anchor_supply, self.other_supply = Supply(), Supply()
        self.refresh()

    @property
    def period(self) -> int:
        """Batches until a random order is at its end."""
        return min(self.anchor_period, self.other_period)

    @torch.no_grad()
    def refresh(self, probe: Probe | None = None) -> None:
        """Makes new random orders; ``draw`` does so when one is at its end, except in a compiled graph."""
        for cells, supply, period in self._kinds():
            cells.again(self.random)
            supply.add(period)

    @torch.no_grad()
    def draw(self, probe: Probe | None = None) -> Batch:
        """The centers of cells: anchors, then others."""
        for cells, supply, period in self._kinds():
            if supply.used_up:
                cells.again(self.random)
                supply.add(period)
            supply.take()
        drawn = torch.cat((self.anchors.next(self.anchor_count), self.others.next(self.other_count)))
        return Batch(valid_centers(self.domain, drawn), self.step.clone())

    @property
    def coefficient(self) -> Tensor:
        """The weight c of the other cells' mean against the anchors' in a batch drawn now, a scalar tensor."""
        return self._coefficient_at(self.step)

    def _coefficient_at(self, step: Tensor) -> Tensor:
        progress = (step / self.steps).clamp(max=1.0)
        return self.first_coefficient + (1 - self.first_coefficient) * progress

    @torch.no_grad()
    def weigh(self, batch: Batch, error: PerSample) -> PerSample:
        """Weights (N,) of mean one by the kind of cell, whatever the error (N,)."""
        weights = torch.ones_like(check_error(batch, error))
        if self.anchor_count and self.other_count:
            c = self._coefficient_at(batch.step)
            weights[: self.anchor_count] = self.batch_size / self.anchor_count / (1 + c)
            weights[self.anchor_count :] = self.batch_size / self.other_count * c / (1 + c)
        return weights

    def _kinds(self) -> tuple[tuple[Shuffle, Supply, int], tuple[Shuffle, Supply, int]]:
        return (self.anchors, self.anchor_supply, self.anchor_period), (
            self.others,
            self.other_supply,
            self.other_period,
        )

    def _split(self, prior: PiecewiseConstant, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` valid cells of greatest density, and the others."""
        density = over_cells(self.domain, prior.density, prior.cumulative.device).cpu()
        # Ranked in a random order, so that among equals chance decides, not the place.
        shuffled = self.random.bits(self.domain.valid).argsort()
        anchors = shuffled[density[shuffled].topk(count).indices]
        is_anchor = torch.zeros(self.domain.valid, dtype=torch.bool).index_fill(0, anchors, True)
        return anchors, (~is_anchor).nonzero().squeeze(-1)
