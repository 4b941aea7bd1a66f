"""Views that hold far more error than the others: what is wrong with one of them is no detail to learn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from softmine.domain import PerSample
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.quota_map.outliers import between

FEWEST = 8
"""Views, at least, of which one can be unlike the others."""
SOME, MUCH = 1.5, 2.5
"""Importance of a view over that of the median one: up to the first it is like the others, from the second on it is not. Of clean views of a
chair none has more than 1.3, of a fern 1.1; of those with a patch all pass 2 while the field learns what the others agree on."""
TINY = 1e-30


class Views(nn.Module):
    """Finds views that are unlike the others, and spreads their samples evenly.

    Somebody walks through one photo of a scene, or one was exposed otherwise: the other photos contradict it, and its error stays, however often
    it is visited. Samples in proportion to the error would teach the field what only one photo shows. Within such a view the
    error tells nothing, and the view draws no more samples than the median one. The views of a domain are all that a discrete axis
    has, or that several have together.

    Source: this project. RobustNeRF (Sabour et al., CVPR 2023) leaves large residuals out of the loss for the same reason.

    Args:
        cells: of the map, over a domain with discrete axes.
    """

    view: Tensor
    sizes: Tensor
    unlike: Tensor

    def __init__(self, cells: MapCells) -> None:
        super().__init__()
        grid, axes = cells.grid, sorted(cells.domain.discrete)
        places = torch.arange(cells.count)
        indices = grid.indices(places if cells.masked is None else cells.masked.outer.nth(places))
        self.shape = tuple(grid.shape[axis] for axis in axes)
        view = torch.zeros(cells.count, dtype=torch.int64)
        for axis in axes:
            view = view * grid.shape[axis] + indices[axis]
        self.register_buffer("view", view.to(torch.int32), persistent=False)
        sizes = torch.bincount(view, minlength=math.prod(self.shape)).float()
        self.register_buffer("sizes", sizes, persistent=False)
        # How far each view is unlike the others, from 0 to 1.
        self.register_buffer("unlike", torch.zeros_like(sizes), persistent=False)

    def even_out(self, importance: PerSample) -> PerSample:
        """Importance (count,), changed in place: where a view is unlike the others, that of the median one everywhere."""
        if len(self.sizes) < FEWEST:
            return importance
        # A view of which a mask leaves nothing has no mean.
        means = torch.zeros_like(self.sizes).index_add_(0, self.view, importance) / self.sizes
        usual = means.nanmedian().clamp_min(TINY)
        self.unlike.copy_(between(means / usual, SOME, MUCH).nan_to_num(0))
        # A device would have to be waited for.
        on_host = importance.device.type == "cpu" and not torch.compiler.is_compiling()
        if on_host and not self.unlike.any():
            return importance
        return importance.lerp_(usual.expand_as(importance), self.unlike.index_select(0, self.view))

    def named(self) -> list[str]:
        """Those that are mostly unlike the others, by their places along the discrete axes, from 0; waits for a device."""
        numbers = (self.unlike > 0.5).nonzero().flatten().cpu()
        places = torch.unravel_index(numbers, self.shape)
        return [", ".join(map(str, place)) for place in zip(*(each.tolist() for each in places), strict=True)]
