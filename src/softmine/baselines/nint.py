"""Cells that move the whole field most: NINT (Zhang et al., CVPR 2026, arXiv 2511.15487)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from softmine.baselines.full_pass import PassTimes, errors, pass_if_due, valid_centers
from softmine.baselines.ranking import Shuffle, ability, check_cells, spread
from softmine.checks import check_count, check_share
from softmine.domain import Box, SoftmineError
from softmine.sampling.base import Batch, Probe, Sampler

LEAST_SHARE = 1e-3
"""Share of the batch below which the list by influence is no longer made."""


class NINT(Sampler):
    """Trains on cells of three kinds: of largest influence, of largest error, and uniform ones.

    The influence of a cell is ``|K r|`` there, with the errors r of all cells and the neural tangent kernel
    ``K = J J^T``: how far a gradient step on all cells would move the field in that cell. The list by influence is
    made at pass 1, 10, 20, ... and its share of the batch at pass t is ``ntk_share * exp(floor(-t / 10))``, until
    that is below 0.001. The cells of largest error fill the batch up to ``1 - uniform_share``; the remaining cells are
    uniform among those not taken yet.

    Source: NINT (arXiv 2511.15487) and its released code, of which the numbers are. What differs, and why:

    - Once its share is below 0.001 the list by influence ends; in the release a rest of the last one stays for good.
    - With an ``interval`` above 1, the uniform cells are new at every step, not only at passes.
    - Uniform cells are taken from a random order of all cells that a pass makes new.

    A pass for the list costs about six evaluations of the whole signal, any other pass one.

    Args:
        domain: where coordinates live.
        batch_size: cells a step, N, at most all of them; the source's is a fifth of all.
        uniform_share: share of the batch that is uniform.
        ntk_share: share of the batch by influence, before it decays; with ``uniform_share`` at most 1.
        list_interval: passes from one list by influence to the next.
        interval: updates from one pass to the next.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Raises:
        SoftmineError: the batch holds more cells than there are, or a setting is out of range.

    Example:
        >>> import softmine
        >>> image, field = softmine.Image(torch.rand(8, 8)), softmine.Siren(2, 1)
        >>> sampler = NINT(image.domain, batch_size=16)
        >>> sampler.draw(softmine.FieldProbe(field, image)).coords.shape
        torch.Size([16, 2])
    """

    needs_probe = True
    influential: Tensor
    chosen: Tensor
    passes_made: Tensor

    def __init__(
        self,
        domain: Box,
        batch_size: int,
        *,
        uniform_share: float = 0.7,
        ntk_share: float = 0.3,
        list_interval: int = 10,
        interval: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__(domain, check_cells(batch_size, domain), seed=seed)
        self.ntk_share = check_share("ntk_share", ntk_share)
        if check_share("uniform_share", uniform_share) + ntk_share > 1:
            raise SoftmineError(
                f"ntk_share {ntk_share} and uniform_share {uniform_share} are more than the whole batch: "
                "they may add up to 1"
            )
        self.list_interval = check_count("list_interval", list_interval)
        self.interval = check_count("interval", interval)
        self.uniform_count = round(uniform_share * batch_size)
        self.passes = PassTimes()
        self.shuffle = Shuffle(torch.arange(domain.valid))
        self.shuffle.again(self.random)
        # In the order of the cells, as the shuffle wants them.
        self.register_buffer("chosen", spread(domain, batch_size - self.uniform_count))
        self.register_buffer("influential", torch.zeros(self._listed(1), dtype=torch.int64))
        self.register_buffer("passes_made", torch.zeros((), dtype=torch.int64))
        self._host_passes = 0

    def refresh(self, probe: Probe) -> None:
        """Makes the lists by a pass over every cell; ``draw`` does so when it is due, except in a compiled graph.

        Raises:
            SoftmineError: the probe does not give one number for each coordinate, or has no ``influence``.
        """
        self._host_passes += 1
        self.passes_made.fill_(self._host_passes)
        count = self._listed(self._host_passes)
        if count and (self._host_passes == 1 or self._host_passes % self.list_interval == 0):
            influence = ability(probe, "influence", "nint")(self.domain).nan_to_num(0.0, 0.0, 0.0)
            self.influential[:count] = influence.topk(count).indices
        error = errors(self.domain, probe, self.chosen.device)
        influential = self.influential[:count]
        error = error.index_fill(0, influential, -torch.inf)
        hardest = error.topk(len(self.chosen) - count).indices
        self.chosen.copy_(torch.cat((influential, hardest)).sort().values)
        self.shuffle.again(self.random)
        self.passes.made(self.step, self.updates, self.interval)

    def draw(self, probe: Probe | None = None) -> Batch:
        """The centers of cells: the chosen ones, then the uniform ones. Batches in flight share the chosen ones.

        Without a probe the last pass serves on, for loops that call ``refresh`` themselves.

        Raises:
            SoftmineError: there was no pass yet, and no probe is given.
        """
        pass_if_due(self.passes, lambda: self.updates, self.refresh, probe, "nint")
        cells = torch.cat((self.chosen, self.shuffle.next_except(self.uniform_count, self.chosen)))
        return Batch(valid_centers(self.domain, cells), self.step.clone())

    def share(self, passes: int) -> float:
        """Share of the batch by influence in the list made at a pass, counted from 1."""
        share = self.ntk_share * math.exp(-passes // self.list_interval)
        return share if share >= LEAST_SHARE else 0.0

    def _listed(self, passes: int) -> int:
        """Cells of the batch by influence at a pass: as many as when the list was last made."""
        made = max(1, passes // self.list_interval * self.list_interval)
        return min(int(self.share(made) * self.batch_size), self.batch_size - self.uniform_count)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._host_passes = int(self.passes_made)
