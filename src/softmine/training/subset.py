"""Which cells of a signal count when a field is evaluated: all, or a fixed subset of a large signal's."""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.domain import Box

ALL = 2**20
SUBSET = 2**17
SEED = 231200075


def evaluated_cells(domain: Box) -> tuple[Tensor, torch.Generator]:
    """Flat cells (M,) that count, the same for every run: all up to 2^20, else 2^17 distinct ones drawn uniformly.

    What a mask leaves out never counts.

    Also gives the random numbers that drew them, for those who draw more.
    """
    random = torch.Generator().manual_seed(SEED)
    if domain.valid <= ALL:
        return domain.nth_valid(torch.arange(domain.valid)), random
    # Distinct cells without a list of all: twice as many as needed, doubles dropped, in random order.
    drawn = torch.randint(domain.valid, (2 * SUBSET,), generator=random).unique()
    return domain.nth_valid(drawn[torch.randperm(len(drawn), generator=random)[:SUBSET]]), random
