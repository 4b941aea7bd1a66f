"""What a signal is, and what it may offer beside: abilities are declared, and found by type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from softmine.domain import Box, Coords, Values


@runtime_checkable
class Signal(Protocol):
    """What training needs to know of a signal.

    Attributes:
        name: what to call it in reports.
        channels: numbers it has at each coordinate, C.
        domain: where its coordinates live.
        fingerprint: a hash of its content, the same wherever the content is the same.
    """

    name: str
    channels: int
    domain: Box
    fingerprint: str

    def __call__(self, coords: Coords) -> Values:
        """Values (N, C) in [0, 1] at unit coordinates (N, D)."""
        ...


@runtime_checkable
class HasEdges(Protocol):
    """A signal that knows where it changes, for samplers with a prior."""

    def edges(self) -> Tensor:
        """How fast the signal changes, 0 or more, on a grid over its domain: shape like the domain's, or coarser."""
        ...


@runtime_checkable
class HasSamplerDefaults(Protocol):
    """A signal for which options of the default sampler have other values."""

    @property
    def auto_options(self) -> Mapping[str, Any]:
        """Options of the sampler ``auto`` by name, such as ``{"uniform_share": 0.3}``."""
        ...
