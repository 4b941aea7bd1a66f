"""The error maps of two systems in use. Neither re-weights the loss, so that both change what is minimized."""

from __future__ import annotations

import math

from softmine.checks import check_count
from softmine.domain import Box
from softmine.sampling.error_map import ErrorMap


def torch_ngp_error_map(
    domain: Box, batch_size: int, *, cells: int = 2**14, seed: int | None = None
) -> ErrorMap:
    """The error map of torch-ngp: 128 x 128 cells a view, which start at one and keep a tenth of the old error.

    There is no uniform share. torch-ngp draws cells without replacement, here with; and it stores the loss, here the error.

    Args:
        domain: where coordinates live.
        batch_size: samples of a batch, N.
        cells: of the map of each view.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Example:
        >>> torch_ngp_error_map(Box((64, 64)), 256, seed=0).draw().coords.shape
        torch.Size([256, 2])
    """
    return ErrorMap(
        domain,
        batch_size,
        cells=cells,
        per_view=True,
        alpha=0.0,
        uniform_share=0.0,
        importance_floor=0.0,
        start=1.0,
        seed=seed,
    )


def instant_ngp_error_map(
    domain: Box,
    batch_size: int,
    *,
    cells: int | None = None,
    interval: int = 128,
    seed: int | None = None,
) -> ErrorMap:
    """The error map of instant-ngp: half of the samples uniform, the others from the map with 1% uniform.

    The map is rebuilt after 128 steps, and each time 1.5 times as many. instant-ngp sums bilinear deposits of error divided by
    density and forgets cells without any; here the mean in each cell is taken, which expects the same and is less noisy, and
    a cell that nothing hit stays as it was. Its grid is resized at every rebuild; this one keeps its first size.

    Args:
        domain: where coordinates live.
        batch_size: samples of a batch, N.
        cells: of the map of each view; None is instant-ngp's choice, 3.5^2 times the root of the samples between two rebuilds.
        interval: updates until the map is first rebuilt.
        seed: of the sampler's own random stream; None takes one from torch's global generator.

    Example:
        >>> instant_ngp_error_map(Box((64, 64)), 256, seed=0).draw().coords.shape
        torch.Size([256, 2])
    """
    views = math.prod(domain.shape[axis] for axis in domain.discrete)
    if cells is None:
        cells = max(1, round(3.5**2 * math.sqrt(check_count("interval", interval) * batch_size / views)))
    # Half of the samples are uniform, and of the others every hundredth.
    return ErrorMap(
        domain,
        batch_size,
        cells=cells,
        per_view=True,
        decay=0.0,
        alpha=0.0,
        uniform_share=0.505,
        importance_floor=0.0,
        interval=interval,
        growth=1.5,
        seed=seed,
    )
