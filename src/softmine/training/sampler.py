"""The sampler that a word describes, for a signal."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor

from softmine.registry import Spec, create
from softmine.sampling import Sampler
from softmine.signals import HasEdges, HasSamplerDefaults, Signal
from softmine.training.protocols import able

_edges: weakref.WeakKeyDictionary[Any, Tensor] = weakref.WeakKeyDictionary()


def make_sampler(
    sampler: str, signal: Signal, batch_size: int | None = None, *, seed: int, snap: bool = False
) -> Sampler:
    """The sampler that a description names, with the edges of a signal and the options of ``auto`` that it brings.

    Args:
        sampler: its description, as in ``langevin:alpha=0.8``.
        signal: on whose domain it draws.
        batch_size: coordinates it draws; None for the default of sampler and domain.
        seed: of its random stream.
        snap: whether its samples will be moved to the centers of cells.
    """
    brings = able(signal, HasSamplerDefaults)
    defaults = {"snapped": snap, **(brings.auto_options if brings else {})}
    return create(
        Spec.of_run(sampler), signal.domain, batch_size, seed=seed, edges=_edges_of(signal), defaults=defaults
    )


def _edges_of(signal: Signal) -> Callable[[], Tensor] | None:
    """The edges of a signal, computed once for however many samplers; None if it has none."""
    known = able(signal, HasEdges)
    if known is None:
        return None

    def computed_once() -> Tensor:
        if signal not in _edges:
            _edges[signal] = known.edges()
        return _edges[signal]

    return computed_once
