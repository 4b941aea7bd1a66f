"""Neural fields: what a signal is fitted with. Plain ``nn.Module``s; any other module works in their place."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from softmine.domain import SoftmineError
from softmine.fields.fourier import FourierField
from softmine.fields.hash_grid import MOST_CELLS, HashGrid, HashGridField
from softmine.fields.siren import Siren

__all__ = ["FIELDS", "LEARNING_RATES", "FourierField", "HashGrid", "HashGridField", "Siren", "create"]

FIELDS = ("hashgrid", "siren", "fourier")

LEARNING_RATES = {"hashgrid": 1e-2, "siren": 1e-4, "fourier": 1e-3}
"""Adam's default learning rate of each field."""


def create(
    name: str,
    shape: Sequence[int],
    channels: int,
    *,
    log2_table_size: int = 19,
    finest_resolution: int = 2048,
    first_omega: float = 30.0,
    bandwidth: float = 10.0,
) -> nn.Module:
    """The field called ``name``, sized for a signal.

    Args:
        name: ``hashgrid``, ``siren`` or ``fourier``.
        shape: cells of the signal along each axis.
        channels: values a coordinate.
        log2_table_size: of the hash grid.
        finest_resolution: most cells along an axis of the hash grid's finest level, which has as many as the signal.
        first_omega: frequency factor of the first layer of SIREN; signals with many cells along one axis need more.
        bandwidth: of the Fourier features, in cycles over the domain.

    Raises:
        SoftmineError: no field has that name.
    """
    dim = len(shape)
    if name == "hashgrid":
        finest = [max(2, min(size, finest_resolution, MOST_CELLS)) for size in shape]
        return HashGridField(dim, channels, log2_table_size=log2_table_size, finest_resolution=finest)
    if name == "siren":
        return Siren(dim, channels, first_omega=first_omega)
    if name == "fourier":
        return FourierField(dim, channels, bandwidth=bandwidth)
    near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.4)
    raise SoftmineError(
        f"unknown field '{name}': {f'did you mean {near[0]}? ' if near else ''}choose one of {', '.join(FIELDS)}"
    )
