"""Sampling where the signal itself changes fast, whatever the training error."""

from __future__ import annotations

import torch

from softmine.checks import check_share
from softmine.domain import Box, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.density.prior import check_axes
from softmine.sampling.drawing.from_density import INDEPENDENT, Drawing


class Edges(Sampler):
    """Draws more where the signal has edges, the same way from the first step to the last.

    The density is ``prior`` with a uniform share mixed in, and it is known, so the loss can be weighted by
    ``(u / q)^alpha``. The default alpha = 0 leaves it unweighted, as the edge baseline of the soft mining paper does.

    Source: the edge-guided ray allocation of EGRA-NeRF, which is the baseline "Edge" of soft mining (arXiv
    2312.00075). Here the density grows with the gradient's magnitude; a published re-implementation (Expansive
    Supervision, ICME 2025) finds edges with a Canny threshold and jitters them along the row, which depends on
    two thresholds and on the picture's orientation.

    Nothing is drawn where the domain's mask holds nothing, whatever the edges there. Along a discrete axis neighbors
    are merged only as far as the given edges have merged them.

    Args:
        domain: where coordinates live.
        batch_size: coordinates a draw, N.
        prior: the density to draw from; see ``edge_prior``.
        uniform_share: share of the density that is uniform whatever the edges.
        alpha: softness of the weights; 0 is none, 1 importance sampling of the uniform loss.
        warmup: updates over which alpha grows from 0 to its target.
        drawing: ``independent``, ``stratified`` or ``error-diffusion``, which draws without replacement.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: there is no prior, it has another number of axes than the domain, or a setting is out
            of range.

    Example:
        >>> from softmine.sampling.density.prior import edge_prior
        >>> magnitude = torch.tensor([0.0, 1.0, 3.0, 0.0])        # softmine.Image.edges() of a picture
        >>> sampler = Edges(Box((512,)), batch_size=256, prior=edge_prior(magnitude), seed=0)
        >>> sampler.draw().coords.shape
        torch.Size([256, 1])
    """

    recordable = True

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        prior: PiecewiseConstant | None,
        uniform_share: float = 0.1,
        alpha: float = 0.0,
        warmup: int = 1000,
        drawing: str = INDEPENDENT,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, batch_size, alpha=alpha, warmup=warmup, seed=seed)
        if prior is None:
            raise SoftmineError(
                "the sampler edges needs the edges of the signal, but there are none: choose another sampler, or "
                "give it prior=softmine.edge_prior(magnitude)"
            )
        check_axes(prior, domain)
        self.uniform_share = check_share("uniform_share", uniform_share)
        self.density = prior.over(domain).mixed(uniform_share)
        self.drawing = Drawing(drawing, self.density, domain, batch_size, self.random)

    @property
    def period(self) -> int:
        """Batches drawn at once: more than one with error diffusion."""
        return self.drawing.period

    def draw(self, probe: Probe | None = None) -> Batch:
        """New samples."""
        coords, density, cells, number = self.drawing.draw(self.density, self.random)
        return Batch(coords, self.step.clone(), density, cells, number)

    @torch.no_grad()
    def refresh(self, probe: Probe | None = None) -> None:
        """Draws the next ``period`` batches, for compiled and recorded loops with error diffusion."""
        self.drawing.refresh(self.density, self.random)
