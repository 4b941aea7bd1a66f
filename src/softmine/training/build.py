"""From a field, a signal and a sampler to a trainer: the one way there is."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softmine.registry import create
from softmine.sampling import Sampler
from softmine.signals import HasEdges, HasSamplerDefaults, Signal
from softmine.training.budget import Budget
from softmine.training.protocols import able
from softmine.training.trainer import Trainer

_edges: weakref.WeakKeyDictionary[Any, Tensor] = weakref.WeakKeyDictionary()


def build_trainer(
    field: nn.Module,
    signal: Signal,
    sampler: Sampler,
    *,
    budget: Budget,
    learning_rate: float,
    device: torch.device,
    schedule: str = "cosine",
    snap: bool = False,
) -> Trainer:
    """A trainer at its start, with field and sampler on ``device``; the arguments are those of ``Trainer``."""
    if isinstance(sampler, nn.Module):
        sampler.to(device)
    return Trainer(
        field.to(device),
        signal,
        sampler,
        budget=budget,
        learning_rate=learning_rate,
        device=device,
        schedule=schedule,
        snap=snap,
    )


def make_sampler(
    sampler: str, signal: Signal, batch_size: int | None = None, *, seed: int, snap: bool = False
) -> Sampler:
    """The sampler that a description names, with the edges of a signal and the options of ``auto`` that it brings.

    Args:
        sampler: its description, as in ``langevin:alpha=0.8``.
        signal: on whose domain it draws.
        batch_size: coordinates it draws; None for the default of sampler and domain.
        seed: of its random stream.
        snap: whether its samples will be moved to the centres of cells.
    """
    brings = able(signal, HasSamplerDefaults)
    defaults = {"snapped": snap, **(brings.auto_options if brings else {})}
    return create(sampler, signal.domain, batch_size, seed=seed, edges=edges_of(signal), defaults=defaults)


def edges_of(signal: Signal) -> Callable[[], Tensor] | None:
    """The edges of a signal, for samplers with a prior; computed once, for however many samplers. None if it has none."""
    known = able(signal, HasEdges)
    if known is None:
        return None

    def computed_once() -> Tensor:
        if signal not in _edges:
            _edges[signal] = known.edges()
        return _edges[signal]

    return computed_once
